import pytest

from mtclip_edge.studies import Study, distinct_reports, folded, majority, split_of, tower_text, view_of


def study(name: str, text: str, label: str = "normal", patient: str = "") -> Study:
    return Study(name, patient or name, report=text, label=label)


def test_the_text_is_the_sources_own_report_else_findings_and_impression() -> None:
    assert Study("a", "a", findings="F.", impression="I.", report="Own.").text == "Own."
    assert Study("a", "a", findings="F.", impression="I.").text == "F. I."
    assert Study("a", "a", impression="I.").text == "I."


@pytest.mark.parametrize(
    ("text", "tower", "key"),
    [
        ("Normal chest x-XXXX.", "Normal chest x- .", "normal chest x"),
        ("___ year old.  Clear\nlungs", "year old. Clear lungs", "year old clear lungs"),
        ("XX is kept, XXXXX is not", "XX is kept, is not", "xx is kept is not"),
        ("XXXX ___", "", ""),
    ],
)
def test_marks_are_taken_out_for_the_tower_and_the_fold(text: str, tower: str, key: str) -> None:
    assert tower_text(text) == tower
    assert folded(text) == key


def test_a_person_sees_the_marks() -> None:
    assert study("a", "Seen on XXXX.").text == "Seen on XXXX."


def test_a_report_of_marks_alone_is_no_report() -> None:
    assert study("a", "XXXX ___").report_id is None


def test_twins_are_one_entry_with_counts_and_majority() -> None:
    twins = [
        study("b", "Lungs clear.", "normal"),
        study("a", "lungs  CLEAR", "abnormal"),
        study("c", "Lungs clear", "normal"),
    ]
    (entry,) = distinct_reports([*twins, study("d", "XXXX")])
    assert [s.study_id for s in entry.studies] == ["a", "b", "c"]
    assert entry.first.text == "lungs  CLEAR"
    assert entry.counts == {"normal": 2, "abnormal": 1, "unknown": 0}
    assert entry.label == "normal"


def test_distinct_reports_do_not_depend_on_the_order_read() -> None:
    studies = [study("a", "One."), study("b", "Two."), study("c", "one")]
    assert distinct_reports(studies) == distinct_reports(studies[::-1])


@pytest.mark.parametrize(
    ("normal", "abnormal", "label"),
    [(2, 1, "normal"), (1, 2, "abnormal"), (1, 1, "unknown"), (0, 0, "unknown"), (1, 0, "normal")],
)
def test_a_tie_is_unknown(normal: int, abnormal: int, label: str) -> None:
    assert majority(normal, abnormal) == label


def test_the_split_is_the_published_hash() -> None:
    # sha256("mtclip-split:" + id) as an integer mod 100, computed apart from this code
    assert [split_of(patient) for patient in ("1", "2", "3", "4", "5", "10")] == [
        "train",
        "train",
        "train",
        "train",
        "test",
        "train",
    ]
    shares = [
        sum(split_of(str(i)) == name for i in range(5000)) / 5000 for name in ("train", "validation", "test")
    ]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


@pytest.mark.parametrize(
    ("word", "view"),
    [
        ("PA", "PA"),
        ("AP Supine", "AP"),
        ("Frontal", "frontal"),
        ("L", "lateral"),
        ("", "unknown"),
        ("skyline", "other"),
        ("AP PORTABLE", "AP"),
        ("LLAT", "lateral"),
        ("LAT", "lateral"),
        ("XTABLE LATERAL", "lateral"),
        ("left anterior oblique", "other"),
        ("LATERAL DECUBITUS", "other"),
        ("AP AXIAL", "other"),
        ("ap_horizontal", "AP"),
        ("Antero-Posterior", "AP"),
        ("unknown", "unknown"),
    ],
)
def test_views(word: str, view: str) -> None:
    assert view_of(word) == view
