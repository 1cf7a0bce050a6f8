"""Films inside a zip or a DICOMDIR, and folders as a disc of a hospital has them."""

import io
import json
import os
import threading
import zipfile
from pathlib import Path

import dicoms
import numpy as np
import pytest
from dicoms import cr, written
from fuzzing import picture
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from mtclip_edge.commands.film_arguments import expand
from mtclip_edge.errors import MtclipError
from mtclip_edge.films import archives, dicomdir
from mtclip_edge.films.read import read_film


@pytest.fixture
def deep(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 4096, (40, 36), dtype=np.uint16)


def zipped(path: Path, members: dict[str, bytes], **how: int) -> Path:
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def film_names(word: Path, base: Path) -> list[str]:
    """What a word stands for, films by name, errors by message; without the folder they are all in."""
    return [(str(film) if isinstance(film, MtclipError) else name).replace(f"{base}/", "") for name, film in expand([str(word)])]


def report(deep: np.ndarray) -> bytes:
    dataset = cr(deep, 12)
    del dataset.PixelData, dataset.Rows, dataset.Columns
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_a_zip_of_a_study(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path) -> None:
    members = {"DICOM/IM2": written(cr(deep, 12), dicoms.JPEG_LS), "DICOM/IM1": written(cr(deep, 12)), "DICOM/SR": report(deep)}
    members |= {"a.png": picture((deep >> 4).astype(np.uint8), "PNG"), "readme.txt": b"not a film", "empty": b""}
    path = zipped(tmp_path / "study.zip", members, compression=zipfile.ZIP_DEFLATED)
    assert film_names(path, tmp_path) == ["study.zip!DICOM/IM1", "study.zip!DICOM/IM2", "study.zip!a.png"]
    found = mtclip("query", path, "--bundle", tiny_bundle)
    answers = [json.loads(line) for line in found.out.splitlines()]
    assert (found.code, [a["image"] for a in answers]) == (0, [f"{path}!DICOM/IM1", f"{path}!DICOM/IM2", f"{path}!a.png"])
    assert answers[0]["hits"] == answers[1]["hits"] and answers[0]["input"]["kind"] == "dicom"
    assert mtclip("query", path, "--format", "ids", "-k", "1").err.count("DICOM needs --bundle DIR") == 2


def test_a_zip_on_standard_input(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    data = zipped(tmp_path / "z", {"f": written(cr(deep, 12))}).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert json.loads(mtclip("query", "-", "--bundle", tiny_bundle, "--json").out)["image"] == "-!f"


def test_a_zip_is_known_by_content_where_it_is_named_and_in_a_folder(deep: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "disc").mkdir()
    zipped(tmp_path / "disc" / "study", {"f": written(cr(deep, 12))})
    (tmp_path / "disc" / "g").write_bytes(written(cr(deep, 12)))
    assert film_names(tmp_path / "disc" / "study", tmp_path) == ["disc/study!f"]
    assert film_names(tmp_path / "disc", tmp_path) == ["disc/g", "disc/study!f"]


def test_names_that_lead_elsewhere_lead_nowhere(deep: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    data = written(cr(deep, 12))
    path = zipped(tmp_path / "in" / "z.zip", {"../up": data, "/etc/abs": data, "a\nb": data})
    found = expand([str(path)])
    assert [name.removeprefix(f"{path}!") for name, _ in found] == ["../up", "/etc/abs", "a\nb"]
    for name, film in found:
        assert not isinstance(film, MtclipError) and read_film(film, name).kind == "dicom"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "z.zip"]


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MOST_MEMBERS", 2, "z.zip: 3 members, more than 2"),
        ("MOST_BYTES", 5000, "z.zip: 0 GB expanded, more than 0 GB"),
    ],
)
def test_a_zip_beyond_bounds_is_not_opened(deep: np.ndarray, tmp_path: Path, monkeypatch, limit: str, value: int, message: str) -> None:
    path = zipped(tmp_path / "z.zip", {name: written(cr(deep, 12)) for name in "abc"})
    monkeypatch.setattr(archives, limit, value)
    assert film_names(path, tmp_path) == [message]


def test_a_member_that_expands_beyond_bounds(deep: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    bomb = written(cr(deep, 12)) + bytes(1 << 20)
    path = zipped(tmp_path / "z.zip", {"bomb": bomb, "f": written(cr(deep, 12))}, compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(archives, "LARGEST", 1 << 19)
    assert film_names(path, tmp_path) == ["z.zip!bomb: 0.0 GB, more than 0 GB", "z.zip!f"]


def test_a_member_never_expands_beyond_what_the_zip_says(deep: np.ndarray, tmp_path: Path) -> None:
    """A directory that claims less than is there: the reader stops at the claim and its checksum does not fit."""
    path = zipped(tmp_path / "z.zip", {"f": written(cr(deep, 12)) + bytes(1 << 20)}, compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    (size,) = np.frombuffer(data[22:26], "<u4")
    path.write_bytes(data.replace(int(size).to_bytes(4, "little"), (5000).to_bytes(4, "little")))
    ((name, film),) = expand([str(path)])
    if not isinstance(film, MtclipError):
        with pytest.raises(MtclipError, match=r"z\.zip!f: cannot be unpacked \(damaged\)"):
            read_film(film, name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04" + bytes(100), "z.zip: the zip cannot be read (damaged)"),
        (b"PK\x05\x06" + bytes(18), "z.zip: no film in this zip"),
    ],
)
def test_zips_that_give_nothing(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "z.zip").write_bytes(data)
    assert film_names(tmp_path / "z.zip", tmp_path) == [message]


def test_an_encrypted_member_is_named(deep: np.ndarray, tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"f": written(cr(deep, 12))})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    assert film_names(path, tmp_path) == ["z.zip!f: encrypted"]


@pytest.mark.slow
def test_random_damage_to_a_zip_never_escapes(deep: np.ndarray, tmp_path: Path, random: np.random.Generator, soak: bool) -> None:
    good = zipped(tmp_path / "z.zip", {n: written(cr(deep, 12)) for n in "ab"}, compression=zipfile.ZIP_DEFLATED).read_bytes()
    directory = good.rindex(b"PK\x01\x02") - 60
    for _ in range(2000 if soak else 100):
        data = bytearray(good)
        for position in random.integers(directory if random.random() < 0.7 else 0, len(data), 3):
            data[position] = int(random.integers(0, 256))
        for name, film in archives.zip_films(bytes(data), "z"):
            try:
                if not isinstance(film, MtclipError):
                    read_film(film, name)
            except MtclipError as error:
                assert len(str(error).splitlines()) == 1


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
    directory.DirectoryRecordSequence = Sequence([*records, record("SR DOCUMENT", ["PT000000", "SR"]), record("IMAGE", ["PT000000", "SR"])])
    directory.save_as(folder / "DICOMDIR")
    return folder / "DICOMDIR"


def record(kind: str, parts: list[str] | None = None) -> Dataset:
    made = Dataset()
    made.DirectoryRecordType = kind
    if parts:
        made.ReferencedFileID = parts
    return made


def test_a_dicomdir_gives_the_films_it_lists(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path) -> None:
    path = disc(tmp_path / "disc", deep)
    listed = film_names(path, tmp_path / "disc")
    assert listed == [f"PT000000/ST000000/IM00000{number}" for number in range(3)]
    (tmp_path / "disc" / "extra.png").write_bytes(picture((deep >> 4).astype(np.uint8), "PNG"))
    assert film_names(path, tmp_path / "disc") == listed  # what it does not list is not there
    assert sorted(film_names(tmp_path / "disc", tmp_path / "disc")) == sorted([*listed, "extra.png"])  # a folder is what lies in it
    found = mtclip("query", path, "--by", "study", "--bundle", tiny_bundle)
    assert len(json.loads(found.out)["films"]) == 3


def test_a_dicomdir_on_a_disc_in_lower_case_and_with_a_missing_file(deep: np.ndarray, tmp_path: Path) -> None:
    path = disc(tmp_path / "disc", deep)
    before = film_names(path, tmp_path / "disc")
    (tmp_path / "disc" / before[1]).unlink()
    for folder in sorted((p for p in (tmp_path / "disc").rglob("*") if p != path), key=lambda p: -len(p.parts)):
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


@pytest.mark.parametrize("change", ["suffix", "lower", "mixed", "version", "slashes", "leading", "suffix and lower"])
def test_a_dicomdir_of_a_disc_that_was_copied(deep: np.ndarray, tmp_path: Path, change: str) -> None:
    """Copying puts ``.dcm`` behind names and changes their case; some writers put a whole path into one name, or begin with a backslash."""
    path = disc(tmp_path / "disc", deep, films=2)
    before = film_names(path, path.parent)
    for name in before:
        file = path.parent / name
        renamed = {"version": file.name + ";1", "lower": file.name.lower(), "mixed": file.name.capitalize()}.get(change, file.name)
        renamed = f"{renamed.lower() if 'lower' in change else renamed}.dcm" if "suffix" in change else renamed
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
    zipped(folder / "sub" / "study.zip", {"1": written(cr(deep, 12)), "2": picture((deep >> 4).astype(np.uint8), "PNG"), "r.txt": b"text"})
    zipped(folder / "letter.docx", {"word/document.xml": b"<w/>"})
    found = mtclip("query", folder, "--bundle", tiny_bundle, "--format", "ids", "-k", "1")
    assert len(found.out.splitlines()) == 3 and found.code == 5
    lines = found.err.splitlines()
    assert f"{folder}/empty.dcm: empty file" in lines
    assert any(line.startswith("3 films answered, 2 could not be read") for line in lines)
    assert lines[-1] == "6 passed over: 2 text, 1 empty, 1 zip without a film, 1 DICOM without a picture, 1 of another kind"


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


def test_a_folder_of_files_without_suffix(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path) -> None:
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
    found = arrivals(tmp_path, wait=lambda _: None if (tmp_path / "IM1").exists() else (tmp_path / "IM1").write_bytes(film) and None)
    assert [next(found) for _ in range(3)] == [[], [tmp_path / "IM1"], []]
