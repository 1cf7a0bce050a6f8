"""A disk that fills while we write: one line, exit 1, and what stood before still opens. On a small file system of memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtclip_edge.bundle.bundle import Bundle

MOUNT = "mount -t tmpfs -o size={size}k none {folder}"


def can_mount(tmp_path_factory: pytest.TempPathFactory) -> bool:
    if shutil.which("unshare") is None:
        return False
    folder = tmp_path_factory.mktemp("mount")
    script = MOUNT.format(size=64, folder=folder)
    return subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True).returncode == 0


@pytest.fixture
def on_small_disk(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, home: Path):
    """Run shell commands with ``tmp_path/disk`` as a file system of some kilobytes; $MTCLIP is the command line."""
    if not can_mount(tmp_path_factory):
        pytest.skip("this machine does not allow a private mount (unshare -rm)")
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(size: int, script: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "MTCLIP": f"{sys.executable} -m mtclip_edge", "DISK": str(disk)}
        whole = MOUNT.format(size=size, folder=disk) + "\n" + script
        return subprocess.run(
            ["unshare", "-rm", "sh", "-c", whole], capture_output=True, text=True, env=environment
        )

    return run


def kilobytes(folder: Path) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4 for path in folder.iterdir())


def test_train(on_small_disk, source: Path, tiny_backbone: Path) -> None:
    found = on_small_disk(
        60,
        f"$MTCLIP train --data {source} --backbone {tiny_backbone} --out $DISK/run; echo code $?; ls -A $DISK/run",
    )
    assert "code 1" in found.stdout
    assert "Traceback" not in found.stderr and "internal error" not in found.stderr
    assert "No space left" in found.stderr.splitlines()[-1]
    assert ".tmp" not in found.stdout


def test_index_build(on_small_disk, bundle: Path, source: Path, film: Path, tmp_path: Path) -> None:
    size = kilobytes(bundle) + 24
    script = (
        f"cp -r {bundle} $DISK/bundle; $MTCLIP index build $DISK/bundle {source}; echo code $?\n"
        f"$MTCLIP verify $DISK/bundle >/dev/null && $MTCLIP query {film} --bundle $DISK/bundle --format ids -k 1 && echo still answers\n"
        f"cp $DISK/bundle/manifest.json {tmp_path}; ls -A $DISK/bundle"
    )
    found = on_small_disk(size, script)
    assert "code 1" in found.stdout and "still answers" in found.stdout
    assert "internal error" not in found.stderr and "Traceback" not in found.stderr
    assert (tmp_path / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
    assert "-2." not in found.stdout and ".tmp" not in found.stdout


CHANGES = {
    "add": "index add $DISK/bundle phantom:60@4",
    "remove": "index remove $DISK/bundle --study {study}",
    "rebuild": "index rebuild $DISK/bundle",
    "merge": "index merge $DISK/bundle {other}",
    "export": "index export $DISK/bundle --to $DISK/out",
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_index_changes(
    change: str, on_small_disk, bundle: Path, source: Path, film: Path, tmp_path: Path, soak: bool
) -> None:
    """It fills while the store, the words, the vectors, the graph or the manifest is written: what stood before still answers."""
    from mtclip_edge.indexing.build import rebuild
    from mtclip_edge.sources.source import open_source

    if change != "remove" and not soak:
        pytest.skip("with the build above one of the five is enough outside make soak")
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    rebuild(other, open_source("phantom:60@5").studies)
    study = next(s.study_id for s in open_source(str(source)).split("train") if s.report_id)
    words = CHANGES[change].format(other=other, study=study)
    rooms = (8, 20, 28) if change == "export" else (8, 40, 72, 88, 104)
    for room in rooms if soak else (60,):
        script = (
            f"cp -r {bundle} $DISK/bundle; $MTCLIP {words}; echo code $?\n"
            f"$MTCLIP verify $DISK/bundle >/dev/null && $MTCLIP query {film} --bundle $DISK/bundle --format ids -k 1 && echo still answers\n"
            f"cp $DISK/bundle/manifest.json {tmp_path}; ls -A $DISK/bundle $DISK"
        )
        found = on_small_disk(kilobytes(bundle) + room, script)
        assert "code 1" in found.stdout and "still answers" in found.stdout, (room, found)
        assert "internal error" not in found.stderr and "Traceback" not in found.stderr
        assert any(words in found.stderr for words in ("No space left", "is full", "disk I/O error")), (
            found.stderr
        )
        assert (tmp_path / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
        assert "-2." not in found.stdout and ".tmp" not in found.stdout and "out" not in found.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("room", [100, 900])
def test_export_over_a_bundle(
    on_small_disk, bundle: Path, tiny_run: Path, film: Path, room: int, soak: bool
) -> None:
    """It fills in the first graph, or later on: tiny graphs take about 700 kB."""
    if room == 100 and not soak:
        pytest.skip("the later of the two is enough outside make soak")
    script = (
        f"cp -r {bundle} $DISK/bundle; $MTCLIP export {tiny_run} --out $DISK/bundle --overwrite; echo code $?\n"
        f"$MTCLIP verify $DISK/bundle >/dev/null && $MTCLIP query {film} --bundle $DISK/bundle --format ids -k 1 && echo still answers\n"
        "ls -A $DISK/bundle"
    )
    found = on_small_disk(kilobytes(bundle) + room, script)
    assert "code 1" in found.stdout and "still answers" in found.stdout, found
    assert "internal error" not in found.stderr and "Traceback" not in found.stderr
    names = {p.name for p in bundle.iterdir()}
    assert names == {line for line in found.stdout.splitlines() if "." in line and "\t" not in line}
    assert Bundle.open(bundle).generation == 1
