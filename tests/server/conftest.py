"""A bundle with a hostile report and prior films, and the server on it without a socket."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_once import once

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

from starlette.testclient import TestClient

from mtclip_edge import Index, Retriever
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.server.app import Address, guarded
from mtclip_edge.server.desk import Desk
from mtclip_edge.server.marks import Marks
from mtclip_edge.server.routes import Limits

EXAMPLES = Path(__file__).parents[2] / "examples"
HOST = "127.0.0.1:9000"
ORIGIN = f"http://{HOST}"
TOKEN = "t" * 43
HOSTILE = (
    "<script>document.title='owned'</script> <img src=x onerror=alert(1)> There is a left pleural effusion. "
    "The heart is normal. The right lung is clear. No pneumothorax."
)


@pytest.fixture(scope="session")
def served_bundle(keep: Path) -> Path:
    """The demo bundle with two studies more, whose films are packed; one report is HTML. Not to be changed."""
    return once(keep / "served", _make_bundle)


def _make_bundle(folder: Path) -> None:
    shutil.copytree(FOLDER, folder)
    films = folder.parent / "served-films"
    films.mkdir()
    rows = [
        ("effusion", HOSTILE, "abnormal"),
        ("normal", "The heart is normal. The lungs are clear. No pleural effusion.", "normal"),
    ]
    with (films / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["study_id", "patient_id", "image_path", "report", "label", "split", "date"])
        for number, (name, report, label) in enumerate(rows):
            shutil.copy(EXAMPLES / f"{name}.png", films)
            day = f"2020-0{number + 1}-01"
            table.writerow([f"own-{name}", f"own-{number}", f"{name}.png", report, label, "train", day])
    Index.open(folder).add(str(films / "manifest.csv"), previews=True)


@pytest.fixture(scope="session")
def open_server(served_bundle: Path) -> Iterator[Desk]:
    desk = Desk(Retriever.open(served_bundle))
    yield desk
    desk.close()


def client_of(desk: Desk, limits: Limits | None = None, **head: str) -> TestClient:
    app = guarded(desk, TOKEN, Address("127.0.0.1", 9000, ("127.0.0.1", "localhost")), limits or Limits())
    headers = {"authorization": f"Bearer {TOKEN}", **head}
    return TestClient(app, base_url=ORIGIN, headers=headers, raise_server_exceptions=False)


@pytest.fixture
def client(open_server: Desk) -> TestClient:
    """Whoever has the token."""
    return client_of(open_server)


@pytest.fixture
def marking(served_bundle: Path, tmp_path: Path) -> Iterator[TestClient]:
    """The same, with marks kept in ``marks.jsonl``."""
    desk = Desk(Retriever.open(served_bundle), Marks(tmp_path / "marks.jsonl"))
    yield client_of(desk)
    desk.close()
