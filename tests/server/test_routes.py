"""What is asked of the server and what it answers: films, zips, filters, texts, pixels, maps, reports, pages."""

import io
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import hostile
import numpy as np
import pytest
from dicoms import cr, written
from openapi_spec_validator import validate
from PIL import Image
from starlette.testclient import TestClient

from mtclip_edge import Filters, Retriever
from mtclip_edge.server.desk import KEPT, Desk
from mtclip_edge.server.routes import Limits

from .conftest import HOSTILE, client_of

EXAMPLES = Path(__file__).parents[2] / "examples"
EFFUSION = (EXAMPLES / "effusion.png").read_bytes()
NORMAL = (EXAMPLES / "normal.png").read_bytes()


def asked(client: TestClient, data: bytes = EFFUSION, **words: object) -> dict:
    answer = client.post("/api/query", params=words, content=data)
    assert answer.status_code == 200, answer.text
    return answer.json()


def zipped(**films: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in films.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_film_gets_the_answer_of_the_command_line(client: TestClient, served_bundle: Path) -> None:
    found = asked(client, k=4, name="C%3A%5Cfilms%5Ceffusion.png")
    with Retriever.open(served_bundle) as retriever:
        own = retriever.query(EFFUSION, k=4, name="effusion.png").to_dict()
    for name in ("schema", "query", "notice", "abnormal", "input", "hits", "evidence", "ranking"):
        assert found[name] == json.loads(json.dumps(own[name])), name
    assert found["schema"] == "mtclip.query/2" and len(found["hits"]) == 4
    assert found["image"] == "effusion.png"  # no path of the one who asks
    assert found["words"]["conclusion"].startswith("Called abnormal")
    assert len(found["words"]["hits"]) == 4


def test_a_text_of_a_report_is_marked_where_hits_share_it(client: TestClient) -> None:
    words = asked(client)["words"]
    marked = [s["text"][a:b].lower() for hit in words["hits"] for s in hit["sections"] for a, b in s["marks"]]
    assert "effusion" in marked


def test_filters_are_those_of_the_command_line(client: TestClient, served_bundle: Path) -> None:
    found = asked(client, label="normal", k=3)
    assert {hit["label"] for hit in found["hits"]} == {"normal"}
    again = client.post("/api/search", json={"key": found["key"], "label": "abnormal", "k": 2}).json()
    with Retriever.open(served_bundle) as retriever:
        own = retriever.query(EFFUSION, k=2, filters=Filters(label="abnormal"), name="film").to_dict()
    assert again["hits"] == own["hits"] and again["query"]["filter"] == {"label": "abnormal"}
    barred = client.post(
        "/api/query", params=[("exclude_patient", "own-0"), ("exclude_patient", "x")], content=EFFUSION
    )
    assert "own-effusion" not in {study for hit in barred.json()["hits"] for study in hit["study_ids"]}


def test_a_text_alone_and_with_a_film(client: TestClient, served_bundle: Path) -> None:
    found = client.post("/api/search", json={"text": "pleural effusion", "k": 3}).json()
    with Retriever.open(served_bundle) as retriever:
        assert found["hits"] == retriever.query_text("pleural effusion", 3).to_dict()["hits"]
        both = retriever.query(NORMAL, 3, text="pleural effusion").to_dict()
    assert found["key"] is None
    key = asked(client, NORMAL)["key"]
    together = client.post("/api/search", json={"key": key, "text": "pleural effusion", "k": 3}).json()
    assert [hit["report_id"] for hit in together["hits"]] == [hit["report_id"] for hit in both["hits"]]
    assert together["query"]["text"] == "pleural effusion"


def test_own_priors_stand_apart(client: TestClient) -> None:
    found = asked(client, own_priors="own-effusion")
    assert [hit["study_ids"] for hit in found["own_priors"]["hits"]] == [["own-effusion"]]
    assert found["words"]["own"]["hits"]
    assert "own-effusion" not in {study for hit in found["hits"] for study in hit["study_ids"]}
    answer = client.post("/api/query", params={"own_priors": "nobody"}, content=EFFUSION)
    assert answer.status_code == 404


def test_a_zip_is_answered_film_by_film_or_as_a_study(client: TestClient) -> None:
    data = zipped(
        **{"a.png": EFFUSION, "b.png": NORMAL, "c.png": b"\x89PNG\r\n\x1a\nbroken", "d.txt": b"words"}
    )
    found = asked(client, data, name="study.zip")
    assert [one.get("image") for one in found["answers"][:2]] == ["study.zip!a.png", "study.zip!b.png"]
    assert "c.png" in found["answers"][2]["error"] and len(found["answers"]) == 3 and found["left_out"] == 0
    study = asked(client, data, by="study", name="study.zip")["answers"]
    assert [one.get("query", {}).get("type") for one in study] == [None, "study"]
    assert [film["counted"] for film in study[1]["films"]] == [True, True]
    assert client.get(f"/api/film/{study[1]['key']}").status_code == 200
    many = asked(client, zipped(**{f"{n:02}.png": NORMAL for n in range(KEPT + 3)}))
    assert len(many["answers"]) == KEPT and many["left_out"] == 3
    empty = client.post("/api/query", content=zipped(**{"d.txt": b"words"}))
    assert empty.status_code == 415 and "no film in this zip" in empty.json()["error"]


def test_pixels_are_those_that_were_compared(client: TestClient) -> None:
    key = asked(client)["key"]
    answer = client.get(f"/api/film/{key}")
    with Image.open(io.BytesIO(EFFUSION)) as picture:
        own = np.asarray(picture.convert("L"))
    shape = int(answer.headers["x-rows"]), int(answer.headers["x-columns"])
    assert np.array_equal(np.frombuffer(answer.content, np.uint8).reshape(shape), own)
    assert answer.headers["x-bits"] == "8"
    assert client.get(f"/api/film/{key}?values=stored").status_code == 204  # a picture of 8 bits has no more


def test_stored_values_of_a_dicom_film(client: TestClient, deep: np.ndarray) -> None:
    data = written(cr(deep, WindowCenter=1000, WindowWidth=800, RescaleSlope=2, RescaleIntercept=-100))
    key = asked(client, data)["key"]
    answer = client.get(f"/api/film/{key}?values=stored")
    facts, shape = (
        json.loads(answer.headers["x-values"]),
        (int(answer.headers["x-rows"]), int(answer.headers["x-columns"])),
    )
    assert np.array_equal(np.frombuffer(answer.content, "<u2").reshape(shape), deep)
    assert (facts["slope"], facts["intercept"], facts["inverse"]) == (2, -100, False)
    assert facts["window"] == {"center": 1000, "width": 800, "function": "LINEAR"}
    assert answer.headers["x-bits"] == "16"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 415),
        (b"words", 415),
        (b"\x89PNG\r\n\x1a\nbroken", 422),
        (b"%PDF-1.4", 415),
        (EFFUSION[:900], 422),
    ],
)
def test_what_is_no_film(client: TestClient, data: bytes, status: int) -> None:
    answer = client.post("/api/query", content=data)
    assert answer.status_code == status
    assert answer.json()["error"] and "\n" not in answer.json()["error"]


def test_a_rejected_film_is_an_answer(client: TestClient) -> None:
    with Image.open(io.BytesIO(EFFUSION)) as picture:
        grey = 255 - np.asarray(picture.convert("L"))
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    found = asked(client, out.getvalue())
    assert found["input"]["verdict"] == "reject" and not found["hits"]
    assert found["words"]["exchanged"] and "--invert" not in found["words"]["film"]
    turned = client.post("/api/search", json={"key": found["key"], "invert": True}).json()
    right = asked(client)
    assert [hit["report_id"] for hit in turned["hits"]] == [hit["report_id"] for hit in right["hits"]]
    assert client.get(f"/api/film/{found['key']}?values=stored").status_code == 204
    forced = asked(client, out.getvalue())
    answer = client.post("/api/search", json={"key": forced["key"], "force": True}).json()
    assert answer["hits"] and "answered all the same" in answer["words"]["film"]


@pytest.mark.parametrize(
    "words",
    [
        {"k": "0"},
        {"k": "five"},
        {"k": "101"},
        {"strange": "1"},
        {"label": "bad"},
        {"since": "x"},
        {"by": "x"},
    ],
)
def test_a_question_that_makes_no_sense(client: TestClient, words: dict[str, str]) -> None:
    answer = client.post("/api/query", params=words, content=EFFUSION)
    assert answer.status_code == 400 and answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"k": 1.5, "text": "x"}',
        b'{"text": 5}',
        b'{"a": 1}',
        b"{}",
        b'{"key": "x", "text": {"a": 1}}',
    ],
)
def test_a_search_that_makes_no_sense(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/search", content=body)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]


def test_the_last_films_are_kept_and_no_more(client: TestClient) -> None:
    first = asked(client)["key"]
    for _ in range(KEPT - 1):
        last = asked(client, NORMAL)["key"]
    assert client.get(f"/api/film/{first}").status_code == 200  # asked for, so it is the newest again
    asked(client, NORMAL)
    assert client.get(f"/api/film/{first}").status_code == 200
    for _ in range(KEPT):
        asked(client, NORMAL)
    for path in (f"/api/film/{first}", f"/api/heat/{last}", f"/api/page/{last}"):
        gone = client.get(path)
        assert gone.status_code == 404 and "not in memory any more" in gone.json()["error"]
    assert client.post("/api/search", json={"key": first}).status_code == 404


def test_a_map_of_a_hit_or_of_a_text(client: TestClient) -> None:
    found = asked(client)
    rank = next(hit["rank"] for hit in found["hits"] if hit["label"] == "abnormal")
    answer = client.get(f"/api/heat/{found['key']}", params={"rank": rank}).json()
    rows, columns = answer["grid"]
    assert np.asarray(answer["values"]).shape == (rows, columns)
    assert answer["target"]["rank"] == rank and len(answer["range"]) == 2
    typed = client.get(f"/api/heat/{found['key']}", params={"text": "pleural effusion"}).json()
    assert typed["target"] == {"kind": "text"}
    assert client.get(f"/api/heat/{found['key']}", params={"rank": 99}).status_code == 400
    normal = asked(client, NORMAL, label="normal")
    assert client.get(f"/api/heat/{normal['key']}").status_code == 404  # of a normal report there is no map


def test_a_report_with_its_studies(client: TestClient) -> None:
    found = client.get("/api/report/own-effusion").json()
    assert HOSTILE.split()[0] in found["text"] + found["findings"] + found["impression"]
    assert [study["study_id"] for study in found["studies"]] == ["own-effusion"]
    assert client.get("/api/report/nobody").status_code == 404


def test_prior_films_are_shown_but_not_the_own(client: TestClient) -> None:
    report = client.get("/api/report/own-effusion").json()["report_id"]
    answer = client.get(f"/api/preview/{report}")
    assert answer.headers["content-type"] == "image/webp" and answer.content[8:12] == b"WEBP"
    key = asked(client, own_priors="own-effusion")["key"]
    assert client.get(f"/api/preview/{report}", params={"key": key}).status_code == 204
    assert client.get(f"/api/preview/{report}", params={"study": "own-effusion"}).status_code == 200
    assert client.get("/api/preview/nothing").status_code == 204


def test_a_page_to_keep(client: TestClient) -> None:
    found = asked(client, k=20, label="abnormal")
    page = client.get(f"/api/page/{found['key']}")
    assert page.headers["content-disposition"] == 'attachment; filename="answer.html"'
    assert "not a diagnosis" in page.text and "<script" not in page.text


def test_about(client: TestClient, served_bundle: Path) -> None:
    found = client.get("/api/about").json()
    assert found["studies"] == 902 and found["maps"] and found["previews"] and not found["marks"]
    assert set(found["labels"]) >= {"normal", "abnormal"}


def test_sizes_are_bounded(open_server: Desk) -> None:
    small = client_of(open_server, Limits(largest=1000))
    answer = small.post("/api/query", content=EFFUSION)
    assert answer.status_code == 413 and answer.json()["error"] == "larger than 1000 bytes"
    stream = small.post("/api/query", content=(b"\x89PNG" for _ in range(1000)))  # no length is told
    assert stream.status_code == 413
    assert small.post("/api/search", content=b"{" * 100_000).status_code == 413


def test_a_body_must_come_in_time() -> None:
    import anyio

    from mtclip_edge.server import routes

    class Slow:
        headers = MappingProxyType({})

        async def stream(self):
            yield b"x"
            await anyio.sleep(5)

    with pytest.raises(routes.HTTPException) as raised:
        anyio.run(routes._body, Slow(), 100, 0.05)
    assert raised.value.status_code == 408


def test_users_at_once_get_their_own_answers(client: TestClient, open_server: Desk) -> None:
    right = {data: [h["report_id"] for h in asked(client, data)["hits"]] for data in (EFFUSION, NORMAL)}
    assert right[EFFUSION] != right[NORMAL]

    def ask(data: bytes) -> bool:
        one = asked(client_of(open_server), data)
        return [h["report_id"] for h in one["hits"]] == right[data]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, [EFFUSION, NORMAL] * 4))


def test_methods_and_addresses_that_are_not(client: TestClient) -> None:
    assert client.get("/api/query").status_code == 405
    assert client.delete("/api/about").status_code == 405
    assert client.get("/api/nothing").status_code == 404


def test_the_document_is_openapi_and_names_every_address(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    validate(document)
    app = client.app._app  # type: ignore[attr-defined]
    ours = {route.path.replace(":path", "") for route in app.routes if route.path.startswith("/api/")}
    assert set(document["paths"]) == ours


def test_a_film_that_kills_its_reader_harms_nobody_else(
    served_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of a zip's member are got in the process that reads films: it dies of it, the server lives."""
    folder = str(Path(hostile.__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]))
    desk = Desk(Retriever.open(served_bundle))
    try:
        lists = [("study.zip!a.png", hostile.dies), ("study.zip!b.png", EFFUSION)]
        monkeypatch.setattr(desk._workers, "films_in", lambda *_: lists)
        found = asked(client_of(desk), zipped(**{"a.png": EFFUSION}))["answers"]
        assert "died of it" in found[0]["error"]
        assert found[1]["hits"]
    finally:
        desk.close()


def test_without_a_named_bundle_dicom_is_refused_as_on_the_command_line(
    served_bundle: Path, deep: np.ndarray
) -> None:
    """A DICOM file comes from a patient, and invented reports are no answer to it."""
    desk = Desk(Retriever.open(served_bundle), no_dicom="DICOM needs --bundle DIR")
    try:
        client = client_of(desk)
        refused = client.post("/api/query", params={"name": "a.dcm"}, content=written(cr(deep)))
        assert refused.status_code == 422 and refused.json()["error"] == "a.dcm: DICOM needs --bundle DIR"
        assert asked(client)["hits"]
    finally:
        desk.close()
