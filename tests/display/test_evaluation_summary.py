"""The five lines that a terminal begins an evaluation with, and tables that hold intervals at 80 columns."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from mtclip_edge.display.evaluation_summary import MAIN, summary_lines
from mtclip_edge.display.evaluation_table import print_eval
from mtclip_edge.evaluation.bootstrap import Figure


def figure(name: str, value: float, studies: int = 100, **more: Any) -> dict[str, Any]:
    bounds = {"low": value - 0.1, "high": value + 0.1} | more
    return Figure(name, "all", value, studies=studies, **bounds).to_dict()


def model(name: str, *figures: dict[str, Any], precision: str | None = None) -> dict[str, Any]:
    return {"name": name, "precision": precision, "figures": list(figures), "exposure": None}


def document(*models: dict[str, Any], differences: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    labels = {"normal": 50, "abnormal": 70, "unknown": 3}
    data = {"source": "manifest:made.csv", "split": "test", "searched": None, "films": 123, "studies": 120}
    data |= {"patients": 90, "reports": 80, "labels": labels, "majority": "abnormal"}
    told = {"data": data, "intervals": {"draws": 1000}, "leaks": []}
    return {**told, "models": list(models), "differences": differences or []}


def main(values: dict[str, tuple[float, float, float]], **more: Any) -> list[dict[str, Any]]:
    """Main figures with their intervals."""
    return [figure(name, v, low=low, high=high, **more) for name, (v, low, high) in values.items()]


def compared(*, names: tuple[str, str] = ("old", "new"), **values: tuple[float, float, float]) -> list[str]:
    spelt = dict(zip(("auroc", "precision", "forth", "back"), MAIN, strict=True))
    others = main({spelt[key]: bounds for key, bounds in values.items()})
    told = {"model": names[1], "against": names[0], "figures": others}
    return summary_lines(document(model(names[0]), model(names[1]), differences=[told]))


def test_the_better_run_is_named_only_where_the_paired_interval_leaves_out_0() -> None:
    surely = compared(auroc=(0.03, 0.004, 0.06), precision=(-0.004, -0.03, 0.02), forth=(0, 0, 0))
    assert surely[0] == "new better than old: surely in 1 of 3, worse in none"
    assert surely[1] == "  AUROC                      +0.030 [+0.004, +0.060]  surely better"
    assert surely[2].endswith("-0.004 [-0.030, +0.020]  not sure")
    assert surely[3].endswith("the same") and surely[4].endswith("not computed")
    assert len(surely) == 5
    assert compared(auroc=(0.03, -0.004, 0.06))[0] == "new or old: no sure difference in 1 main figures"
    assert compared(auroc=(-0.03, -0.06, -0.01))[0] == "new worse than old: surely in 1 of 1, better in none"
    both = compared(auroc=(0.03, 0.01, 0.06), back=(-0.03, -0.06, -0.01))[0]
    assert both == "new against old: surely better in 1 of 2, worse in 1"


def test_an_anecdote_is_never_sure() -> None:
    few = main({"auroc": (0.3, 0.1, 0.5)}, studies=19)
    differences = [{"model": "new", "against": "old", "figures": few}]
    found = summary_lines(document(model("old"), model("new"), differences=differences))
    assert found[0].startswith("new or old: no sure difference") and found[1].endswith("not sure")
    alone = summary_lines(document(model("one", *main({"auroc": (0.9, 0.8, 1.0)}, studies=19, chance=0.5))))
    assert alone[0] == "one: surely above chance in 0 of 1 main figures"


def test_one_model_stands_against_chance_and_control() -> None:
    control = Figure("auroc", "all", 0.6)
    above = main({"auroc": (0.9, 0.7, 1.0)}, chance=0.5, control=control)
    within = main({MAIN[1]: (0.55, 0.45, 0.6)}, chance=0.5)
    below = main({MAIN[2]: (0.01, 0.0, 0.02)}, chance=0.1)
    found = summary_lines(document(model("one", *above, *within, *below)))
    assert found == [
        "one: surely above chance in 1 of 3 main figures",
        "  AUROC             0.900 [0.700, 1.000]  chance 0.500, control 0.600  surely",
        "  macro P@10        0.550 [0.450, 0.600]  chance 0.500                 not sure",
        "  R@10 film>report  0.010 [0.000, 0.020]  chance 0.100                 below",
        "  Recall@10, report to film  not computed",
    ]


def test_precisions_of_one_bundle_are_not_rivals() -> None:
    two = [model("b", *main({"auroc": (0.9, 0.7, 1.0)}, chance=0.5), precision=p) for p in ("fp32", "int8")]
    differences = [{"model": "b (int8)", "against": "b (fp32)", "figures": main({"auroc": (0, 0, 0)})}]
    assert summary_lines(document(*two, differences=differences))[0].startswith("b fp32: surely above chance")


def test_several_models_have_a_line_each() -> None:
    figures = [
        main({"auroc": (0.03, 0.01, 0.06), MAIN[1]: (-0.2, -0.3, -0.1)}),
        main({"auroc": (0.0, -1, 1)}),
    ]
    differences = [
        {"model": name, "against": "a", "figures": f} for name, f in zip("bc", figures, strict=True)
    ]
    found = summary_lines(document(*map(model, "abc"), differences=differences))
    assert found[0].startswith("Against a: surely")
    assert " ".join(found[1].split()) == "b better in 1 (AUROC +0.030), worse in 1 (macro P@10 -0.200)"
    assert " ".join(found[2].split()) == "c no sure difference in 1 main figures"


@pytest.mark.parametrize("length", [1, 40, 200])
def test_long_names_fit(length: int) -> None:
    names = ("a/" * length + "old", "b/" * length + "new")
    for line in compared(names=names, auroc=(0.03, 0.004, 0.06)):
        assert len(line) <= 80
    assert "new" in compared(names=names, auroc=(0.03, 0.004, 0.06))[0]


def shown(judged: dict[str, Any], full: bool = False, terminal: bool = True, width: int = 80) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=terminal, highlight=False, markup=False, color_system=None
    )
    print_eval(judged, console, full)
    return out.getvalue()


def three(findings: dict[str, int]) -> dict[str, Any]:
    found = [figure(f"finding@10.{name}", 0.4, studies=count) for name, count in findings.items()]
    one = [figure("recall@10.film_to_report", 0.4321, chance=0.01), figure("rsum", 123.4), *found]
    names = ("runs/first", "runs/second", "runs/third")
    differences = [{"model": name, "against": names[0], "figures": one} for name in names[1:]]
    return document(*(model(name, *one) for name in names), differences=differences)


def test_intervals_of_three_models_stand_at_80_columns() -> None:
    text = shown(three({}))
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    rows = [
        line for line in text.splitlines() if re.match(r"(Recall@10, film to report)? +[ABC]  0\.432", line)
    ]
    assert len(rows) == 3 and all("0.432 [0.332, 0.532] ×43.2" in row for row in rows)
    assert "C = runs/third" in text and "C minus A" in text


def test_rare_findings_are_one_line_until_they_are_asked_for() -> None:
    judged = three({"Effusion": 30, "Hernia": 3, "Cyst": 19})
    folded = shown(judged)
    assert "2 findings with fewer than 20 studies: see --full" in folded
    assert "Effusion" in folded and "Hernia" not in folded
    unfolded = shown(judged, full=True)
    assert "Hernia (anecdote)" in unfolded and "fewer than" not in unfolded
    wide = shown(judged, width=200)
    assert "2 findings with fewer than 20 studies" in wide and "Hernia" not in wide


def test_a_pipe_has_no_summary_and_every_model_a_column() -> None:
    judged = three({"Effusion": 30, "Hernia": 3})
    piped = shown(judged, terminal=False)
    assert not piped.startswith("Against") and "A = " not in piped and "Hernia (anecdote)" in piped
    (row,) = [
        line for line in piped.splitlines() if line.startswith("Recall@10, film to report") and "×" in line
    ]
    assert row.count("0.432 ×43.2") == 3
    assert "Cyst" in shown(three({f"F{i}": 30 - i for i in range(9)} | {"Cyst": 2}), True, False)
