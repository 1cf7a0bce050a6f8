"""``mtclip data inspect`` and ``data export``: every figure against one counted by hand, and every layout there and back."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import layouts
import many_studies
import numpy as np
import pytest
from drawn import COLUMNS
from layouts import open_i, png, put

from mtclip_edge.display.inspection_page import page, summary_lines
from mtclip_edge.errors import Refused, SourceUnusable
from mtclip_edge.evidence.enough import HEAD
from mtclip_edge.sources import manifest_writer
from mtclip_edge.sources.inspection.film_files import Thumbnail
from mtclip_edge.sources.inspection.inspection import inspect
from mtclip_edge.sources.inspection.near_twins import groups, signature
from mtclip_edge.sources.inspection.phi import suspicions
from mtclip_edge.sources.inspection.text_lengths import Lengths
from mtclip_edge.sources.manifest_writer import export_manifest
from mtclip_edge.sources.source import open_source


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Seven rows of which everything is known."""
    folder = tmp_path / "known"
    long = (
        "The cardiac silhouette and mediastinal contours are within normal limits in size and shape without change. "
        + " ".join(f"Word{i} in a row" for i in range(20))
    )
    for name, data in (("a", png(1)), ("b", png(1)), ("c", png(2, (20, 30))), ("bad", png(3)[:40])):
        put(folder / f"{name}.png", data)
    rows = [
        ("s1", "p1", "a.png", "PA", "Lungs are clear.", "Normal.", "normal", "", "train"),
        ("s2", "p1", "b.png", "L", "lungs are CLEAR", "normal", "normal", "", "test"),
        (
            "s3",
            "p2",
            "c.png",
            "",
            f"{long}.",
            "XXXX seen by Dr. Mabuse on 3/14/2019.",
            "abnormal",
            "Mass|Nodule",
            "train",
        ),
        ("s4", "p3", "bad.png", "AP", f"{long}.", "___ seen by Dr. XXXX.", "abnormal", "Mass", "validation"),
        ("s5", "p4", "", "", "", "word " * 100, "", "", "test"),
        ("s6", "p5", "gone.png", "", "", "", "", "", "test"),
    ]
    with put(folder / "manifest.csv", "").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS[:-1])
        writer.writerows(rows)
    return folder


def test_everything_is_counted(known: Path) -> None:
    found, films = inspect(str(known))
    assert (
        found["studies"],
        found["patients"],
        found["films"],
        found["reports"],
        found["distinct_reports"],
    ) == (5, 4, 4, 5, 4)
    assert found["labels"] == {"normal": 2, "abnormal": 2, "unknown": 1}
    assert {k: v for k, v in found["views"].items() if v} == {"PA": 1, "lateral": 1, "AP": 1, "unknown": 1}
    assert found["splits"]["train"] == {
        "studies": 2,
        "patients": 2,
        "films": 2,
        "frontal_films": {"normal": 1, "abnormal": 1, "unknown": 0},
        "lateral_films": 0,
        "labels": {"normal": 1, "abnormal": 1, "unknown": 0},
    }
    assert found["splits"]["test"]["lateral_films"] == 1 and found["too_small_for"] is None
    assert found["patients_in_two_splits"] == {"patients": 1, "ids": None}
    assert found["twins"]["exact"] == {
        "reports": 1,
        "studies": 2,
        "largest": 2,
        "share_with_a_twin": {"normal": 1.0, "abnormal": 0.0, "unknown": 0.0},
    }
    assert found["twins"]["near"] == {"reports": 2, "groups": 1, "similarity": 0.8}
    assert found["empty"] == {"text": 0, "findings": 1, "impression": 0}
    assert found["marks"] == {"reports": 2, "marks": 3}
    assert found["finding_labels"] == {"Mass": 2, "Nodule": 1}
    assert found["skipped"] == {
        "bad_rows": 1,
        "reasons": {"film not found (row left out)": 1},
        "passed_over": {},
        "first": ["line 7: film not found: gone.png (row left out)"],
    }
    files = found["film_files"]
    assert (files["decoded"], files["why"], files["unreadable"]["films"]) == (4, "all of them", 1)
    assert files["unreadable"]["first"][0].startswith("bad.png: ")
    assert files["identical"] == {"groups": 1, "films": 2, "groups_in_two_splits": 1}
    assert (files["width"], files["height"]["max"]) == ({"min": 12, "median": 12, "max": 20}, 30)
    assert found["lengths"]["words"]["max"] == 102
    assert sorted(film.name for film in films) == ["a.png", "b.png", "c.png"]


def test_health_information_is_located_and_not_shown(known: Path) -> None:
    found, films = inspect(str(known))
    text = "XXXX seen by Dr. Mabuse on 3/14/2019."
    assert found["possible_phi"] == {
        "date": {
            "count": 1,
            "where": [
                {"place": "line 4", "field": "impression", "start": text.index("3/14"), "end": len(text) - 1}
            ],
        },
        "name after a title": {
            "count": 1,
            "where": [{"place": "line 4", "field": "impression", "start": 13, "end": 23}],
        },
    }
    said = json.dumps(found) + "".join(value for _, value in summary_lines(found)) + page(found, films)
    assert "Mabuse" not in said and "3/14" not in said
    hostile = page(
        {**found, "source": {"spec": "<script>", "kind": "x", "notes": []}},
        [Thumbnail("<script>", "normal", "PA", png())],
    )
    assert "<script" not in hostile and hostile.count("&lt;script&gt;") >= 4
    shown, _ = inspect(str(known), show=True)
    assert shown["possible_phi"]["name after a title"]["where"][0]["text"] == "Dr. Mabuse"
    assert shown["patients_in_two_splits"] == {"patients": 1, "ids": ["p1"]}


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Compared with 2019-03-14 and 14.3.19.", ["date", "date"]),
        ("Seen on March 3rd, 2020 and 3 March 2020, and 12th of Oct.", ["date"] * 3),
        (
            "Call (317) 555-0123 or +49 89 1234567.",
            ["phone", "phone", "record number"],
        ),  # one number, two kinds: it is named all the same
        ("MRN: 00123456, accession no. A1234567, 123-45-6789.", ["record number"] * 3),
        ("Discussed with Drs. Holmes Watson and Prof. Moriarty.", ["name after a title"] * 2),
        ("Mail to a.b@ward.example now.", ["e-mail"]),
        ("A 94-year-old woman, a 101 yo man.", ["age above 89"] * 2),
        ("T10/11 and L1-L2, 5 mm, 3.5 x 2.1 cm, 1/2, at 10:15, 45-year-old, T12, 100 percent.", []),
        ("Dr. XXXX was told; may 5 rib fractures? No 10.25835/0090041.", ["date"]),  # a price of patterns
        ("Doctor was told in person. Mr with stenosis.", []),
    ],
)
def test_what_the_patterns_find(text: str, kinds: list[str]) -> None:
    assert [found.kind for found in suspicions(text)] == kinds


def test_near_twins_are_like_the_exact_jaccard_index() -> None:
    random = np.random.default_rng(0)
    base = [" ".join(str(n) for n in random.integers(0, 500, 60)) for _ in range(40)]
    near = [text.replace(text.split()[30], "changed", 1) for text in base[:20]]
    far = [
        " ".join(text.split()[:30] + [str(n) for n in random.integers(500, 999, 30)]) for text in base[20:]
    ]
    found = groups(np.stack([signature(text) for text in base + near + far]))
    assert sum(found[i] == found[40 + i] for i in range(20)) >= 19
    assert not any(found[20 + i] == found[60 + i] for i in range(20))
    assert len(set(found[:40].tolist())) == 40
    assert len(signature("word")) == 32 and not len(groups(np.zeros((0, 32), np.uint16)))


def test_tokens_are_counted_where_the_tokenizer_is_and_never_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    model = Tokenizer(WordLevel({"word": 0, "[UNK]": 1}, unk_token="[UNK]"))
    model.pre_tokenizer = Whitespace()
    model.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr(
        "mtclip_edge.sources.inspection.text_lengths._files", lambda: {"clip": tmp_path / "tokenizer.json"}
    )
    lengths = Lengths()
    for words in (50, 70, 200):
        lengths.add("word " * words)
    towers = {tower["backbone"]: tower for tower in lengths.to_dict()["towers"]}
    assert towers.keys() == {
        "clip",
        "siglip",
    }  # of compact and BiomedCLIP nothing is said: their pieces cannot be counted here
    assert (towers["clip"]["tokens"]["median"], towers["clip"]["cut"], towers["siglip"]["cut"]) == (70, 1, 2)
    assert (towers["clip"]["counted"], towers["siglip"]["counted"]) == (
        "CLIP's byte pairs",
        "CLIP's byte pairs, not its own",
    )
    assert Lengths().to_dict()["towers"][0]["share"] is None


def test_a_sample_of_films_is_decoded_where_there_are_many(known: Path) -> None:
    found, films = inspect(str(known), films=2)
    assert (found["film_files"]["decoded"], found["film_files"]["why"]) == (2, "drawn by seed 0 of 4")
    assert len(films) + found["film_files"]["unreadable"]["films"] == 2
    assert found["film_files"]["identical"]["films"] == 2  # all of one size are compared
    none, films = inspect(str(known), films=0)
    assert (
        none["film_files"]["unreadable"] is None
        and none["film_files"]["why"] == "none was asked for"
        and not films
    )


def test_the_commands(mtclip, known: Path, tmp_path: Path) -> None:
    found = mtclip("data", "inspect", known, "--format", "json", "--html", tmp_path / "page.html")
    assert found.code == 0 and json.loads(found.out)["schema"] == "mtclip.inspect/1"
    html = (tmp_path / "page.html").read_text()
    assert (
        html.count("<img ") == 3
        and "Mabuse" not in html
        and (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600
    )
    told = [shortage["what"] for shortage in json.loads(found.out)["too_small_for"]]
    assert told[0] == HEAD and told[-1] == "the film gate" and HEAD in html
    found = mtclip("data", "inspect", known)
    said = " ".join(found.out.split())
    few = "0 normal validation films of 20 needed, 1 abnormal validation films of 20 needed; no percentage"
    assert f"too small for {HEAD}: {few}" in said
    assert found.code == 0 and "longest 102" in found.out and "Mabuse" not in found.out + found.err
    assert "Mabuse" in mtclip("data", "inspect", known, "--show").out
    found = mtclip("data", "export", known, "--to", tmp_path / "out" / "m.csv")
    assert (found.code, found.out) == (0, "") and found.err.splitlines()[
        -2
    ] == f"{tmp_path / 'out' / 'm.csv'}: 5 rows"
    for words, code, message in (
        (("export", known, "--to", tmp_path / "out" / "m.csv"), 1, "is there already\nadd --overwrite"),
        (
            ("export", known, "--to", tmp_path / "m.xlsx"),
            2,
            "expected a name that ends with .csv or .parquet",
        ),
        (("inspect", tmp_path / "none"), 1, "no such manifest"),
        (("inspect", known, "--abnormal", "acute"), 1, "needs the MeSH terms"),
        (("inspect", known, "--format", "xml"), 2, "expected one of table, json"),
    ):
        found = mtclip("data", *words)
        assert found.code == code and message in found.err and found.out == "", (words, found)
    assert mtclip("data", "export", known, "--to", tmp_path / "out" / "m.csv", "--overwrite").code == 0


def openi(folder: Path) -> Path:
    put(
        folder / "ecgen-radiology" / "1.xml",
        open_i(1, 'Quote " and, comma.', "Normal.", ["normal"], ["CXR1_1_IM-1", "CXR1_1_IM-2"]),
    )
    put(folder / "ecgen-radiology" / "2.xml", open_i(2, "", "Größe |.", ["Mass/lung", "Hernia, Hiatal"]))
    put(folder / "CXR1_1_IM-1.png", png())
    put(folder / "CXR1_1_IM-2.png", png(3))
    return folder


def kaggle(folder: Path) -> Path:
    put(
        folder / "indiana_reports.csv",
        "uid,MeSH,findings,impression,indication,comparison\n1,normal,Clear.,Normal.,Cough,\n",
    )
    put(folder / "indiana_projections.csv", "uid,filename,projection\n1,1_IM-1.dcm.png,Frontal\n")
    put(folder / "images" / "1_IM-1.dcm.png", png())
    return folder


def r2gen(folder: Path) -> Path:
    put(
        folder / "annotation.json",
        json.dumps({"val": [{"id": "CXR1_IM-1", "report": "Clear.", "image_path": ["a/0.png"]}]}),
    )
    put(folder / "images" / "a" / "0.png", png())
    return folder


def manifest(folder: Path) -> Path:
    text = 'study_id,image_path,report,ward,extra,date\ns1,a.png,"Two\nlines",7,plain,20240305\ns2,,T.,,,\n'
    put(folder / "a.png", png())
    put(folder / "manifest.csv", text)
    return folder


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "openi": openi,
    "kaggle-iu": kaggle,
    "r2gen": r2gen,
    "mimic-cxr": layouts.mimic,
    "chexpert-plus": layouts.chexpert_plus,
    "padchest": layouts.padchest,
    "nih": layouts.nih,
    "wds": layouts.wds,
    "manifest": manifest,
}


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_manifest_read_back_is_the_same_studies(tmp_path: Path, kind: str, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    source = f"{kind}:{LAYOUTS[kind](tmp_path / 'in')}"
    before = open_source(source)
    for to in (
        tmp_path / "in" / f"m.{suffix}",
        tmp_path / "other" / f"m.{suffix}",
    ):  # films below it, and elsewhere
        export_manifest(source, to)
        after = open_source(f"manifest:{to}")
        assert after.studies == before.studies and not after.problems
        assert to.stat().st_mode & 0o777 == 0o600


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = manifest(tmp_path / "in")
    to = put(tmp_path / "m.csv", "old")
    with pytest.raises(Refused, match="is there already"):
        export_manifest(str(folder), to)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest_writer.csv, "writer", full)
    with pytest.raises(OSError, match="No space"):
        export_manifest(str(folder), to, overwrite=True)
    monkeypatch.undo()
    put(tmp_path / "empty.csv", "study_id,report\n1,\n")
    with pytest.raises(SourceUnusable, match="no study can be used\nfirst problem: line 2"):
        export_manifest(str(tmp_path / "empty.csv"), to, overwrite=True)
    assert to.read_text() == "old" and sorted(p.name for p in tmp_path.iterdir()) == [
        "empty.csv",
        "in",
        "m.csv",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["csv", "stream", "parquet", "inspect"])
def test_memory_does_not_grow_with_the_reports(
    tmp_path_factory: pytest.TempPathFactory, soak: bool, way: str
) -> None:
    """Peak memory of a fresh process. In ``make test`` 30 MB of text go through it, in ``make soak`` 400,000 rows with 170 MB."""
    if way != "csv" and not soak:
        pytest.skip("make soak has all ways, and 400,000 rows")
    folder = tmp_path_factory.getbasetemp() / "many"
    folder.mkdir(exist_ok=True)
    file = folder / "studies.csv.gz"
    rows, words = (400_000, 90) if soak else (1_500, 4_000)
    if not file.exists():
        many_studies.make(file, rows, words)
    command = [sys.executable, many_studies.__file__, way, str(file)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found["studies"] == 2 * rows // 3 + (2 * rows % 3 > 0)
    # A working set (pyarrow, tokenizer files), and numbers of each study where it is inspected: a report alone has 600 characters.
    fixed, each = {"csv": (12, 20), "stream": (12, 20), "parquet": (150, 20), "inspect": (100, 400)}[way]
    assert found["after"] - found["before"] < fixed + each * found["studies"] / 2**20


@pytest.mark.torch
def test_train_hands_the_rule_on_with_the_source(
    mtclip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtclip_edge.train import training

    asked: list[str] = []
    monkeypatch.setattr(training, "train", lambda config, sources, out, **how: asked.extend(sources))
    folder = openi(tmp_path / "in")
    assert mtclip("train", "--data", folder, "--abnormal", "acute", "--out", tmp_path / "run").code == 0
    assert mtclip("train", "--data", folder, "--out", tmp_path / "run").code == 0
    assert asked == [f"openi:{folder},abnormal=acute", str(folder)]
