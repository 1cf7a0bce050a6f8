"""How well a bundle finds the reports of your own films: the figures of `mtclip eval`, with intervals, beside
chance.

python examples/evaluate_own_reports.py BUNDLE SOURCE [SPLIT]

SOURCE is a manifest (study_id, patient_id, image_path, report, label) or any other that docs/guide/data.md
names. Only films that the bundle's model was not trained on say anything: SPLIT is test unless another is
named.
"""

import sys

from mtclip_edge import evaluate

SHOWN = ("auroc", "recall@1.film_to_report", "recall@10.film_to_report", "precision@10.macro")


def main(bundle: str, source: str, split: str = "test") -> None:
    document = evaluate(bundle, data=source, split=split, say=lambda line: print(line, file=sys.stderr))
    for model in document["models"]:
        print(f"{model['name']} ({model['precision']})")
        for figure in model["figures"]:
            if figure["subset"] != "all" or figure["name"] not in SHOWN or figure["value"] is None:
                continue
            low, high, chance = (figure[name] for name in ("low", "high", "chance"))
            interval = "" if low is None else f" ({low:.3f} to {high:.3f})"
            beside = "" if chance is None else f", by chance {chance:.3f}"
            print(f"  {figure['name']} {figure['value']:.3f}{interval}{beside}, {figure['studies']} studies")


if __name__ == "__main__":
    main(*sys.argv[1:])
