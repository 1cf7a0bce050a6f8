"""A patient or an identical film on both sides of a split is found, by name."""

from pathlib import Path

from mtclip_edge.evaluation.leaks import between_splits, between_tables, same_numbers, with_training
from mtclip_edge.sources.source import Reading, open_source, open_sources
from mtclip_edge.studies import Film, Study


def study(folder: Path, name: str, split: str, content: bytes, patient: str = "", source: str = "s") -> Study:
    path = folder / f"{name}.png"
    path.write_bytes(content)
    return Study(name, patient or name, (Film(path, path.name),), split=split, source=source)


def test_nothing_shared_is_no_leak(tmp_path: Path) -> None:
    studies = (
        study(tmp_path, "a", "train", b"1"),
        study(tmp_path, "b", "validation", b"2"),
        study(tmp_path, "c", "test", b"3"),
    )
    assert between_splits(Reading("x", studies)) == []


def test_a_patient_in_two_splits(tmp_path: Path) -> None:
    studies = (
        study(tmp_path, "a", "train", b"1", "p"),
        study(tmp_path, "b", "test", b"2", "p"),
        study(tmp_path, "c", "test", b"3"),
    )
    assert between_splits(Reading("x", studies)) == [
        "1 patients are in the splits train and test of x, the first p"
    ]


def test_the_same_film_under_two_names(tmp_path: Path) -> None:
    studies = (
        study(tmp_path, "a", "train", b"same"),
        study(tmp_path, "b", "validation", b"same"),
        study(tmp_path, "c", "test", b"size"),
    )
    assert between_splits(Reading("x", studies)) == [
        "1 identical films are in the splits train and validation of x, the first a.png"
    ]


def test_two_films_of_one_split_may_be_alike(tmp_path: Path) -> None:
    assert (
        between_splits(
            Reading("x", (study(tmp_path, "a", "train", b"1"), study(tmp_path, "b", "train", b"1")))
        )
        == []
    )


def test_the_same_number_in_another_hospital_is_another_patient(tmp_path: Path) -> None:
    a, b = study(tmp_path, "a", "test", b"1", "7"), study(tmp_path, "b", "train", b"2", "7", source="t")
    assert with_training([a], [b], "run") == []
    same = study(tmp_path, "c", "train", b"3", "7")
    assert with_training([a], [same], "run") == [
        "1 patients are in these studies and what run was trained on, the first 7"
    ]


def test_a_film_that_is_missing_leaks_nothing(tmp_path: Path) -> None:
    a, b = study(tmp_path, "a", "test", b"1"), study(tmp_path, "b", "train", b"1")
    b.films[0].path.unlink()
    assert between_splits(Reading("x", (a, b))) == []


def table(path: Path, split: str, *patients: str, source: str = "") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{path.stem}-{patient},{patient},Report of {patient}.,{split}{source and f',{source}'}"
        for patient in patients
    ]
    path.write_text("\n".join([f"study_id,patient_id,report,split{source and ',source'}", *rows]) + "\n")
    return str(path)


def test_tables_of_one_folder_are_one_set(tmp_path: Path) -> None:
    train, test = (
        table(tmp_path / "train.csv", "train", "7", "8"),
        table(tmp_path / "test.csv", "test", "7", "9"),
    )
    trained, evaluated = open_source(train).studies, open_source(test).studies
    assert with_training(evaluated, trained, "run") == [
        "1 patients are in these studies and what run was trained on, the first 7"
    ]
    assert len(between_tables(open_sources([train, test]))) == 1
    elsewhere = open_source(table(tmp_path / "b" / "test.csv", "test", "7", "9")).studies
    assert with_training(elsewhere, trained, "run") == [] and same_numbers(elsewhere, trained) == 1
    assert same_numbers(evaluated, trained) == 0


def test_tables_of_one_word_for_their_source_are_one_set(tmp_path: Path) -> None:
    train = open_source(table(tmp_path / "a" / "x.csv", "train", "7", source="north")).studies
    test = open_source(table(tmp_path / "b" / "y.csv", "test", "7", source="north")).studies
    other = open_source(table(tmp_path / "c" / "z.csv", "test", "7", source="south")).studies
    assert len(with_training(test, train, "run")) == 1 and with_training(other, train, "run") == []
    assert (same_numbers(test, train), same_numbers(other, train)) == (0, 1)
