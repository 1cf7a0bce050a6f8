"""A film tower that was trained on chest films beside compact, which was not: by five folds, all else alike.

    mtclip pull eva-x-ti --out eva-x-ti
    python benchmarks/retrieval/chest_tower.py --data SOURCE --backbone eva-x-ti --out DIR [--folds 5]
    [--seeds 1] [--unfreeze 0|N|all]

Both read reports by the same word pieces (``--text-side lexical``), so they differ by the film tower alone.
The figures are those of ``mtclip eval --folds``, with the paired differences and what each tower has seen;
what is finished in DIR is used again. Any folder of a backbone may stand for ``--backbone``.
"""

import argparse
import sys
from pathlib import Path

from mtclip_edge.display.progress_bars import ProgressBars
from mtclip_edge.train.evaluation.fold_store import backbone_name
from mtclip_edge.train.evaluation.out_of_fold import FoldsRequest, cross_validate

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
sys.path.insert(0, str(Path(__file__).parent))

from folds import report
from record import measured

AGAINST = "compact"


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--backbone", required=True, help="the folder that mtclip pull made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--against", default=AGAINST, help="what it is compared with")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--fold-seed", type=int, default=0)
    parser.add_argument("--unfreeze", default="0", help="blocks of both film towers that are trained too")
    parser.add_argument("--epochs", type=int, help="the default of train, unless said")
    parser.add_argument("--device", default="cpu")
    measured(parser, measure, words)


def measure(options: argparse.Namespace) -> None:
    base = {"device": options.device, "text_side": "lexical", "unfreeze": options.unfreeze}
    if options.epochs is not None:
        base["epochs"] = options.epochs
    recipes = [
        f"{backbone_name(backbone)}=backbone={backbone}" for backbone in (options.against, options.backbone)
    ]
    request = FoldsRequest(
        options.data,
        options.folds,
        options.fold_seed,
        tuple(recipes),
        base,
        options.seeds,
        out=options.out,
    )
    with ProgressBars() as bars:
        document = cross_validate(request, say=bars.say, progress=bars)
    report(document)
    for model in document["models"]:
        if told := model["exposure"]:
            print(f"\n{model['name']}: {told['verdict']}: {told['why']}")


if __name__ == "__main__":
    main()
