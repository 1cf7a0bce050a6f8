"""DICOMweb: films posted land in the same spool, results alone are found and fetched, and all of it needs the token."""

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("highdicom")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")

import httpx
from pacs import RunningNode, chest_film, free_port, uid_of, wait_for, write_settings
from pydicom import dcmread
from starlette.testclient import TestClient

from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.dicom_node.answering import Answering
from mtclip_edge.dicom_node.dicomweb.app import application
from mtclip_edge.dicom_node.dicomweb.parts import BadBody, Parts, boundary_of
from mtclip_edge.dicom_node.dicomweb.results import Results
from mtclip_edge.dicom_node.door import Intake
from mtclip_edge.dicom_node.journal import Journal
from mtclip_edge.dicom_node.settings import Accept, NodeSettings, Place, SendWhat, Web
from mtclip_edge.dicom_node.spool import Spool
from mtclip_edge.dicom_node.worker import Worker
from mtclip_edge.server.guard import Guard

TOKEN = "t" * 43
HOST = "127.0.0.1:9000"
ALL = ("page", "measurements", "text", "pdf")


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    place = Place("127.0.0.1", 104)
    opened = Answering(NodeSettings("A", place, ("B",), FOLDER, FOLDER, force=True))
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def web(tmp_path: Path, answering: Answering) -> Iterator[SimpleNamespace]:
    """The routes behind their guard, and a worker that is stepped by hand."""
    place = Place("127.0.0.1", 9000)
    settings = NodeSettings(
        "A",
        place,
        ("B",),
        FOLDER,
        tmp_path,
        quiet=0.0,
        force=True,
        accept=Accept(largest=200_000),
        send=SendWhat(ALL),
        web=Web(place, tmp_path / "token", keep=3600.0),
    )
    spool, journal = Spool(tmp_path / "spool", 10**9), Journal(tmp_path / "journal.sqlite")
    worker = Worker(settings, journal, spool, answering, None)
    intake = Intake(settings, journal, spool, worker.wake)
    app = Guard(
        application(intake, Results(journal, spool), settings.accept.largest), TOKEN, [HOST], closed="/"
    )
    client = TestClient(
        app,
        base_url=f"http://{HOST}",
        headers={"authorization": f"Bearer {TOKEN}"},
        raise_server_exceptions=False,
    )

    def work() -> None:
        while worker._one_step():
            pass

    yield SimpleNamespace(client=client, work=work, journal=journal, spool=spool, worker=worker, app=app)
    journal.close()


def body(*films: bytes, boundary: str = "x-y-z") -> tuple[bytes, dict[str, str]]:
    parts = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + film + b"\r\n" for film in films
    )
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return parts + f"--{boundary}--\r\n".encode(), {"content-type": kind}


def post(web: SimpleNamespace, *films: bytes, path: str = "/studies"):
    data, headers = body(*films)
    return web.client.post(path, content=data, headers=headers)


def test_what_is_posted_is_answered_and_can_be_fetched(web: SimpleNamespace) -> None:
    film = chest_film(1, PatientID="p-1", AccessionNumber="A1")
    answer = post(web, film)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert answer.json()["00081199"]["Value"][0]["00081155"]["Value"] == [uid_of(film)]
    assert web.client.get("/studies").status_code == 204
    web.work()
    assert web.journal.counts()["sent"] == 1
    assert web.spool.uids(web.spool.incoming) == []
    (study,) = web.client.get("/studies").json()
    uid = study["0020000D"]["Value"][0]
    assert study["00100020"]["Value"] == ["p-1"]
    series = web.client.get(f"/studies/{uid}/series").json()
    assert sorted(one["00080060"]["Value"][0] for one in series) == ["DOC", "OT", "SR", "SR"]
    assert len(web.client.get(f"/studies/{uid}/instances").json()) == 4
    assert len(web.client.get("/instances", params={"Modality": "OT"}).json()) == 1
    assert len(web.client.get("/instances", params={"00080050": "A1", "limit": "2"}).json()) == 2
    assert len(web.client.get("/instances", params={"offset": "3"}).json()) == 1
    assert web.client.get("/studies", params={"PatientID": "other"}).status_code == 204


def test_each_result_is_fetched_whole_as_json_and_as_a_picture(web: SimpleNamespace) -> None:
    post(web, chest_film(2))
    web.work()
    (page,) = web.client.get("/instances", params={"Modality": "OT"}).json()
    study, series, uid = (page[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    at = f"/studies/{study}/series/{series}/instances/{uid}"
    whole = web.client.get(at)
    boundary = boundary_of(whole.headers["content-type"])
    parts = Parts(boundary, 10**7)
    (data,) = parts.feed(whole.content)
    parts.finish()
    assert data == web.spool.result(uid).read_bytes()
    (facts,) = web.client.get(f"{at}/metadata").json()
    assert facts["00280011"]["Value"] == [1240]
    assert "7FE00010" not in facts
    picture = web.client.get(f"{at}/rendered")
    from PIL import Image

    with Image.open(io.BytesIO(picture.content)) as image:
        assert np.array_equal(np.asarray(image), dcmread(io.BytesIO(data)).pixel_array)
    assert len(web.client.get(f"/studies/{study}/metadata").json()) == 4
    (text,) = [one for one in web.client.get("/instances").json() if "88.11" in one["00080016"]["Value"][0]]
    words = f"/studies/{study}/series/{text['0020000E']['Value'][0]}/instances/{text['00080018']['Value'][0]}"
    assert web.client.get(f"{words}/rendered").status_code == 406
    assert web.client.get(f"/studies/{study}/series/{series}/instances/1.2.3").status_code == 404
    assert web.client.get("/studies/1.2.3").status_code == 404


def test_a_film_is_not_found_nor_fetched(web: SimpleNamespace) -> None:
    film = chest_film(3)
    post(web, film)
    web.work()
    assert web.client.get("/instances", params={"SOPInstanceUID": uid_of(film)}).status_code == 204


def test_results_are_kept_so_long_and_no_longer(
    web: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(web, chest_film(4))
    web.work()
    web.worker.sweep()
    assert len(web.spool.uids(web.spool.outgoing)) == 4
    import time

    later = time.time() + 3601
    monkeypatch.setattr("mtclip_edge.dicom_node.worker.time.time", lambda: later)
    web.worker.sweep()
    assert web.spool.uids(web.spool.outgoing) == []
    assert web.client.get("/studies").status_code == 204


def test_good_and_bad_films_in_one_body(web: SimpleNamespace) -> None:
    good, own = chest_film(5), chest_film(6, SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    answer = post(web, good, b"Quirke^Zebedee", own)
    assert answer.status_code == 202
    assert len(answer.json()["00081199"]["Value"]) == 1
    assert [one["00081197"]["Value"][0] for one in answer.json()["00081198"]["Value"]] == [0xC000, 0x0122]
    assert "Quirke" not in answer.text
    assert post(web, b"nothing").status_code == 409
    assert post(web, chest_film(7), path="/studies/1.2.3").status_code == 409


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/dicom", 415),
        (b"", 'multipart/related; type="text/plain"; boundary=x', 415),
        (b"", 'multipart/related; type="application/dicom"', 400),
        (b"no boundary at all", 'multipart/related; type="application/dicom"; boundary=x', 400),
        (b"--x\r\n\r\nhalf", 'multipart/related; type="application/dicom"; boundary=x', 400),
        (b"--x\r\n\r\n" + bytes(300_000) + b"\r\n--x--", "multipart/related; boundary=x", 413),
        (b"--x\r\n\r\na\r\n" * 600 + b"--x--", "multipart/related; boundary=x", 413),
    ],
)
def test_a_body_that_makes_no_sense(web: SimpleNamespace, content: bytes, kind: str, status: int) -> None:
    answer = web.client.post("/studies", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert sum(web.journal.counts().values()) == 0


def test_a_deflated_film_is_refused_before_it_is_inflated(web: SimpleNamespace) -> None:
    import zlib

    from dicoms import DEFLATED, written

    film = dcmread(io.BytesIO(chest_film(8)))
    deflated = written(film, DEFLATED)
    assert post(web, deflated).status_code == 409
    # One that hides its syntax behind the length that its meta header claims.
    start = 144 + int.from_bytes(deflated[140:144], "little")
    hidden = deflated[:140] + (10).to_bytes(4, "little") + deflated[144:start] + zlib.compress(bytes(10**6))
    assert post(web, hidden).status_code == 409


def test_parts_are_the_same_however_they_arrive() -> None:
    random = np.random.default_rng(0)
    films = [random.bytes(length) for length in (0, 1, 70, 5000)]
    data, _ = body(*films)
    for step in (1, 7, 100, 10**6):
        parts = Parts(b"x-y-z", 10**6)
        found = [part for at in range(0, len(data), step) for part in parts.feed(data[at : at + step])]
        parts.finish()
        assert found == films
    with pytest.raises(BadBody):
        Parts(b"x", 1).finish()


@pytest.mark.parametrize("path", ["/studies", "/instances", "/studies/1/metadata", "/none"])
def test_without_the_token_nothing_is_told(web: SimpleNamespace, path: str) -> None:
    assert web.client.get(path, headers={"authorization": "Bearer no"}).status_code == 401
    assert web.client.get(path, headers={"host": "evil.example"}).status_code == 421
    assert web.client.get(path, headers={"origin": "https://evil.example"}).status_code == 403


def test_a_limit_that_is_no_number(web: SimpleNamespace) -> None:
    assert web.client.get("/studies", params={"limit": "x"}).status_code == 400


def test_a_node_serves_it_beside_its_dicom_door(tmp_path: Path, open_loopback, monkeypatch) -> None:
    """As a process, without a PACS: what is posted is answered and fetched; a token that others can read is refused."""
    open_loopback(monkeypatch)
    token, port = tmp_path / "token", free_port()
    token.write_text(TOKEN)
    token.chmod(0o600)
    lines = f'bind = "127.0.0.1:{port}"\ntoken_file = "token"'
    node = RunningNode(write_settings(tmp_path, None, dicomweb=lines))
    try:
        node.start()
        data, headers = body(chest_film(9))
        address, headers = f"http://127.0.0.1:{port}", {**headers, "authorization": f"Bearer {TOKEN}"}
        assert httpx.get(f"{address}/studies").status_code == 401
        assert httpx.post(f"{address}/studies", content=data, headers=headers, timeout=30).status_code == 200
        wait_for(lambda: node.films == {"sent": 1}, 60)
        assert len(httpx.get(f"{address}/instances", headers=headers).json()) == 2
        assert node.end() == 0
        assert TOKEN not in node.log.read_text()
        token.chmod(0o644)
        with pytest.raises(AssertionError, match="others can read it"):
            node.start()
    finally:
        node.kill()
