"""Labels against the reports' own words."""

from pathlib import Path

import pytest

from mtclip_edge.display.inspection_page import summary_lines
from mtclip_edge.index.finding_words import read_findings
from mtclip_edge.sources.inspection.inspection import inspect


@pytest.mark.parametrize(
    ("text", "is_affirmed"),
    [
        ("Small left pleural effusion.", True),
        ("No pleural effusion, pneumothorax or consolidation.", False),
        ("No effusion. There is a nodule.", True),
        ("No effusion but a new opacity.", True),
        ("The heart is not enlarged.", False),
        ("Lungs are clear without focal consolidation.", False),
        ("Pneumothorax is not seen.", False),
        ("The effusion has resolved.", False),
        ("Clear lungs. Normal heart.", False),
        ("Heart is mildly ENLARGED, no edema.", True),
        ("", False),
    ],
)
def test_what_is_affirmed(text: str, is_affirmed: bool) -> None:
    assert read_findings(text)[1] == is_affirmed


NORMAL, ABNORMAL = "No effusion or consolidation in study {}.", "There is an effusion in study {}."


def told(tmp_path: Path, rows: list[tuple[str, str]]) -> tuple[dict, dict[str, str]]:
    lines = [f"{i},{text.format(i)},{label}" for i, (text, label) in enumerate(rows)]
    (tmp_path / "t.csv").write_text("\n".join(["study_id,report,label", *lines]) + "\n")
    document, _ = inspect(str(tmp_path / "t.csv"), read_findings=read_findings)
    return document["labels_and_text"], dict(summary_lines(document))


def test_swapped_labels_are_told(tmp_path: Path) -> None:
    counts, lines = told(tmp_path, [(ABNORMAL, "normal")] * 4 + [(NORMAL, "abnormal")] * 4)
    assert counts == {
        "reports": {"normal": 4, "abnormal": 4},
        "affirming": {"normal": 1.0, "abnormal": 0.0},
        "look_swapped": True,
    }
    assert (
        lines["labels against texts"]
        == "100 % of the normal, 0 % of the abnormal reports affirm a finding: the labels look swapped"
    )


def test_labels_that_agree_are_no_alarm(tmp_path: Path) -> None:
    counts, lines = told(
        tmp_path,
        [(ABNORMAL, "abnormal")] * 4 + [(NORMAL, "normal")] * 3 + [(ABNORMAL, "normal"), (ABNORMAL, "")],
    )
    assert counts["affirming"] == {"normal": 0.25, "abnormal": 1.0} and not counts["look_swapped"]
    assert (
        lines["labels against texts"] == "25 % of the normal, 100 % of the abnormal reports affirm a finding"
    )


def test_another_language_says_nothing(tmp_path: Path) -> None:
    counts, lines = told(tmp_path, [("sin hallazgos {}", "normal"), ("derrame {}", "abnormal")] * 4)
    assert counts["affirming"] == {"normal": None, "abnormal": None} and "labels against texts" not in lines
