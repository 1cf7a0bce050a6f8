"""Each program of examples/ runs, and prints what docs/results says."""

import csv
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mtclip_edge import Index, Retriever, open_source

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(program: str, *words: str | Path) -> str:
    command = [sys.executable, str(EXAMPLES / program), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(program: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(program, EXAMPLES / f"{program}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """The four films of the examples, and a file that is none."""
    folder = tmp_path / "films"
    folder.mkdir()
    for film in EXAMPLES.glob("*.png"):
        shutil.copy(film, folder)
    (folder / "notes.txt").write_text("no film")
    return folder


def test_every_program_has_its_test() -> None:
    programs = {path.name for path in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb"))}
    tested = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    recipe = {"make_demo_bundle.py"}  # twenty minutes; the bundle that it made is tested everywhere
    assert {name for name in programs if Path(name).stem not in tested} <= recipe


def test_a_folder_becomes_a_table(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    assert run("folder_to_csv.py", films, out) == f"{out}: 5 files, 4 answered\n"
    with out.open(encoding="utf-8", newline="") as file:
        rows = {Path(row["film"]).name: row for row in csv.DictReader(file)}
    assert list(rows) == ["cardiomegaly.png", "effusion.png", "nodule.png", "normal.png", "notes.txt"]
    with Retriever.open("demo") as retriever:
        best = retriever.query(films / "effusion.png").best
    assert rows["effusion.png"]["report"] == best.text and rows["effusion.png"]["label"] == "abnormal"
    assert (rows["notes.txt"]["ok"], rows["notes.txt"]["report"]) == ("False", "")
    assert "not a picture" in rows["notes.txt"]["why"]


def test_own_reports_are_measured(tiny_bundle: Path, source: Path) -> None:
    said = run("evaluate_own_reports.py", tiny_bundle, source)
    assert said.startswith(f"{tiny_bundle} (fp32)\n  auroc 0.")
    assert re.search(
        r"recall@10\.film_to_report 0\.\d+ \(0\.\d+ to \d\.\d+\), by chance 0\.\d+, \d+ studies", said
    )


def test_films_are_put_into_groups(films: Path) -> None:
    pytest.importorskip("sklearn")
    said = run("embed_and_cluster.py", films, "2")
    groups = re.findall(r"group (\d): (\d) films, nearest report \((\w+)\): .+\n  (.+)", said)
    assert {(label, names) for _, _, label, names in groups} == {
        ("normal", "normal.png"),
        ("abnormal", "cardiomegaly.png, effusion.png, nodule.png"),
    }


def test_a_film_is_answered_by_http(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    monkeypatch.delenv("MTCLIP_BUNDLE", raising=False)
    film = (EXAMPLES / "effusion.png").read_bytes()
    serve_fastapi = loaded("serve_fastapi")
    with TestClient(serve_fastapi.app) as client, Retriever.open("demo") as retriever:
        answer = client.post("/query?k=3&label=normal", content=film)
        told = answer.json()
        assert answer.status_code == 200 and told["schema"] == "mtclip.query/2" and told["image"] == "film"
        assert {hit["label"] for hit in told["hits"]} == {"normal"} and len(told["hits"]) == 3
        plain: dict[str, Any] = client.post("/query", content=film).json()
        assert [hit["report_id"] for hit in plain["hits"]] == [
            h.report_id for h in retriever.query(film).hits
        ]
        assert json.loads(json.dumps(plain)) == plain
        for body, query, why in (
            (b"no film", "", "not a picture"),
            (film, "?k=0", "1 or more"),
            (film, "?label=ill", "label"),
        ):
            refused = client.post(f"/query{query}", content=body)
            assert refused.status_code == 422 and why in refused.json()["detail"]
        monkeypatch.setattr(serve_fastapi, "MOST_BYTES", 100)
        assert client.post("/query", content=film).status_code == 413


def test_a_layout_of_ones_own_is_indexed_and_read_back(bundle: Path, film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    shutil.copy(film, folder / "A1-1.png")
    said = {"patient": "P7", "date": "2024-03-05", "films": ["A1-1.png"]}
    for name, text, diagnosis in (
        ("A1", "Opacity on the left.", "pneumonia"),
        ("A2", "Clear lungs.", "none"),
        ("A3", "Old scars.", None),
    ):
        row = {"accession": name, "text": text, "diagnosis": diagnosis, **said}
        (folder / f"{name}.json").write_text(json.dumps({k: v for k, v in row.items() if v is not None}))
    printed = run("own_layout.py", folder, bundle, tmp_path / "manifest.csv")
    assert printed.splitlines()[-1].startswith(f"3 of 3 studies added: <Index of {bundle}: ")
    assert Index.open(bundle).would_remove(studies=["A1", "A2", "A3"]) == {
        **Index.open(bundle).would_remove(patients=["P7"])
    }
    reading = open_source(tmp_path / "manifest.csv")
    assert [(s.study_id, s.label, s.text) for s in reading.studies] == [
        ("A1", "abnormal", "Opacity on the left."),
        ("A2", "normal", "Clear lungs."),
        ("A3", "unknown", "Old scars."),
    ]
    assert reading.studies[0].films[0].path.read_bytes() == film.read_bytes()
