"""Films inside archives: named, found and read in place, and what is damaged or too large is one line."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from layouts import png, put, shard

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films import archives
from mtclip_edge.films.read import read_film


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_member_is_read_like_a_file(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"in/x.png": png(7)})
    tar = shard(tmp_path / "b.tar", [("in/x.png", png(8)), ("in/x.png", png(9)), ("empty", b"")])
    for name, value in ((f"{archive}!in/x.png", 7), (f"{tar}!in/x.png", 9)):  # of two with one name the later counts
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


@pytest.mark.parametrize("name", ["a.zip!gone.png", "b.tar!gone.png", "b.tar!../x.png", "none.zip!x.png", "none.tar!x.png", "a.zip!"])
def test_what_is_not_there_is_no_film(tmp_path: Path, name: str) -> None:
    zipped(tmp_path / "a.zip", {"x.png": png()})
    shard(tmp_path / "b.tar", [("x.png", png())])
    put(tmp_path / "x.png", png())
    assert not archives.exists(tmp_path / name)
    with pytest.raises(FilmUnreadable, match="no such file"):
        read_film(tmp_path / name)


def test_damaged_and_compressed_archives(tmp_path: Path) -> None:
    data = zipped(tmp_path / "a.zip", {"x.png": png(size=(90, 90))}).read_bytes()
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
    archive = zipped(tmp_path / "bomb.zip", {"x.png": b"\0" * 100_000})
    tar = shard(tmp_path / "b.tar", [("x.png", b"\0" * 100_000)])
    for path in (archive, tar):
        with pytest.raises(FilmUnreadable, match=r"x.png has 100,000 bytes, more than 1,000"):
            read_film(Path(f"{path}!x.png"))
