"""A node at work, as a process: films in over loopback, results out to a PACS of the test's own."""

import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from pacs import chest_film, scene, send, uid_of, wait_for
from pydicom import dcmread

from mtclip_edge.dicom_node.uids import is_ours

NAME, ID = "Quirke^Zebedee", "SECRET-77"


@pytest.fixture(autouse=True)
def _loopback(open_loopback: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    open_loopback(monkeypatch)


@pytest.fixture
def around(tmp_path: Path) -> Iterator[SimpleNamespace]:
    with scene(tmp_path) as made:
        yield made


def named(number: int, **fields: object) -> bytes:
    return chest_film(number, PatientName=NAME, PatientID=ID, **fields)


def settled(around: SimpleNamespace, **states: int) -> None:
    """Wait until the films are in these states and nothing else."""
    wait_for(lambda: around.node.films == {name.replace("_", " "): n for name, n in states.items()}, 60)


def test_a_film_is_answered_committed_and_deleted(around: SimpleNamespace) -> None:
    around.node.start()
    film = named(1)
    assert send([film], around.port) == [0]
    settled(around, committed=1)
    wait_for(lambda: around.node.files == [])
    found = {dataset.Modality: dataset for dataset in around.pacs.datasets()}
    assert set(found) == {"SR", "OT"}
    assert {str(dataset.PatientName) for dataset in found.values()} == {NAME}
    assert send([film], around.port) == [0]  # the same film again is known, and no second result is made
    time.sleep(1)
    assert around.node.films == {"committed": 1}
    assert around.node.end() == 0
    assert [len(copies) for copies in around.pacs.objects.values()] == [1, 1]


def test_nobody_is_named_anywhere(around: SimpleNamespace) -> None:
    """A film that is answered, one that cannot be read, one that is passed over, one refused at the door."""
    around.node.start()
    films = [named(1), _cut(named(2))]
    assert send(films, around.port) == [0, 0]
    assert send([named(3)], around.port, caller="NOBODY") is None
    settled(around, committed=1, unreadable=1)
    around.node.status()
    journal = b"".join(path.read_bytes() for path in (around.folder / "spool").glob("journal*"))
    log = around.node.log.read_bytes()
    assert b"unreadable" in log and b"committed" in log
    for word in (b"Quirke", b"Zebedee", b"SECRET-77"):
        assert word not in journal
        assert word not in log
    assert uid_of(films[0]).encode() not in log
    assert around.node.end() == 0


def _cut(film: bytes) -> bytes:
    """A film whose pixels are no stream of what its header says."""
    import io

    dataset = dcmread(io.BytesIO(film))
    dataset.PixelData = dataset.PixelData[:100]
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_a_study_has_one_set_of_results_and_a_late_film_another(tmp_path: Path) -> None:
    with scene(tmp_path, top='quiet = "1s"') as around:
        around.node.start()
        study = {"StudyInstanceUID": "1.2.3.4"}
        assert send([named(1, **study), named(2, **study)], around.port) == [0, 0]
        settled(around, committed=2)
        assert len(around.pacs.objects) == 2
        assert send([named(3, **study)], around.port) == [0]
        settled(around, committed=3)
        assert len(around.pacs.objects) == 4
        assert {dataset.StudyInstanceUID for dataset in around.pacs.datasets()} == {"1.2.3.4"}


def test_who_is_not_listed_is_refused(tmp_path: Path) -> None:
    with scene(tmp_path, accept='hosts = ["127.0.0.1"]\nmodality = ["CR"]\nbody_part = ["CHEST"]') as around:
        around.node.start()
        assert send([named(1)], around.port, caller="NOBODY") is None
        assert send([named(1)], around.port, called="OTHER") is None
        assert send([named(1)], around.port, caller="PACS") == [0x0124]  # may bring its word, not films
        leg, ct = named(2, BodyPartExamined="LEG"), named(3, Modality="RF")
        assert send([leg, ct, named(4)], around.port) == [0, 0, 0]
        settled(around, committed=1, passed_over=2)
        assert around.node.status()["reasons"] == {"body part": 1, "modality": 1}
        wait_for(lambda: around.node.files == [])


def test_a_host_that_is_not_listed_is_hung_up_on(tmp_path: Path) -> None:
    with scene(tmp_path, accept='hosts = ["10.1.2.3"]') as around:
        around.node.start()
        assert send([named(1)], around.port) is None
        assert around.node.films == {}


def test_our_own_page_is_refused_when_it_comes_back(tmp_path: Path) -> None:
    with scene(tmp_path, accept='classes = ["CR", "SC"]') as around:
        around.node.start()
        send([named(1)], around.port)
        settled(around, committed=1)
        page = next(copies[0] for copies in around.pacs.objects.values() if b"WSD" in copies[0])
        assert is_ours(uid_of(page))
        assert send([page], around.port) == [0x0124]
        assert around.node.films == {"committed": 1}


def test_a_film_that_is_too_large_is_refused_and_a_flood_is_cut_off(tmp_path: Path) -> None:
    with scene(tmp_path, accept='largest = "100 kB"') as around:
        around.node.start()
        assert send([chest_film(1, side=300)], around.port) == [0xA700]  # 180 kB
        flood = send([chest_film(2, side=900)], around.port)  # 1.6 MB
        assert flood in ([-1], [0xA700])
        assert send([chest_film(3)], around.port) == [0]
        settled(around, committed=1)


def test_a_pacs_that_is_down_gets_its_results_when_it_is_up(around: SimpleNamespace, soak: bool) -> None:
    around.pacs.stop()
    around.node.start()
    assert send([named(1), named(2)], around.port) == [0, 0]
    settled(around, answered=2)
    time.sleep(60 if soak else 1.5)
    assert around.node.status()["waiting"] == 2
    around.pacs.start()
    settled(around, committed=2)
    assert len(around.pacs.objects) == 4


def test_what_the_pacs_refuses_or_loses_is_sent_again(around: SimpleNamespace) -> None:
    around.pacs.status, around.pacs.commit = 0xA700, "lost"
    around.node.start()
    send([named(1)], around.port)
    settled(around, answered=1)
    around.pacs.status = 0
    settled(around, committed=1)
    assert around.pacs.asked == 2
    for copies in around.pacs.objects.values():
        assert len(copies) == 2
        assert copies[0] == copies[1]


def test_one_object_that_the_pacs_does_not_take_holds_up_no_other(around: SimpleNamespace) -> None:
    """A PACS of pictures alone: pages arrive, measurement reports wait."""
    around.pacs.classes = ("1.2.840.10008.5.1.4.1.1.7",)
    around.pacs.stop()
    around.pacs.start()
    around.node.start()
    send([named(1), named(2)], around.port)
    wait_for(lambda: len(around.pacs.objects) == 2, 60)
    assert {dataset.Modality for dataset in around.pacs.datasets()} == {"OT"}
    assert "does not take measurements objects" in around.node.log.read_text()


def test_a_study_at_which_the_pacs_hangs_up_holds_up_no_other(around: SimpleNamespace) -> None:
    around.pacs.hang_up = {"1.2.3.4"}
    around.node.start()
    send([named(1, StudyInstanceUID="1.2.3.4")], around.port)
    settled(around, answered=1)
    send([named(2), named(3)], around.port)
    wait_for(lambda: around.node.films == {"answered": 1, "committed": 2}, 60)
    around.pacs.hang_up = set()
    settled(around, committed=3)


def test_a_pacs_without_commitment_still_gets_everything(around: SimpleNamespace) -> None:
    around.pacs.commit = "none"
    around.pacs.stop()
    around.pacs.start()
    around.node.start()
    for number in range(3):
        send([named(number)], around.port)
    settled(around, sent=3)
    # Its engineer says so in the settings: what waited for a word is done with.
    around.node.kill()
    around.node.settings.write_text(
        around.node.settings.read_text().replace("commit = true", "commit = false")
    )
    around.node.start()
    wait_for(lambda: around.node.files == [] and around.node.status()["uncommitted"] == 0)


def test_no_word_of_a_header_is_a_reason(around: SimpleNamespace) -> None:
    around.node.start()
    send([named(1, PhotometricInterpretation="QUIRKE ZEBEDEE")], around.port)
    settled(around, unreadable=1)
    assert around.node.status()["reasons"] == {"neither grey nor RGB": 1}
    assert "QUIRKE" not in around.node.log.read_text()


def test_who_says_little_or_too_much_is_cut_off(around: SimpleNamespace) -> None:
    """Half a message does not hold up the end, a claimed gigabyte is not read, and many connections are few."""
    around.node.start()
    before = around.node.memory()
    half, huge = (socket.create_connection(("127.0.0.1", around.port)) for _ in range(2))
    half.sendall(b"\x01\x00\x00\x00")
    huge.sendall(b"\x01\x00\xff\xff\xff\xff")
    huge.settimeout(20)
    with suppress(OSError):
        for _ in range(300):
            huge.sendall(bytes(1 << 20))
    assert around.node.memory() < before + 100
    assert send([named(1)], around.port) == [0]
    crowd = [socket.create_connection(("127.0.0.1", around.port)) for _ in range(40)]
    started = time.monotonic()
    assert around.node.end() == 0
    assert time.monotonic() - started < 22
    for there in (half, huge, *crowd):
        there.close()


def test_without_a_word_the_pacs_is_asked_again(around: SimpleNamespace) -> None:
    around.pacs.commit = "never"
    around.node.start()
    send([named(1)], around.port)
    wait_for(lambda: around.pacs.asked >= 1)
    assert around.node.status()["uncommitted"] == 1
    assert (
        len([name for name in around.node.files if name.endswith(".dcm")]) == 3
    )  # the film and its results stay
    around.pacs.commit = "yes"
    settled(around, committed=1)


def test_after_so_long_it_gives_up_and_a_person_lets_it_try_again(tmp_path: Path, mtclip) -> None:
    with scene(tmp_path) as around:
        text = around.node.settings.read_text().replace("1 day", "1s")
        around.node.settings.write_text(text)
        around.pacs.status = 0xA900
        around.node.start()
        send([named(1)], around.port)
        settled(around, failed=1)
        assert "status 0xA900" in next(iter(around.node.status()["reasons"]))
        around.pacs.status = 0
        assert mtclip("node", "retry", around.node.settings).out == "1 films will be tried again\n"
        settled(around, committed=1)


def test_without_commitment_a_film_goes_with_the_peers_success(tmp_path: Path) -> None:
    with scene(tmp_path) as around:
        around.node.settings.write_text(
            around.node.settings.read_text().replace("commit = true", "commit = false")
        )
        around.node.start()
        send([named(1)], around.port)
        settled(around, sent=1)
        wait_for(lambda: around.node.files == [])
        assert around.pacs.asked == 0


def test_a_rejected_film_is_told_to_nobody_unless_wanted(tmp_path: Path) -> None:
    with scene(tmp_path, top="force = false") as around:
        around.node.start()
        send([named(1)], around.port)
        settled(around, rejected=1)
        wait_for(lambda: around.node.files == [])
        assert around.pacs.objects == {}


def test_a_rejected_film_gives_a_page_where_the_site_wants_one(tmp_path: Path) -> None:
    with scene(tmp_path, top="force = false", send='objects = ["text"]\nrejected = "objects"') as around:
        around.node.start()
        send([named(1)], around.port)
        settled(around, committed=1)
        (copies,) = around.pacs.objects.values()
        assert b"the film was rejected" in copies[0]


def test_a_bundle_that_is_replaced_is_taken_up_between_two_films(tmp_path: Path, mtclip) -> None:
    import shutil

    from mtclip_edge.bundle.demo import FOLDER

    bundle = shutil.copytree(FOLDER, tmp_path / "bundle")
    with scene(tmp_path, top=f'bundle = "{bundle}"') as around:
        around.node.start()
        send([named(1)], around.port)
        settled(around, committed=1)
        more = tmp_path / "more.csv"
        more.write_text("study_id,patient_id,report,label\nx,p,A zebrafish in the left lung.,abnormal\n")
        assert mtclip("index", "add", bundle, more).code == 0
        send([named(2)], around.port)
        settled(around, committed=2)
        log = around.node.log.read_text()
        assert "bundle taken up" in log
        # One that is broken leaves the old one at work.
        (bundle / "manifest.json").write_text("{")
        send([named(3)], around.port)
        settled(around, committed=3)
        assert "bundle not taken up" in around.node.log.read_text()


def test_the_films_own_patient_is_none_of_the_hits(tmp_path: Path) -> None:
    from mtclip_edge import Retriever
    from mtclip_edge.bundle.demo import FOLDER

    film = tmp_path / "film.dcm"
    film.write_bytes(named(1))
    with Retriever.open("demo", force=True) as retriever:
        first = retriever.query(film, 1).reports[0]
    with closing(sqlite3.connect(next(FOLDER.glob("reports-*.sqlite")))) as store:
        (patient,) = store.execute(
            "SELECT patient_id FROM study WHERE study_id = ?", first.study_ids[:1]
        ).fetchone()
    with scene(tmp_path, send='objects = ["text"]') as around:
        around.node.start()
        send([chest_film(1, PatientID="unknown"), chest_film(1, PatientID=patient)], around.port)
        settled(around, committed=2)
        found = {one.PatientID: copies[0] for one, copies in around.pacs.told()}
        assert first.studies == 1
        assert first.report_id.encode() in found["unknown"]
        assert first.report_id.encode() not in found[patient]


@pytest.mark.parametrize("moment", ["received", "answered", "sent"])
def test_a_kill_loses_nothing_and_makes_nothing_twice(tmp_path: Path, moment: str, soak: bool) -> None:
    """In each state that films wait in: the quiet time, an absent PACS, and one without a word hold them there."""
    for _ in range(70 if soak else 1):
        folder = tmp_path / str(time.monotonic_ns())
        folder.mkdir()
        quiet = '"2s"' if moment == "received" else '"0.2s"'
        with scene(folder, top=f"quiet = {quiet}") as around:
            if moment == "answered":
                around.pacs.stop()
            if moment == "sent":
                around.pacs.commit = "never"
            around.node.start()
            assert send([named(n) for n in range(3)], around.port) == [0, 0, 0]
            if moment != "received":
                wait_for(lambda around=around: around.node.films == {moment: 3}, 60)
            around.node.kill()
            assert around.node.films == {moment: 3}
            around.pacs.commit = "yes"
            if moment == "answered":
                around.pacs.start()
            around.node.start()
            settled(around, committed=3)
            wait_for(lambda around=around: around.node.files == [])
            assert len(around.pacs.objects) == 6
            for copies in around.pacs.objects.values():
                assert all(copy == copies[0] for copy in copies)


def test_four_senders_at_once(around: SimpleNamespace, soak: bool) -> None:
    """With ``soak`` a thousand films, and the memory after them."""
    each = 250 if soak else 8
    around.node.start()
    found: list[list[int] | None] = []
    made = [[named(100 * sender + n) for n in range(each)] for sender in range(4)]
    threads = [
        threading.Thread(target=lambda films=films: found.append(send(films, around.port))) for films in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[0] * each] * 4
    wait_for(lambda: around.node.films == {"committed": 4 * each}, 120 + 8 * each)
    assert len(around.pacs.objects) == 8 * each
    assert all(len(copies) == 1 for copies in around.pacs.objects.values())
    wait_for(lambda: around.node.files == [])
    assert around.node.memory() < 700, "MB"


def test_prior_films_stand_on_the_page_only_where_wanted(tmp_path: Path, film: Path) -> None:
    bundle = _with_previews(tmp_path, film)
    pages = []
    for previews in ("false", "true"):
        folder = tmp_path / previews
        folder.mkdir()
        with scene(
            folder, top=f'bundle = "{bundle}"', send=f'objects = ["page"]\npreviews = {previews}'
        ) as around:
            around.node.start()
            send([chest_film(1, SOPInstanceUID="1.2.3", StudyInstanceUID="1.2.4")], around.port)
            settled(around, committed=1)
            (dataset,) = around.pacs.datasets()
            pages.append(dataset.pixel_array)
    assert pages[0].shape != pages[1].shape or (pages[0] != pages[1]).any()


def _with_previews(folder: Path, film: Path) -> Path:
    """The demo bundle with one report alone, whose film is packed."""
    import shutil

    from mtclip_edge import Index
    from mtclip_edge.bundle.demo import FOLDER

    bundle = Path(shutil.copytree(FOLDER, folder / "bundle"))
    shutil.copy(film, folder / "prior.png")
    (folder / "more.csv").write_text(
        "study_id,patient_id,image_path,report,label\nx,p,prior.png,There is a left pleural effusion.,abnormal\n"
    )
    index = Index.open(bundle)
    index.build(str(folder / "more.csv"))
    index.add(str(folder / "more.csv"), previews=True)
    return bundle


def test_it_ends_when_it_is_told_to(around: SimpleNamespace) -> None:
    around.node.start()
    send([named(n) for n in range(4)], around.port)
    assert around.node.end() == 0
    left = around.node.films
    assert sum(left.values()) == 4
    assert "failed" not in left
    around.node.start()
    settled(around, committed=4)
    assert len(around.pacs.objects) == 8
    assert around.node.end() == 0


def test_a_film_that_brings_the_node_down_does_so_only_so_often(around: SimpleNamespace, monkeypatch) -> None:
    """A crash in the midst of an answer, each time: the film fails, and those behind it are answered."""
    deadly = named(1)
    crash = (
        "import os, mtclip_edge.dicom_node.worker as w; real = w.read_head\n"
        f"def read_head(path):\n    head = real(path)\n    import traceback\n"
        f"    if '{uid_of(deadly)}' in str(path) and any(f.name == '_answer' for f in traceback.extract_stack()):\n"
        "        os._exit(139)\n    return head\n"
        "w.read_head = read_head\n"
        "from mtclip_edge.__main__ import main; main()\n"
    )
    around.node.code = crash
    around.node.start()
    send([deadly, named(2)], around.port)
    done = {"failed": 1, "committed": 1}
    for _ in range(8):
        wait_for(lambda: around.node.process.poll() is not None or around.node.films == done)
        if around.node.process.poll() is None:
            break
        with suppress(AssertionError):  # it may be down again before it is seen to be up
            around.node.start()
    assert around.node.films == {"failed": 1, "committed": 1}
    assert "the node ended while it was answered" in around.node.status()["reasons"]
