"""``mtclip query --isolated``: a bad film or archive ends another process, and is its own line."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicoms import cr, written
from layouts import png, put
from zips import zipped

from mtclip_edge.films import archives
from mtclip_edge.films.worker import DecodeWorkers

# What stands for a fault of the libraries that open archives: the process that opens this one ends.
DEADLY = """
import os, zipfile
opened = zipfile.ZipFile.__init__
def ends(self, file, *rest, **more):
    if "deadly" in str(file):
        os._exit(9)
    opened(self, file, *rest, **more)
zipfile.ZipFile.__init__ = ends
"""
IDS = ("--force", "--isolated", "--format", "jsonl", "-k", "1")


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zip that ends every process but this one that opens it."""
    put(tmp_path / "site" / "sitecustomize.py", DEADLY)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    )
    (tmp_path / "films").mkdir()
    return zipped(tmp_path / "films" / "deadly.zip", {"a.png": png(size=(64, 64))})


def test_a_zip_that_ends_its_process_is_its_own_line(mtclip, bundle: Path, deadly: Path) -> None:
    put(deadly.parent / "b.png", png(size=(64, 64)))
    zipped(deadly.parent / "good.zip", {"c.png": png(size=(64, 64)), "notes.txt": b"none"})
    for words in ([deadly.parent], sorted(deadly.parent.iterdir())):
        done = mtclip("query", *words, "--bundle", bundle, *IDS)
        assert done.code == 5 and len(done.out.splitlines()) == 2, done.err
        named = [json.loads(line)["query"]["value"] for line in done.out.splitlines()]
        assert [name.rpartition("/")[2] for name in named] == ["b.png", "good.zip!c.png"]
        assert f"{deadly}: the process that read it died of it\n" in done.err
        assert "2 films answered, 1 could not be read\n" in done.err and "1 passed over: 1 text\n" in done.err


def test_no_archive_is_opened_here(mtclip, bundle: Path, tmp_path: Path, monkeypatch) -> None:
    """Neither to list it, nor to read a film, nor to see whether it is DICOM."""
    films = zipped(tmp_path / "z.zip", {"a.png": png(size=(64, 64)), "b.png": png(size=(64, 64))})
    plain = mtclip("query", films, "--bundle", bundle, "--force", "--format", "ids", "-k", "1")
    monkeypatch.setattr(zipfile, "ZipFile", None)
    monkeypatch.setattr(archives, "zip_films", None)
    isolated = mtclip(
        "query", films, "--bundle", bundle, "--force", "--format", "ids", "-k", "1", "--isolated"
    )
    assert (plain.code, plain.out) == (isolated.code, isolated.out) == (0, plain.out) and plain.out
    demo = mtclip("query", films, *IDS)
    assert demo.code == 0 and len(demo.out.splitlines()) == 2, demo.err


def test_dicom_in_a_zip_is_still_refused_by_a_demo_that_nobody_named(
    mtclip, tmp_path: Path, deep: np.ndarray
) -> None:
    films = zipped(tmp_path / "z.zip", {"a.dcm": written(cr(deep, 12)), "b.png": png(size=(64, 64))})
    done = mtclip("query", films, *IDS)
    assert done.code == 5 and "z.zip!a.dcm: DICOM needs --bundle DIR" in done.err


def test_no_process_is_left(mtclip, bundle: Path, tmp_path: Path, monkeypatch) -> None:
    made: list[DecodeWorkers] = []
    begin = DecodeWorkers.__init__
    monkeypatch.setattr(DecodeWorkers, "__init__", lambda self: (begin(self), made.append(self))[0])
    films = zipped(tmp_path / "z.zip", {"a.png": png(size=(64, 64))})
    assert mtclip("query", films, "--bundle", bundle, *IDS).code == 0
    assert len(made) == 2 and all(workers._closed and not workers._idle for workers in made)
