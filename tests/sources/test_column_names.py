"""Other people's tables: columns and words by other names are read, or the right question is asked."""

import unicodedata
from pathlib import Path

import pytest
from layouts import png, put

from mtclip_edge.errors import SourceUnusable, WrongOption
from mtclip_edge.sources.source import absolute, open_source, with_map, with_maps


def table(folder: Path, text: str) -> str:
    return str(put(folder / "t.csv", text))


@pytest.mark.parametrize(
    "header",
    ["Study ID,Report,Label", "StudyID,REPORT,label", "study-id,Report ,LABEL", " study id ,report,Label"],
)
def test_headers_that_spell_ours_are_read(tmp_path: Path, header: str) -> None:
    reading = open_source(table(tmp_path, f"{header}\ns1,Clear.,normal\n"))
    assert [(s.study_id, s.report, s.label, dict(s.extra)) for s in reading.studies] == [
        ("s1", "Clear.", "normal", {})
    ]
    assert any(note.startswith("columns read: ") for note in reading.notes)


def test_our_own_name_goes_before_what_spells_it(tmp_path: Path) -> None:
    (study,) = open_source(table(tmp_path, "study_id,Study ID,report\ns1,other,Clear.\n")).studies
    assert (study.study_id, dict(study.extra)) == ("s1", {"Study ID": "other"})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "Accession,Report",
            "no column study_id\nfound: Accession, Report\ndid you mean --map 'Accession=study_id'?",
        ),
        (
            "study_id,ReportText",
            "neither a film nor a text column\n.*\ndid you mean --map 'ReportText=report'?",
        ),
        ("study_id,png_file", "did you mean --map 'png_file=image_path'?"),
    ],
)
def test_a_column_that_was_probably_meant_is_named(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(SourceUnusable, match=message.replace("?", "\\?")):
        open_source(table(tmp_path, f"{header}\na,b\n"))


def test_a_patient_by_another_name_is_not_overlooked(tmp_path: Path) -> None:
    reading = open_source(table(tmp_path, "study_id,subject_id,report\ns1,p1,Clear.\n"))
    assert reading.notes == (
        "no column patient_id: each study counts as a patient of its own; did you mean --map 'subject_id=patient_id'?",
    )


def test_columns_and_values_are_mapped(tmp_path: Path) -> None:
    path = table(tmp_path, "Exam,Who,Befund,Diagnose\n1,p1,Clear.,gesund\n2,p1,Mass.,KRANK\n3,p2,Odd.,?\n")
    pairs = [
        "Exam=study_id",
        "patient_id=Who",
        "Befund=report",
        "Diagnose=label",
        "label:gesund=normal",
        "Diagnose:krank=abnormal",
    ]
    word = with_map(path, pairs)
    reading = open_source(word)
    assert [(s.study_id, s.patient_id, s.report, s.label) for s in reading.studies] == [
        ("1", "p1", "Clear.", "normal"),
        ("2", "p1", "Mass.", "abnormal"),
        ("3", "p2", "Odd.", "unknown"),
    ]
    assert [p.lost for p in reading.problems] == ["label"]
    assert open_source(absolute(word)).studies == reading.studies  # as a run records it
    numbers = table(tmp_path, "study_id,report,label\na,Clear.,0.0\nb,Mass.,1.0\n")
    assert [
        s.label for s in open_source(with_map(numbers, ["label:0=normal", "label:1.0=abnormal"])).studies
    ] == ["normal", "abnormal"]


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        (["Exam"], WrongOption, "expected THEIR_COLUMN=OURS"),
        (["Exam=stdy_id"], WrongOption, "map to column 'stdy_id'.*\n.*\ndid you mean study_id"),
        (["label:x=sick"], WrongOption, "map to label 'sick'"),
        (["Exm=study_id"], SourceUnusable, "no column Exm to map\n.*\ndid you mean Exam"),
    ],
)
def test_a_map_that_means_nothing_is_refused(
    tmp_path: Path, pairs: list[str], error: type, message: str
) -> None:
    path = table(tmp_path, "Exam,report\n1,Clear.\n")
    with pytest.raises(error, match=message):
        open_source(with_map(path, pairs))


def test_a_map_is_for_tables_only(tmp_path: Path) -> None:
    with pytest.raises(WrongOption, match="phantom takes no option map\nmap is for manifest"):
        with_map("phantom:3", ["a=report"])


def test_of_several_sources_the_tables_are_mapped_and_one_keeps_a_map_of_its_own(tmp_path: Path) -> None:
    words = [table(tmp_path, "Exam,Text\n1,Clear.\n"), "phantom:3"]
    other = put(tmp_path / "other.csv", "Exam,Befund\n2,Mass.\n")
    pairs = ["Exam=study_id", "Text=report"]
    mapped = with_maps([*words, f"{other},map=Exam:study_id+Befund:report"], pairs)
    assert mapped[1] == "phantom:3"
    assert [open_source(word).studies[0].report for word in (mapped[0], mapped[2])] == ["Clear.", "Mass."]
    assert with_maps(words, None) == words
    with pytest.raises(WrongOption, match="phantom takes no option map"):
        with_maps(["phantom:3"], pairs)
    with pytest.raises(
        SourceUnusable, match="no column Text to map\n.*\na table of other columns takes a map"
    ):
        open_source(with_maps([words[0], str(other)], pairs)[1])


def test_paths_of_other_systems_are_found(tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "Röntgen.png")
    put(tmp_path / "img" / "a.png", png())
    put(tmp_path / unicodedata.normalize("NFD", composed), png())
    reading = open_source(
        table(tmp_path, f"study_id,image_path\na,img\\a.png\nb,{composed}\nc,img\\gone.png\n")
    )
    assert [s.films[0].name for s in reading.studies] == ["img/a.png", unicodedata.normalize("NFD", composed)]
    assert [str(p) for p in reading.problems] == ["line 4: film not found: img\\gone.png (row left out)"]


def test_too_many_bad_rows_are_refused(tmp_path: Path) -> None:
    rows = [f"{i},Report {i}.,{'sick' if i < 2 else 'normal'}" for i in range(20)]
    reading = open_source(table(tmp_path, "study_id,report,label\n" + "\n".join(rows)))
    with pytest.raises(
        SourceUnusable,
        match=r"2 of 22 rows are bad, more than 5 %\nmost of them: a label that is none \(label left out\)\n",
    ):
        reading.refuse_bad_rows(allow=False)
    reading.refuse_bad_rows(allow=True)
    few = open_source(table(tmp_path, "study_id,report,label\n" + "\n".join(rows[1:])))
    few.refuse_bad_rows(allow=False)  # 1 of 20 is five percent, not more


def test_a_lost_date_spoils_no_row(tmp_path: Path) -> None:
    reading = open_source(
        table(tmp_path, "study_id,report,date\n" + "\n".join(f"{i},Report {i}.,spring" for i in range(9)))
    )
    assert reading.bad_rows == 9
    reading.refuse_bad_rows(allow=False)
