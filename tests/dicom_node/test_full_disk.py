"""A disk that fills under a working node: senders are told so, what was taken waits, and goes on when there is room."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from pacs import FakePacs, RunningNode, chest_film, port_of, send, wait_for, write_settings


def can_mount(folder: Path) -> bool:
    script = f"mount -t tmpfs -o size=64k none {folder}"
    return (
        shutil.which("unshare") is not None
        and subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True).returncode == 0
    )


class SmallDisk(RunningNode):
    """A node whose ``disk`` is a file system of memory, 80 MB, that nobody else sees."""

    def command(self) -> list[str]:
        disk = self.settings.parent / "disk"
        run = f"{sys.executable} -m mtclip_edge node run {self.settings}"
        return ["unshare", "-rm", "sh", "-c", f"mount -t tmpfs -o size=80m none {disk} && exec {run}"]

    @property
    def disk(self) -> Path:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{self.settings.parent / 'disk'}")


def fill_up(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC
    finally:
        os.close(descriptor)


def test_a_full_disk_is_out_of_resources_and_nothing_is_lost(
    tmp_path: Path, open_loopback: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_loopback(monkeypatch)
    (tmp_path / "disk").mkdir()
    if not can_mount(tmp_path / "disk"):
        pytest.skip("this machine does not allow a private mount (unshare -rm)")
    pacs = FakePacs(0)
    settings = write_settings(tmp_path, pacs.port, top='spool = "disk/spool"\nquiet = "1s"')
    port = pacs._node = port_of(settings)
    node = SmallDisk(settings)
    pacs.start()
    try:
        node.start()
        assert send([chest_film(1)], port) == [0]
        fill = node.disk / "fill"
        fill_up(fill)
        assert send([chest_film(2), chest_film(3)], port) == [0xA700, 0xA700]
        wait_for(lambda: "waiting" in node.log.read_text(), 30)
        assert pacs.objects == {}
        fill.unlink()
        wait_for(lambda: len(pacs.objects) == 2, 60)
        assert send([chest_film(2)], port) == [0]
        wait_for(lambda: len(pacs.objects) == 4, 60)
        assert node.end() == 0
        assert "Traceback" not in node.log.read_text()
    finally:
        node.kill()
        pacs.stop()
