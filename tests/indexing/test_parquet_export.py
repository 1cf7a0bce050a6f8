"""``index export`` and ``index stats``: what they say is what the bundle holds."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import ExtraMissing, Refused
from mtclip_edge.indexing.parquet_export import export_parquet
from mtclip_edge.indexing.statistics import statistics
from mtclip_edge.indexing.store_writer import stored_studies
from mtclip_edge.indexing.vectors import IndexFiles
from mtclip_edge.installation import install_command
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import distinct_reports


def test_parquet_holds_everything(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import parquet

    monkeypatch.setattr("mtclip_edge.indexing.parquet_export.ROWS", 7)  # several pieces
    lines = export_parquet(tiny_bundle, tmp_path / "out")
    tables = {
        name: parquet.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist()
        for name in ("reports", "studies", "films")
    }
    about, parts = Bundle.open(tiny_bundle).index, IndexFiles.of(Bundle.open(tiny_bundle))
    assert [len(tables[name]) for name in ("reports", "studies", "films")] == [
        about.reports,
        about.studies,
        about.films,
    ]
    assert lines[0] == f"{tmp_path / 'out' / 'reports.parquet'}: {about.reports} rows"
    np.testing.assert_array_equal(
        np.array([r["embedding"] for r in tables["reports"]], np.float32), parts.report_vectors
    )
    np.testing.assert_array_equal(
        np.array([r["embedding"] for r in tables["films"]], np.float32), parts.film_vectors
    )
    stored = {s.study_id: s for s in stored_studies(parts.store)}
    for row in tables["studies"]:
        study = stored[row["study_id"]]
        assert (row["patient_id"], row["report"], row["report_id"], row["label"]) == (
            study.patient_id,
            study.text,
            study.report_id,
            study.label,
        )
        assert (row["finding_labels"] or "").split("|") == (list(study.finding_labels) or [""])
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "out").iterdir()} == {0o600}


def test_parquet_overwrites_nothing_and_leaves_nothing(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(Refused, match="out: is there already"):
        export_parquet(tiny_bundle, tmp_path / "out")
    (tmp_path / "out").rmdir()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mtclip_edge.indexing.parquet_export._table", full)
    with pytest.raises(OSError, match="No space left"):
        export_parquet(tiny_bundle, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_it_says_what_to_install(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match=re.escape(install_command("parquet"))):
        export_parquet(tiny_bundle, tmp_path / "out")


def test_stats_count_what_is_there(tiny_bundle: Path, source: Path) -> None:
    found = statistics(tiny_bundle)
    studies = [s for s in open_source(str(source)).split("train") if s.report_id]
    reports = distinct_reports(studies)
    assert found["studies"] == len(studies) and found["patients"] == len({s.patient_id for s in studies})
    assert found["reports"] == len(reports) and found["twins"] == len(studies) - len(reports)
    assert found["films"] == sum(len(s.films) for s in studies) == sum(found["views"].values())
    assert found["labels"] == {name: sum(r.label == name for r in reports) for name in found["labels"]}
    assert found["findings"]["Opacity"] == sum("Opacity" in s.finding_labels for s in studies)
    assert found["sources"] == {"manifest:drawn": len(studies)} and not found["public"]
    assert found["dates"] == {"first": None, "last": None, "without": len(studies)}
    assert found["search"]["one_query"]["used"] == "exact"
    assert found["hnsw"] == Bundle.open(tiny_bundle).index.hnsw.to_dict()


def test_the_index_commands(mtclip, bundle: Path, source: Path, tmp_path: Path) -> None:
    """Each prints what it did on stderr and ends with 0; stats alone prints on stdout."""
    (tmp_path / "more.csv").write_text(
        "study_id,patient_id,report,label\nn1,pn,A zebrafish.,abnormal\nn2,pn,No zebrafish.,normal\n"
    )
    before = Bundle.open(bundle).index
    patients = statistics(bundle)["patients"]
    found = mtclip("index", "add", bundle, tmp_path / "more.csv")
    assert (found.code, found.out) == (0, "")
    # what is there already counts too
    assert f"the bundle will hold {before.studies + 2} reports of {patients + 1} patients" in found.err
    assert (
        found.err.splitlines()[-2]
        == f"{bundle}: {before.reports + 2} distinct reports of {before.studies + 2} studies, generation 2"
    )
    found = mtclip("index", "stats", bundle, "--format", "json")
    assert found.code == 0 and json.loads(found.out)["reports"] == before.reports + 2
    assert "recall@10" in mtclip("index", "stats", bundle).out
    found = mtclip("index", "remove", bundle, "--patient", "pn")
    assert found.code == 0 and found.err.startswith("2 studies removed, 2 reports, 0 films\n")
    assert mtclip("index", "rebuild", bundle).code == 0
    found = mtclip("index", "export", bundle, "--to", tmp_path / "out")
    assert found.code == 0 and found.err.count(" rows\n") == 3
    found = mtclip("index", "merge", bundle, bundle)
    assert (found.code, found.err.splitlines()[:2]) == (
        0,
        [f"{before.studies} of {before.studies} studies are there already", "nothing to add"],
    )
    assert Bundle.open(bundle).index.reports == before.reports
    for words, code, message in (
        (("remove", bundle), 2, "index remove\nexpected --study, --patient or --source\n"),
        (("remove", bundle, "--study", "x"), 1, f"{bundle}: no study 'x' in this bundle\n"),
        (("add", bundle, tmp_path / "no.csv"), 1, "no such manifest"),
        (("stats", tmp_path), 1, "not a bundle"),
        (("merge", bundle, "none"), 1, "none: no such directory"),
        (("export", bundle, "--to", tmp_path / "out"), 1, "is there already"),
        (("add", bundle, source, "--split", "tset"), 2, "did you mean test?"),
    ):
        found = mtclip("index", *words)
        assert found.code == code and message in found.err and found.out == "", (words, found)


def test_a_public_source_is_not_warned_of(mtclip, bundle: Path) -> None:
    found = mtclip("index", "add", bundle, "phantom:4@8")
    assert found.code == 0 and "the bundle will hold" not in found.err
