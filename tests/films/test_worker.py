"""Films read in a process of their own: the same films, and a hostile one harms nobody else."""

import io
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import dicoms
import hostile
import numpy as np
import pytest
from dicoms import cr, written
from PIL import Image

from mtclip_edge.errors import FilmUnreadable, MtclipError
from mtclip_edge.films import worker
from mtclip_edge.films.read import read_film
from mtclip_edge.films.worker import DecodeWorkers
from mtclip_edge.retrieval.retriever import Retriever


@pytest.fixture(scope="module")
def workers():
    made = DecodeWorkers()
    yield made
    made.close()


@pytest.fixture
def deep(random: np.random.Generator) -> np.ndarray:
    return (np.add.outer(np.arange(80), np.arange(72)) * 25 + random.integers(0, 40, (80, 72))).astype(
        np.uint16
    )


def picture(deep: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((deep >> 4).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def importable(monkeypatch) -> None:
    """The worker finds ``hostile`` too."""
    folder = str(Path(hostile.__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.JPEG_LS, dicoms.J2K, dicoms.BASELINE])
def test_a_film_is_the_same_film(workers: DecodeWorkers, deep: np.ndarray, syntax: str) -> None:
    pixels = (deep >> 4).astype(np.uint8) if syntax == dicoms.BASELINE else deep
    fields = {"PatientName": "Doe^Jane", "PatientID": "7", "ViewPosition": "PA", "BurnedInAnnotation": "NO"}
    data = written(cr(pixels, 8 if syntax == dicoms.BASELINE else 12, **fields), syntax)
    here, there = read_film(data, "x"), workers.read(data, "x")
    np.testing.assert_array_equal(here.grey, there.grey)
    assert (here.kind, here.notes, here.coloured, here.header) == (
        there.kind,
        there.notes,
        there.coloured,
        there.header,
    )


def test_studies_keep_together_over_several_processes(deep: np.ndarray) -> None:
    data = written(cr(deep, 12, StudyInstanceUID="1.2.3.4"))
    first, second = DecodeWorkers(), DecodeWorkers()
    keys = {read(data, "x").header.study for read in (first.read, second.read, read_film)}  # type: ignore[union-attr]
    first.close()
    second.close()
    assert len(keys) == 1


def test_paths_bytes_and_functions(
    workers: DecodeWorkers, deep: np.ndarray, tmp_path: Path, monkeypatch
) -> None:
    data = picture(deep)
    (tmp_path / "f.png").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    expected = read_film(data).grey
    for source in (Path("f.png"), data, lambda: data):
        np.testing.assert_array_equal(workers.read(source).grey, expected)


def test_errors_are_those_of_reading_here(workers: DecodeWorkers, deep: np.ndarray, tmp_path: Path) -> None:
    for source in (b"", b"text", written(cr(deep, 12))[:500], tmp_path / "gone", tmp_path):
        with pytest.raises(FilmUnreadable) as here:
            read_film(source, "x")
        with pytest.raises(FilmUnreadable) as there:
            workers.read(source, "x")
        assert str(here.value) == str(there.value)


def test_films_of_a_zip_and_what_is_wrong_with_it(
    workers: DecodeWorkers, deep: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1", written(cr(deep, 12)))
        archive.writestr("b.png", picture(deep))
        archive.writestr("notes.txt", "none")
    for given in (path, path.read_bytes()):
        films = workers.films_in(given, "study.zip")
        assert [name for name, _ in films] == ["study.zip!a/1", "study.zip!b.png"]
        for name, film in films:
            assert not isinstance(film, MtclipError)
            assert workers.read(film, name).grey.shape == deep.shape
        passed: Counter[str] = Counter()
        assert workers.films_in(given, "study.zip", passed) and passed == {"text": 1}
    assert [(name, str(film)) for name, film in workers.films_in(b"PK\3\4 damaged", "z")] == [
        ("z", "z: the zip cannot be read (damaged)")
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_told_apart(workers: DecodeWorkers, deep: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "odd!name"
    folder.mkdir()
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.writestr("a.png", picture(deep))
        archive.writestr("a.png", picture(deep[:70]))
    films = workers.films_in(folder / "z.zip", str(folder / "z.zip"))
    assert {name for name, _ in films} == {f"{folder}/z.zip!a.png"}
    assert [workers.read(film, name).grey.shape for name, film in films] == [(80, 72), (70, 72)]  # type: ignore[arg-type]
    assert [workers.head(film, name)[:4] for name, film in films] == [b"\x89PNG"] * 2  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_what_a_film_does_to_its_process_is_that_films_error(
    importable: None, deep: np.ndarray, tmp_path: Path
) -> None:
    workers, data = DecodeWorkers(seconds=4), picture(deep)
    try:
        for harm, why in (
            (hostile.dies, "died of it"),
            (hostile.sleeps, "took more than 4 s"),
            (hostile.fills_memory, "MemoryError"),
        ):
            with pytest.raises(FilmUnreadable, match=f"x: .*({why})"):
                workers.read(harm, "x")
            assert workers.read(data, "next").grey.shape == deep.shape
        with pytest.raises(FilmUnreadable, match="OSError"):
            workers.read(partial(hostile.writes_a_file, str(tmp_path / "new")), "x")
        assert not (tmp_path / "new").exists() or (tmp_path / "new").stat().st_size == 0
    finally:
        workers.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes the network away")
def test_a_film_reaches_no_network(importable: None, deep: np.ndarray) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import hostile; hostile.calls_home({port})"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)  # others reach it
        workers = DecodeWorkers()
        with pytest.raises(FilmUnreadable, match="OSError"):
            workers.read(partial(hostile.calls_home, port), "x")
        workers.close()


def test_an_answer_that_is_nonsense_is_refused(monkeypatch, tmp_path: Path) -> None:
    """The process may have been taken over: what it says is checked, and nothing of it is executed."""
    workers = DecodeWorkers()
    good = {"kind": "png", "notes": [], "coloured": False, "shape": [2, 2], "header": None}
    bad = [
        {},
        good | {"shape": [2, 3]},
        good | {"shape": "x"},
        good | {"notes": 5},
        good | {"header": {"ids": 3}},
        good | {"header": []},
    ]
    for answer in bad:
        monkeypatch.setattr(
            worker._Worker, "ask", lambda self, request, seconds, answer=answer: (dict(answer), bytes(4))
        )
        with pytest.raises(FilmUnreadable, match="x: the process that read it answered nonsense"):
            workers.read(b"anything", "x")
    lists: list[object] = [
        None,
        [["x", {}]],
        [["x", {"offset": "a"}]],
        [["x"]],
        [["x", {"path": "/etc/hosts"}]],
    ]
    for films in lists:
        answer = {"films": films, "passed": {}}
        monkeypatch.setattr(
            worker._Worker, "ask", lambda self, request, seconds, answer=answer: (dict(answer), b"")
        )
        for holder in (b"PK", tmp_path / "DICOMDIR"):
            ((name, error),) = workers.films_in(holder, "z")
            assert (name, str(error)) == ("z", "z: the process that read it answered nonsense")
    workers.close()


def test_many_at_once_and_none_is_left(deep: np.ndarray) -> None:
    workers, data = DecodeWorkers(), picture(deep)
    shapes: list[tuple[int, ...]] = []
    threads = [
        threading.Thread(target=lambda: shapes.append(workers.read(data).grey.shape)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    children = [process._child for process in workers._idle]
    workers.close()
    assert shapes == [deep.shape] * 4 and children and all(child.poll() is not None for child in children)


def test_an_isolated_retriever_answers_as_the_other(tiny_bundle: Path, deep: np.ndarray) -> None:
    data = written(cr(deep, 12))
    with Retriever.open(tiny_bundle) as here, Retriever.open(tiny_bundle, isolated=True) as there:
        assert [hit.to_dict() for hit in here.query(data).hits] == [
            hit.to_dict() for hit in there.query(data).hits
        ]
        answers = list(there.query_many([("bad", b"nothing"), ("good", data)], errors="return"))
    assert isinstance(answers[0], FilmUnreadable) and not isinstance(answers[1], MtclipError)
