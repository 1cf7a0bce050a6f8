"""What a command says beside its answer is true, in the right order, and can be typed."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from mtclip_edge.bundle.demo import FOLDER, LOUD


def test_the_demo_bundle_is_not_spoken_of_before_an_error_about_the_film(mtclip, tmp_path: Path) -> None:
    film = Path(__file__).parents[2] / "examples" / "effusion.png"
    missing = tmp_path / "gone.png"
    found = mtclip("query", missing)
    assert (found.code, found.out, found.err) == (1, "", f"{missing}: no such file\n")
    both = mtclip("query", missing, film, "--format", "ids", "-k", "1")
    assert both.err.splitlines() == [
        f"{missing}: no such file",
        LOUD,
        "1 films answered, 1 could not be read",
    ]
    assert mtclip("query", film, film, "--format", "ids").err.count(LOUD) == 1


def test_a_map_has_the_name_of_a_picture(mtclip, tiny_bundle: Path, film: Path, tmp_path: Path) -> None:
    found = mtclip("query", film, "--bundle", tiny_bundle, "--explain", tmp_path / "map.txt")
    assert (found.code, found.out) == (2, "")
    assert found.err == f"--explain {tmp_path / 'map.txt'}\nexpected a name that ends in .png\n"
    words = ["--label", "abnormal", "--explain", tmp_path / "map.PNG"]
    assert mtclip("query", film, "--bundle", tiny_bundle, *words).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["map.PNG"]


@pytest.mark.parametrize(
    "words",
    [
        "add demo phantom:3@1",
        "build demo phantom:3@1",
        "remove demo --study a",
        "merge demo demo",
        "rebuild demo",
    ],
)
def test_the_demo_bundle_is_known_and_stays_as_it_is(
    mtclip, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in FOLDER.iterdir()}
    found = mtclip("index", *words.split())
    assert (found.code, found.out) == (1, "")
    first, why, hint = found.err.splitlines()
    assert (first, why) == (
        "demo: the demo bundle stays as it is",
        "it is a part of the package",
    )
    assert hint.startswith("mtclip export RUN")
    counted = mtclip("index", "remove", "demo", "--study", "phantom-12-671", "--dry-run")
    assert (counted.code, counted.err) == (
        0,
        "demo: would remove 1 studies, 1 patients, 1 reports, 1 films; nothing was changed\n",
    )
    assert {path.name: path.stat().st_mtime_ns for path in FOLDER.iterdir()} == before


def test_a_missing_hnswlib_is_told_at_each_query(
    mtclip, tiny_bundle: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["query", film, "--bundle", tiny_bundle, "--format", "ids"]
    assert mtclip(*words).err == ""
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    assert importlib.util.find_spec("hnswlib") is None
    for _ in range(2):
        found = mtclip(*words)
        assert (found.code, found.err) == (0, "searching exactly: hnswlib is not installed\n")
    assert mtclip(*words, "--exact").err == ""  # asked for


def test_a_usage_error_names_the_help_as_a_command(mtclip) -> None:
    assert mtclip("query").err.splitlines()[-1] == "see: mtclip query --help"
    assert mtclip("query", "--wrong").err.splitlines()[-1] == "see: mtclip query --help"
    assert mtclip("index", "remove", "x").err.splitlines()[-1] == "see: mtclip index remove --help"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--since", "2020"], "no report passes --since 2020: 0 of 900 studies have a date"),
        (
            ["--view", "lateral"],
            "no report passes --view lateral: 900 of 900 studies have a film of a known view",
        ),
        (
            ["--label", "unknown", "--view", "PA"],
            "no report passes --label unknown: 900 of 900 studies have a label",
        ),
        (["--match", "zebra"], "no report passes --match zebra: 900 of 900 studies have a report"),
        (
            ["--finding", "Effusion", "--label", "normal"],
            "no report passes --label normal and --finding Effusion together, though some pass each",
        ),
    ],
)
def test_a_filter_that_leaves_nothing_is_named(mtclip, film: Path, words: list[str], line: str) -> None:
    found = mtclip("query", film, "--bundle", "demo", "--json", "--force", *words)
    assert (found.code, json.loads(found.out)["hits"], found.err) == (0, [], line + "\n")


def test_left_out_patients_are_not_repeated(mtclip, bundle: Path, film: Path) -> None:
    import sqlite3
    from contextlib import closing

    from mtclip_edge.bundle.bundle import Bundle

    store = bundle / Bundle.open(bundle).index.store
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        patients = [patient for (patient,) in db.execute("SELECT DISTINCT patient_id FROM study")]
    words = [word for patient in patients for word in ("--exclude-patient", patient)]
    found = mtclip("query", film, "--bundle", bundle, "--format", "ids", *words)
    assert found.err.startswith("no report passes --exclude-patient: ") and not any(
        patient in found.err for patient in patients
    )


def test_an_excluded_patient_whom_nobody_knows_is_told(mtclip, bundle: Path) -> None:
    import sqlite3
    from contextlib import closing

    from mtclip_edge.bundle.bundle import Bundle

    store = bundle / Bundle.open(bundle).index.store
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        ((here,),) = db.execute("SELECT patient_id FROM study LIMIT 1")
    words = [
        "query",
        "--text",
        "opacity",
        "--bundle",
        bundle,
        "--json",
        "--exclude-patient",
        here,
        "--exclude-patient",
    ]
    found = mtclip(*words, "4711")
    assert found.code == 0 and json.loads(found.out)["query"]["filter"] == {
        "exclude_patient": [here, "4711"],
        "unknown_patients": 1,
    }
    assert (
        "--exclude-patient: 1 of 2 have no study in this bundle: nothing to leave out\n" in found.err
        and "4711" not in found.err
    )
    strict = mtclip(*words, "4711", "--strict")
    assert (
        strict.code == 1
        and not strict.out
        and strict.err.startswith("--exclude-patient: 1 of 2 have no study")
    )
    everybody = mtclip(*words, here, "--strict")
    assert everybody.code == 0 and "--exclude-patient" not in everybody.err
    assert "unknown_patients" not in json.loads(everybody.out)["query"]["filter"]
