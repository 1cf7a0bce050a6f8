"""The log is turned over and hashes UIDs; systemd is told; the status tells what has changed."""

import _socket
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from pacs import write_settings

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.dicom_node import telling
from mtclip_edge.dicom_node.journal import Journal
from mtclip_edge.dicom_node.records import Made, Received, Said
from mtclip_edge.dicom_node.settings import Log, read_settings
from mtclip_edge.dicom_node.status import FEW, WEEK, _called, status_of
from mtclip_edge.errors import Refused
from mtclip_edge.evidence.kept_films import KeptFilms
from mtclip_edge.studies import Film, Study

UID = "1.2.840.99.1"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """What ``begin`` silences belongs to the process."""
    levels = {name: logging.getLogger(name).level for name in telling._THEIRS}
    raising = logging.raiseExceptions
    yield
    for handler in telling.LOGGER.handlers:
        handler.close()
    telling.LOGGER.handlers.clear()
    logging.raiseExceptions = raising
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_a_log_is_turned_over_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "node.log"
    telling.begin(Log(file, largest=2000, kept=2), show_ids=False)
    for number in range(200):
        telling.tell("answered", film=telling.short(UID), ms=number, why="two words", none=None)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["node.log", "node.log.1", "node.log.2"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert file.stat().st_mode & 0o077 == 0
    text = file.read_text()
    assert UID not in text
    assert 'why="two words"' in text
    assert "none" not in text


def test_whole_uids_only_where_asked_for(tmp_path: Path) -> None:
    telling.begin(Log(tmp_path / "node.log"), show_ids=True)
    assert telling.short(UID) == UID
    telling.begin(Log(tmp_path / "node.log"), show_ids=False)
    assert telling.short(UID) != UID
    assert telling.short(UID) == telling.short(UID)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be written"):
        telling.begin(Log(tmp_path / "none" / "node.log"), show_ids=False)


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telling.notify("READY=1")  # nobody there
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setattr(socket.socket, "connect", _socket.socket.connect)  # to this socket file alone
        telling.notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


def test_status_before_any_run(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no node has worked here"):
        status_of(read_settings(write_settings(tmp_path, 104)))


def filled(folder: Path, now: float) -> Path:
    """A journal of a node that called a quarter of its films abnormal, and this week all of them."""
    settings = write_settings(folder, 104)
    (folder / "spool").mkdir()
    journal = Journal(folder / "spool" / "journal.sqlite")
    for number in range(8 * FEW):
        week = number >= 6 * FEW
        when = now - 3600 if week else now - 2 * WEEK
        uid = f"1.{number}"
        journal.receive(Received(uid, "1.2", "1.2.1", "CR1", 100, when))
        journal.sort(uid, uid)
        journal.begin(uid, [uid], when)
        if number % 4 == 3:
            journal.drop(uid, "rejected", when, "no chest film")
            continue
        called = "abnormal" if week or number % 4 == 0 else "normal"
        journal.answered(
            uid, "b", [Made(f"2.{number}", "page", "1.7")], Said(called, 10.0 if week else 50.0), when
        )
        journal.sent(uid, when, last=True)
    journal.close()
    return settings


def test_what_has_changed_is_told(tmp_path: Path, mtclip) -> None:
    settings = filled(tmp_path, time.time())
    drift = status_of(read_settings(settings)).document["drift"]
    assert drift["week"]["called_abnormal"] == 1.0
    assert drift["before"]["called_abnormal"] == round(1 / 3, 4)
    assert drift["week"]["similarity_percentiles"] == [10.0, 10.0, 10.0]
    assert drift["week"]["rejected"] == drift["before"]["rejected"] == 0.25
    assert drift["validation"]["rejected"] == 0.005
    shown = mtclip("node", "status", settings)
    assert shown.code == 0
    assert "last seven days 100.0 %, before 33.3 %" in " ".join(shown.out.split())


def test_validation_films_that_the_bundle_keeps_are_told_of() -> None:
    """Ten of thirty are above the demo bundle's operating point."""
    model = Bundle.open(FOLDER).model
    studies = [Study(str(n), str(n), (Film(Path(f"{n}.png"), f"{n}.png", "PA"),)) for n in range(30)]
    logits = np.where(np.arange(30) < 10, 5.0, -20.0)
    kept = KeptFilms.made([one.films[0] for one in studies], studies, np.zeros((30, 4)), logits)
    assert _called(kept, model) == 0.3333
    assert _called(None, model) is None


def test_a_monitor_hears_of_a_film_that_waits(tmp_path: Path, mtclip) -> None:
    settings = filled(tmp_path, time.time())
    journal = Journal(tmp_path / "spool" / "journal.sqlite")
    journal.receive(Received("9.9", "1.2", "1.2.1", "CR1", 100, time.time() - 1000))
    journal.close()
    assert mtclip("node", "status", settings, "--older-than", "2h").code == 0
    late = mtclip("node", "status", settings)
    assert late.code == 1
    assert "longer than 15min" in late.err
    assert mtclip("node", "status", settings, "--older-than", "soon").code == 2


def test_what_failed_is_forgotten_for_good(tmp_path: Path, mtclip) -> None:
    settings = filled(tmp_path, time.time())
    film = tmp_path / "spool" / "in" / "9.9.dcm"
    film.parent.mkdir()
    film.write_bytes(b"film")
    journal = Journal(tmp_path / "spool" / "journal.sqlite")
    journal.receive(Received("9.9", "1.2", "1.2.1", "CR1", 100, time.time()))
    journal.end(["9.9"], "unreadable", time.time(), "damaged")
    journal.close()
    assert mtclip("node", "forget", settings, "--film", "1.1").out == "0 films forgotten\n"
    assert film.exists()
    assert mtclip("node", "forget", settings).out == "1 films forgotten\n"
    assert not film.exists()


def test_check_says_what_is_not_ready(tmp_path: Path, mtclip, open_loopback, monkeypatch) -> None:
    open_loopback(monkeypatch)
    settings = write_settings(tmp_path, 9)  # nobody listens there
    found = mtclip("node", "check", settings, "--json")
    assert found.code == 1
    assert "not ready: pacs" in found.err
    import json

    checks = {one["name"]: one for one in json.loads(found.out)["checks"]}
    assert checks["bundle"]["good"] is None
    assert "DEMO" in checks["bundle"]["said"]
    assert checks["door"]["good"] is True
    assert checks["pacs"]["said"] == "does not answer"
    settings.write_text(settings.read_text().replace("demo_bundle", "no_bundle"))
    assert "not ready: bundle, pacs" in mtclip("node", "check", settings).err
