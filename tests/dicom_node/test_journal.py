"""What the journal remembers, over every order of events."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mtclip_edge.dicom_node.journal import FILM_STATES, Journal
from mtclip_edge.dicom_node.records import Made, Received, Said
from mtclip_edge.errors import ArtefactIncompatible

MADE = [Made("9.1", "page", "1.1"), Made("9.2", "measurements", "1.2")]


@pytest.fixture
def journal(tmp_path: Path):
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def film(uid: str, when: float = 100.0) -> Received:
    return Received(uid, "1.2", "1.2.1", "CR1", 10, when)


def answered(journal: Journal, *uids: str, study: str = "s", id: str = "a") -> None:
    for uid in uids:
        journal.receive(film(uid))
        journal.sort(uid, study)
    journal.begin(id, uids, 200.0)
    journal.answered(id, "sha256:b", MADE, Said("abnormal", 40.0), 300.0)


def states(journal: Journal) -> dict[str, int]:
    return {state: count for state, count in journal.counts().items() if count}


def test_a_film_goes_from_received_to_committed(journal: Journal) -> None:
    assert tuple(journal.counts()) == FILM_STATES
    answered(journal, "1", "2")
    assert states(journal) == {"answered": 2}
    journal.object_sent("9.1")
    journal.object_sent("9.2")
    journal.sent("a", 400.0, last=False)
    assert states(journal) == {"sent": 2}
    assert journal.uncommitted() == 1
    journal.asked("a", "tx", 500.0)
    assert journal.committed("tx", ["9.1", "9.2"], [], 600.0) == ["a"]
    assert states(journal) == {"committed": 2}
    assert journal.uncommitted() == 0
    assert journal.oldest_waiting() is None


def test_a_study_is_answered_when_no_film_came_for_a_while(journal: Journal) -> None:
    for uid, when in (("1", 100.0), ("2", 105.0)):
        journal.receive(film(uid, when))
        journal.sort(uid, "s")
    assert journal.quiet_study(110.0, 10.0) is None
    assert journal.quiet_study(115.0, 10.0) == ["1", "2"]


def test_a_film_that_comes_late_gets_an_answer_of_its_own(journal: Journal) -> None:
    answered(journal, "1")
    journal.receive(film("2", 1000.0))
    journal.sort("2", "s")
    assert journal.quiet_study(2000.0, 10.0) == ["2"]


def test_a_film_is_known_whatever_became_of_it(journal: Journal) -> None:
    journal.receive(film("1", 1.0))
    journal.end(["1"], "passed over", 2.0, "modality")
    journal.receive(film("1", 3.0))
    assert journal.state("1") == "passed over"
    assert states(journal) == {"passed over": 1}
    assert journal.reasons() == {"modality": 1}


def test_the_least_tried_comes_first(journal: Journal) -> None:
    for number in "12":
        journal.receive(film(number, float(number)))
        journal.sort(number, number)
        journal.begin(f"a{number}", [number], 5.0)
    assert journal.next_task("begun", 6.0).id == "a1"
    journal.put_off("a1", 6.0, "OSError")
    assert journal.next_task("begun", 6.0).id == "a2"
    journal.put_off("a2", 100.0, "OSError")
    assert journal.next_task("begun", 6.0).id == "a1"


def test_a_word_on_another_transaction_changes_nothing(journal: Journal) -> None:
    answered(journal, "1")
    for made in MADE:
        journal.object_sent(made.uid)
    journal.sent("a", 400.0, last=False)
    journal.asked("a", "tx", 500.0)
    assert journal.committed("other", ["9.1", "9.2"], [], 600.0) == []
    assert journal.committed("tx", ["7.7"], ["8.8"], 600.0) == []
    assert {made.state for made in journal.objects_of("a")} == {"sent"}
    assert states(journal) == {"sent": 1}


def test_what_is_not_committed_is_sent_again(journal: Journal) -> None:
    answered(journal, "1")
    for made in MADE:
        journal.object_sent(made.uid)
    journal.sent("a", 400.0, last=False)
    journal.asked("a", "tx", 500.0)
    assert journal.committed("tx", ["9.1"], ["9.2"], 600.0) == []
    task = journal.next_task("answered", 600.0)
    assert task.id == "a"
    assert {made.uid: made.state for made in journal.objects_of("a")} == {"9.1": "committed", "9.2": "made"}
    journal.object_sent("9.2")
    journal.sent("a", 700.0, last=False)
    journal.asked("a", "tx2", 800.0)
    assert journal.committed("tx2", ["9.2"], [], 900.0) == ["a"]


def test_a_failure_can_be_tried_again_from_where_it_failed(journal: Journal) -> None:
    answered(journal, "1")
    journal.fail("a", 400.0, "given up")
    journal.receive(film("2"))
    journal.end(["2"], "unreadable", 400.0, "damaged")
    assert journal.again("2", 500.0) == 1
    assert [one.uid for one in journal.unsorted()] == ["2"]
    assert journal.again(None, 500.0) == 1
    assert journal.next_task("answered", 500.0).id == "a"
    assert journal.again(None, 500.0) == 0


def test_an_unreadable_film_tried_again_leaves_its_study_alone(journal: Journal) -> None:
    answered(journal, "1", "2")
    journal.end(["2"], "unreadable", 400.0, "damaged")
    for made in MADE:
        journal.object_sent(made.uid)
    journal.sent("a", 500.0, last=True)
    assert journal.again(None, 600.0) == 1
    assert states(journal) == {"sent": 1, "received": 1}
    assert journal.next_task("answered", 700.0) is None


def test_what_is_never_committed_is_asked_ever_later_and_is_given_up(journal: Journal) -> None:
    answered(journal, "1")
    since = None
    for times in range(1, 5):
        now = 1000.0 * times
        for made in journal.objects_of("a"):
            journal.object_sent(made.uid)
        journal.sent("a", now, last=False)
        journal.asked("a", f"tx{times}", now)
        journal.committed(f"tx{times}", [], ["9.1", "9.2"], now, lambda tries: 10.0 * tries)
        assert journal.next_task("answered", now + 10 * times - 1) is None
        task = journal.next_task("answered", now + 10 * times)
        assert task.tries == times
        since = since or task.since
        assert task.since == since  # what it is given up by


def test_a_damaged_film_that_comes_again_begins_anew(journal: Journal) -> None:
    journal.receive(film("1", 1.0))
    journal.end(["1"], "unreadable", 2.0, "damaged")
    journal.renew(film("1", 3.0))
    assert [one.received for one in journal.unsorted()] == [3.0]


def test_what_is_forgotten_is_gone_with_its_results(journal: Journal) -> None:
    answered(journal, "1", "2")
    assert journal.forget(["1"]) == []
    assert sorted(journal.forget(["2"])) == ["9.1", "9.2"]
    assert states(journal) == {}
    assert journal.objects_of("a") == []


def test_what_is_done_with_is_old_by_and_by(journal: Journal) -> None:
    answered(journal, "1")
    journal.sent("a", 400.0, last=True)
    assert journal.old_films(400.0) == []
    assert journal.old_films(401.0) == ["1"]
    assert journal.finished(["9.1", "9.2", "unknown"], 400.0) == ["9.1", "9.2", "unknown"]
    assert journal.finished(["9.1"], 399.0) == []
    assert journal.next_task("sent", 1e9) is None


def test_a_full_disk_is_an_error_and_changes_nothing(journal: Journal) -> None:
    answered(journal, "1")
    pages = journal._rows("PRAGMA page_count")[0][0]
    journal._run(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for number in range(2, 2000):
            journal.receive(film(str(number)))

    with pytest.raises(sqlite3.OperationalError, match="full"):
        fill()
    journal._run("PRAGMA max_page_count = 100000")
    count = sum(journal.counts().values())
    journal.receive(film("one-more"))
    assert sum(journal.counts().values()) == count + 1


def test_it_is_there_after_a_restart_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    first = Journal(path)
    answered(first, "1")
    first.close()
    again = Journal(path)
    assert states(again) == {"answered": 1}
    assert path.stat().st_mode & 0o077 == 0
    assert again._rows("PRAGMA synchronous") == [(2,)]
    assert again._rows("PRAGMA journal_mode") == [("wal",)]
    again.close()


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA user_version = 99")
    with pytest.raises(ArtefactIncompatible):
        Journal(path)
