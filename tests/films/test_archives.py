"""Films inside archives: named, found and read in place, and what is damaged or too large is one line."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import dicoms
import numpy as np
import pytest
from dicoms import cr, written
from fuzzing import picture
from layouts import png, put, shard
from zips import film_names, report, zipped

from mtclip_edge.commands.film_arguments import expand
from mtclip_edge.errors import FilmUnreadable, MtclipError
from mtclip_edge.films import archives
from mtclip_edge.films.read import read_film


def deflated(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_member_is_read_like_a_file(tmp_path: Path) -> None:
    archive = deflated(tmp_path / "a.zip", {"in/x.png": png(7)})
    tar = shard(tmp_path / "b.tar", [("in/x.png", png(8)), ("in/x.png", png(9)), ("empty", b"")])
    for name, value in (
        (f"{archive}!in/x.png", 7),
        (f"{tar}!in/x.png", 9),
    ):  # of two with one name the later counts
        path = Path(name)
        assert archives.exists(path) and archives.size(path) == len(archives.read_bytes(path))
        assert read_film(path).grey[0, 0] == value
    assert archives.read_bytes(Path(f"{tar}!empty")) == b"" and archives.size(Path(f"{tar}!empty")) == 0
    plain = put(tmp_path / "odd!.png", png(3))
    assert archives.exists(plain) and read_film(plain).grey[0, 0] == 3 and archives.size(plain) == len(png(3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "b.tar", "odd!.png"]


def test_an_archive_that_changed_is_read_anew(tmp_path: Path) -> None:
    tar = shard(tmp_path / "b.tar", [("x.png", png(1))])
    assert read_film(Path(f"{tar}!x.png")).grey[0, 0] == 1
    shard(tar, [("first", b"0" * 5000), ("x.png", png(2))])
    assert read_film(Path(f"{tar}!x.png")).grey[0, 0] == 2


@pytest.mark.parametrize(
    "name",
    ["a.zip!gone.png", "b.tar!gone.png", "b.tar!../x.png", "none.zip!x.png", "none.tar!x.png", "a.zip!"],
)
def test_what_is_not_there_is_no_film(tmp_path: Path, name: str) -> None:
    deflated(tmp_path / "a.zip", {"x.png": png()})
    shard(tmp_path / "b.tar", [("x.png", png())])
    put(tmp_path / "x.png", png())
    assert not archives.exists(tmp_path / name)
    with pytest.raises(FilmUnreadable, match="no such file"):
        read_film(tmp_path / name)


def test_damaged_and_compressed_archives(tmp_path: Path) -> None:
    data = deflated(tmp_path / "a.zip", {"x.png": png(size=(90, 90))}).read_bytes()
    at = data.index(b"x.png") + 5
    put(tmp_path / "a.zip", data[: at + 4] + bytes(255 - b for b in data[at + 4 : at + 20]) + data[at + 20 :])
    put(tmp_path / "cut.tar", shard(tmp_path / "b.tar", [("x.png", png())]).read_bytes()[:600])
    put(tmp_path / "no.zip", b"PK nothing")
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x.png"), io.BytesIO())
    for archive in ("a.zip", "cut.tar", "no.zip", "packed.tar"):
        with pytest.raises(FilmUnreadable, match=r"cannot be read \(") as caught:
            read_film(tmp_path / f"{archive}!x.png")
        assert len(str(caught.value).splitlines()) == 1
    for archive in ("no.zip", "packed.tar"):
        assert not archives.exists(tmp_path / f"{archive}!x.png")


def test_a_member_larger_than_a_film_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    archive = deflated(tmp_path / "bomb.zip", {"x.png": b"\0" * 100_000})
    tar = shard(tmp_path / "b.tar", [("x.png", b"\0" * 100_000)])
    for path in (archive, tar):
        with pytest.raises(FilmUnreadable, match=r"x.png has 100,000 bytes, more than 1,000"):
            read_film(Path(f"{path}!x.png"))


def test_a_zip_of_a_study(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path) -> None:
    members = {
        "DICOM/IM2": written(cr(deep, 12), dicoms.JPEG_LS),
        "DICOM/IM1": written(cr(deep, 12)),
        "DICOM/SR": report(deep),
    }
    members |= {
        "a.png": picture((deep >> 4).astype(np.uint8), "PNG"),
        "readme.txt": b"not a film",
        "empty": b"",
    }
    path = zipped(tmp_path / "study.zip", members, compression=zipfile.ZIP_DEFLATED)
    assert film_names(path, tmp_path) == ["study.zip!DICOM/IM1", "study.zip!DICOM/IM2", "study.zip!a.png"]
    found = mtclip("query", path, "--bundle", tiny_bundle)
    answers = [json.loads(line) for line in found.out.splitlines()]
    assert (found.code, [a["image"] for a in answers]) == (
        0,
        [f"{path}!DICOM/IM1", f"{path}!DICOM/IM2", f"{path}!a.png"],
    )
    assert answers[0]["hits"] == answers[1]["hits"] and answers[0]["input"]["kind"] == "dicom"
    assert mtclip("query", path, "--format", "ids", "-k", "1").err.count("DICOM needs --bundle DIR") == 2


def test_a_zip_on_standard_input(
    mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path, monkeypatch
) -> None:
    data = zipped(tmp_path / "z", {"f": written(cr(deep, 12))}).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert json.loads(mtclip("query", "-", "--bundle", tiny_bundle, "--json").out)["image"] == "-!f"


def test_a_zip_is_known_by_content_where_it_is_named_and_in_a_folder(
    deep: np.ndarray, tmp_path: Path
) -> None:
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
def test_a_zip_beyond_bounds_is_not_opened(
    deep: np.ndarray, tmp_path: Path, monkeypatch, limit: str, value: int, message: str
) -> None:
    path = zipped(tmp_path / "z.zip", {name: written(cr(deep, 12)) for name in "abc"})
    monkeypatch.setattr(archives, limit, value)
    assert film_names(path, tmp_path) == [message]


def test_a_member_that_expands_beyond_bounds(deep: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    bomb = written(cr(deep, 12)) + bytes(1 << 20)
    path = zipped(
        tmp_path / "z.zip", {"bomb": bomb, "f": written(cr(deep, 12))}, compression=zipfile.ZIP_DEFLATED
    )
    monkeypatch.setattr(archives, "LARGEST", 1 << 19)
    assert film_names(path, tmp_path) == ["z.zip!bomb: 0.0 GB, more than 0 GB", "z.zip!f"]


def test_a_member_never_expands_beyond_what_the_zip_says(deep: np.ndarray, tmp_path: Path) -> None:
    """A directory that claims less than is there: the reader stops at the claim and its checksum does not fit."""
    path = zipped(
        tmp_path / "z.zip", {"f": written(cr(deep, 12)) + bytes(1 << 20)}, compression=zipfile.ZIP_DEFLATED
    )
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


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_member_that_cannot_be_unpacked_is_a_line(
    deep: np.ndarray, tmp_path: Path, compression: int
) -> None:
    data = bytearray(
        zipped(tmp_path / "z.zip", {"a": written(cr(deep, 12))}, compression=compression).read_bytes()
    )
    data[45:60] = bytes(reversed(data[45:60]))
    ((name, film),) = archives.zip_films(bytes(data), "z")
    assert name == "z!a" and str(film) == "z!a: cannot be unpacked (damaged)"


@pytest.mark.slow
def test_random_damage_to_a_zip_never_escapes(
    deep: np.ndarray, tmp_path: Path, random: np.random.Generator, soak: bool
) -> None:
    good = zipped(
        tmp_path / "z.zip", {n: written(cr(deep, 12)) for n in "ab"}, compression=zipfile.ZIP_DEFLATED
    ).read_bytes()
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
