"""What a door takes: kept on disk and in the journal before it says so, and nothing else."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom")

from mtclip_edge.dicom_node.door import (
    CANNOT_UNDERSTAND,
    CLASS_NOT_SUPPORTED,
    NO_RESOURCES,
    NOT_AUTHORIZED,
    SUCCESS,
    Intake,
)
from mtclip_edge.dicom_node.journal import Journal
from mtclip_edge.dicom_node.settings import Accept, NodeSettings, Place
from mtclip_edge.dicom_node.spool import Spool
from mtclip_edge.dicom_node.uids import is_ours, made_uid
from mtclip_edge.errors import Refused

EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
CR = "1.2.840.10008.5.1.4.1.1.1"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", 10_000)
    made.claim()
    yield made
    made.release()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.sqlite")
    yield made
    made.close()


@pytest.fixture
def intake(spool: Spool, journal: Journal, tmp_path: Path) -> Intake:
    place = Place("127.0.0.1", 104)
    settings = NodeSettings("A", place, ("B",), tmp_path, tmp_path, accept=Accept(largest=5000))
    return Intake(settings, journal, spool, lambda: None)


def take(
    intake: Intake, uid: str = "1.2.3", sop_class: str = CR, data: bytes = b"film", syntax: str = EXPLICIT
) -> int:
    return intake.take(uid, sop_class, syntax, "CR1", (data,), len(data))


def test_a_film_is_on_disk_and_journalled_when_it_is_acknowledged(
    intake: Intake, spool: Spool, journal: Journal
) -> None:
    assert take(intake) == SUCCESS
    assert spool.film("1.2.3").read_bytes() == b"film"
    assert spool.film("1.2.3").stat().st_mode & 0o077 == 0
    assert [(film.uid, film.bytes) for film in journal.unsorted()] == [("1.2.3", 4)]


def test_the_same_film_again_is_acknowledged_and_kept_once(
    intake: Intake, spool: Spool, journal: Journal
) -> None:
    take(intake)
    journal.end(["1.2.3"], "sent", 1.0)
    spool.drop([spool.film("1.2.3")])
    assert take(intake) == SUCCESS
    assert spool.uids(spool.incoming) == []


def test_a_film_that_could_not_be_read_is_taken_again(intake: Intake, spool: Spool, journal: Journal) -> None:
    take(intake, data=b"damaged")
    journal.end(["1.2.3"], "unreadable", 1.0, "damaged")
    assert take(intake, data=b"good") == SUCCESS
    assert spool.film("1.2.3").read_bytes() == b"good"
    assert journal.state("1.2.3") == "received"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"uid": "../../etc/passwd"}, CANNOT_UNDERSTAND),
        ({"uid": "1.02.3"}, CANNOT_UNDERSTAND),
        ({"uid": "1." * 40 + "1"}, CANNOT_UNDERSTAND),
        ({"uid": ""}, CANNOT_UNDERSTAND),
        ({"uid": made_uid("film", "bundle", "page")}, NOT_AUTHORIZED),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.2"}, CLASS_NOT_SUPPORTED),
        ({"data": bytes(5001)}, NO_RESOURCES),
        ({"syntax": DEFLATED}, CLASS_NOT_SUPPORTED),  # its header would be inflated with all the rest
        ({"syntax": "1.2.3"}, CLASS_NOT_SUPPORTED),
    ],
)
def test_what_is_refused_leaves_nothing(
    intake: Intake, spool: Spool, journal: Journal, given: dict, status: int
) -> None:
    assert take(intake, **given) == status
    assert list(spool.incoming.iterdir()) == []
    assert sum(journal.counts().values()) == 0
    assert sum(intake.refused.values()) == 1


def test_a_full_spool_says_that_it_is_out_of_resources(intake: Intake, spool: Spool) -> None:
    assert [take(intake, f"1.2.{n}", data=bytes(4000)) for n in range(3)] == [SUCCESS, SUCCESS, NO_RESOURCES]
    spool.drop([spool.film("1.2.0")])
    assert take(intake, "1.2.9", data=bytes(4000)) == SUCCESS


def test_a_full_disk_says_that_it_is_out_of_resources(
    intake: Intake, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mtclip_edge.files.os.fsync", full)
    assert take(intake) == NO_RESOURCES
    assert list(spool.incoming.iterdir()) == []


def test_without_a_place_in_the_journal_a_film_is_not_kept(
    intake: Intake, spool: Spool, journal: Journal
) -> None:
    journal._run(f"PRAGMA max_page_count = {journal._rows('PRAGMA page_count')[0][0]}")
    found = [take(intake, f"1.2.{n}", data=b"f") for n in range(400)]
    assert set(found) == {SUCCESS, NO_RESOURCES}
    assert len(spool.uids(spool.incoming)) == found.count(SUCCESS)


def test_many_at_once_are_each_kept_once(intake: Intake, spool: Spool) -> None:
    found: list[int] = []

    def send() -> None:
        found.extend(take(intake, f"1.2.{n}") for n in range(20))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spool.uids(spool.incoming)) == 20
    assert set(found) <= {SUCCESS, NO_RESOURCES}  # the second of two at once is asked to come again
    assert found.count(SUCCESS) >= 20


def test_one_node_works_in_a_spool(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="another mtclip node"):
        Spool(tmp_path / "spool", 1).claim()


def test_what_a_kill_left_unfinished_is_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 1000)
    (spool.incoming / ".1.2.dcm.0").write_bytes(b"half")
    (spool.incoming / "1.3.dcm").write_bytes(b"whole")
    spool.claim()
    assert spool.uids(spool.incoming) == ["1.3"]
    assert spool.size == 5
    spool.release()


def test_our_uids_are_valid_and_known_as_ours() -> None:
    made = made_uid("a", "b")
    assert made == made_uid("a", "b")
    assert made != made_uid("a", "c")
    assert len(made) <= 44
    assert is_ours(made)
    for other in ("2.25.1", "1.2.3", "2.25." + str(2**127 + 5), "2.25.x", "", made + "1", "1." + made):
        assert not is_ours(other)
