"""A disc's DICOMDIR, folders of films without suffix, pipes: what a word stands for, and nothing outside of it."""

import json
import os
import threading
from pathlib import Path

import dicoms
import numpy as np
import pytest
from dicoms import cr, written
from fuzzing import picture
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from zips import film_names, report, zipped

from mtclip_edge.films import dicomdir

# DICOMDIR


def disc(folder: Path, deep: np.ndarray, films: int = 3) -> Path:
    """A DICOMDIR of one study's films and a structured report, and the files it lists."""
    study, records = generate_uid(), [record("PATIENT"), record("STUDY"), record("SERIES")]
    (folder / "PT000000" / "ST000000").mkdir(parents=True)
    for number in range(films):
        parts = ["PT000000", "ST000000", f"IM{number:06d}"]
        folder.joinpath(*parts).write_bytes(written(cr(deep, 12, StudyInstanceUID=study)))
        records.append(record("IMAGE", parts))
    (folder / "PT000000" / "SR").write_bytes(report(deep))
    directory = cr(deep, 12)
    for name in [element.keyword for element in directory]:
        delattr(directory, name)
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.FileSetID = "DISC"
    directory.DirectoryRecordSequence = Sequence(
        [*records, record("SR DOCUMENT", ["PT000000", "SR"]), record("IMAGE", ["PT000000", "SR"])]
    )
    directory.save_as(folder / "DICOMDIR")
    return folder / "DICOMDIR"


def record(kind: str, parts: list[str] | None = None) -> Dataset:
    made = Dataset()
    made.DirectoryRecordType = kind
    if parts:
        made.ReferencedFileID = parts
    return made


def test_a_dicomdir_gives_the_films_it_lists(
    mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path
) -> None:
    path = disc(tmp_path / "disc", deep)
    listed = film_names(path, tmp_path / "disc")
    assert listed == [f"PT000000/ST000000/IM00000{number}" for number in range(3)]
    (tmp_path / "disc" / "extra.png").write_bytes(picture((deep >> 4).astype(np.uint8), "PNG"))
    assert film_names(path, tmp_path / "disc") == listed  # what it does not list is not there
    assert sorted(film_names(tmp_path / "disc", tmp_path / "disc")) == sorted(
        [*listed, "extra.png"]
    )  # a folder is what lies in it
    found = mtclip("query", path, "--by", "study", "--bundle", tiny_bundle)
    assert len(json.loads(found.out)["films"]) == 3


def test_a_dicomdir_on_a_disc_in_lower_case_and_with_a_missing_file(deep: np.ndarray, tmp_path: Path) -> None:
    path = disc(tmp_path / "disc", deep)
    before = film_names(path, tmp_path / "disc")
    (tmp_path / "disc" / before[1]).unlink()
    for folder in sorted(
        (p for p in (tmp_path / "disc").rglob("*") if p != path), key=lambda p: -len(p.parts)
    ):
        folder.rename(folder.with_name(folder.name.lower()))
    found = film_names(path, tmp_path / "disc")
    assert [found[0], found[2]] == [before[0].lower(), before[2].lower()]
    assert found[1] == f"{before[1]}: no such file, though DICOMDIR lists it"


@pytest.mark.parametrize("parts", [["..", "OUT"], ["A/../../OUT"], ["", "..", "OUT"], ["C:\\X"], ["", ""]])
def test_a_dicomdir_leads_nowhere_else(deep: np.ndarray, tmp_path: Path, parts: list[str]) -> None:
    path = disc(tmp_path / "disc", deep, films=1)
    (tmp_path / "OUT").write_bytes(written(cr(deep, 12)))
    assert dicomdir._referenced(path.parent, tuple(parts), "DICOMDIR") is not None
    ((name, problem),) = [dicomdir._referenced(path.parent, tuple(parts), "DICOMDIR")]  # type: ignore[misc]
    assert (name, str(problem)) == ("DICOMDIR", "DICOMDIR: a listed file that is not below it")


@pytest.mark.parametrize(
    "change", ["suffix", "lower", "mixed", "version", "slashes", "leading", "suffix and lower"]
)
def test_a_dicomdir_of_a_disc_that_was_copied(deep: np.ndarray, tmp_path: Path, change: str) -> None:
    """Copying puts ``.dcm`` behind names and changes their case; some writers put a whole path into one name, or begin with a backslash."""
    path = disc(tmp_path / "disc", deep, films=2)
    before = film_names(path, path.parent)
    for name in before:
        file = path.parent / name
        renamed = {
            "version": file.name + ";1",
            "lower": file.name.lower(),
            "mixed": file.name.capitalize(),
        }.get(change, file.name)
        renamed = (
            f"{renamed.lower() if 'lower' in change else renamed}.dcm" if "suffix" in change else renamed
        )
        file.rename(file.with_name(renamed))
    if change in ("slashes", "leading"):
        listed = [tuple(name.split("/")) for name in before]
        parts = [("/".join(part),) if change == "slashes" else ("", *part) for part in listed]
        found = [dicomdir._referenced(path.parent, part, "DICOMDIR") for part in parts]
        assert [str(film[1]) for film in found if film] == [str(path.parent / name) for name in before]
    names = film_names(path, path.parent)
    assert len(names) == 2 and all((path.parent / name).is_file() for name in names)


def test_a_folder_as_it_comes(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path) -> None:
    """Answered, rejected, failed and passed over are all that was there, by kind."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.dcm").write_bytes(written(cr(deep, 12)))
    (folder / "broken.dcm").write_bytes(written(cr(deep, 12))[:900])
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "empty").write_bytes(b"")
    (folder / "report.dcm").write_bytes(report(deep))
    (folder / "notes.txt").write_text("no film")
    (folder / "table.bin").write_bytes(bytes(100))
    zipped(
        folder / "sub" / "study.zip",
        {"1": written(cr(deep, 12)), "2": picture((deep >> 4).astype(np.uint8), "PNG"), "r.txt": b"text"},
    )
    zipped(folder / "letter.docx", {"word/document.xml": b"<w/>"})
    found = mtclip("query", folder, "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert len(found.out.splitlines()) == 3 and found.code == 5
    lines = found.err.splitlines()
    assert f"{folder}/empty.dcm: empty file" in lines
    assert any(line.startswith("3 films answered, 2 could not be read") for line in lines)
    assert (
        lines[-2]
        == "6 passed over: 2 text, 1 empty, 1 zip without a film, 1 DICOM without a picture, 1 of another kind"
    )
    assert lines[-1] == "11 files: 3 answered, 0 rejected, 2 could not be read, 6 passed over"


def test_a_film_from_a_pipe(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path) -> None:
    """A name that can be read once, as ``<(cat film.dcm)`` is."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(written(cr(deep, 12)),))
    writer.start()
    found = mtclip("query", pipe, "--bundle", tiny_bundle, "--json")
    writer.join()
    assert (found.code, json.loads(found.out)["image"]) == (0, str(pipe))


def test_a_link_out_of_the_disc_is_not_followed(deep: np.ndarray, tmp_path: Path) -> None:
    path = disc(tmp_path / "disc", deep, films=1)
    (listed,) = film_names(path, tmp_path / "disc")
    (tmp_path / "OUT").write_bytes(written(cr(deep, 12)))
    (tmp_path / "disc" / listed).unlink()
    (tmp_path / "disc" / listed).symlink_to(tmp_path / "OUT")
    assert film_names(path, tmp_path / "disc") == [f"{listed}: no such file, though DICOMDIR lists it"]


def test_a_damaged_and_an_empty_dicomdir(deep: np.ndarray, tmp_path: Path) -> None:
    path = disc(tmp_path / "disc", deep)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert film_names(path, tmp_path / "disc") == ["DICOMDIR: damaged DICOMDIR"]
    none = disc(tmp_path / "none", deep, films=0)
    assert film_names(none, tmp_path / "none") == ["DICOMDIR: no film in this DICOMDIR"]


# Folders and arrivals


def test_a_folder_of_files_without_suffix(
    mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path
) -> None:
    for name, data in (
        ("IM1", written(cr(deep, 12))),
        ("IM2", written(cr(deep, 12), dicoms.J2K)),
        ("SR1", report(deep)),
        ("x.dcm", b"text"),
    ):
        (tmp_path / name).write_bytes(data)
    found = mtclip("query", tmp_path, "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert [Path(line.split("\t")[0]).name for line in found.out.splitlines()] == ["IM1", "IM2"]


def test_dicom_that_arrives_is_seen(deep: np.ndarray, tmp_path: Path) -> None:
    from mtclip_edge.films.watch import arrivals

    film = written(cr(deep, 12))
    found = arrivals(
        tmp_path,
        wait=lambda _: None if (tmp_path / "IM1").exists() else (tmp_path / "IM1").write_bytes(film) and None,
    )
    assert [next(found) for _ in range(3)] == [[], [tmp_path / "IM1"], []]
