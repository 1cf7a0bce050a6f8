"""A model hub on loopback: as much of its API as a download needs, and every way in which one can go wrong."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

LARGE = 10_000  # bytes; from here on files have a SHA-256 in the listing, smaller ones git's hash only


@dataclass
class Hub:
    """``models``: what each holds. Faults: ``cut`` breaks off every answer after so many bytes, ``spoil`` changes a byte of a file."""

    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    url: str = ""
    gated: set[str] = field(default_factory=set)
    cut: int | None = None
    spoil: set[str] = field(default_factory=set)
    ranges: bool = True
    instead: bytes | None = None  # what is answered for a listing
    extra: list[dict[str, Any]] = field(default_factory=list)  # entries of every listing besides
    strange: list[str] = field(default_factory=list)  # paths that are no part of a download
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # (file, its Range) of every download

    def add(self, model: str, folder: Path, **changed: bytes | None) -> None:
        """A model with the files of a folder; ``changed`` replaces some (``_`` for the dot), None leaves one out."""
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        self.models[model] = files | {name: data for name, data in changed.items() if data is not None}

    def listing(self, model: str) -> dict[str, Any]:
        siblings = [_entry(name, data) for name, data in self.models[model].items()]
        return {"id": model, "sha": commit(model), "gated": False, "siblings": siblings + self.extra}


def commit(model: str) -> str:
    return hashlib.sha1(model.encode(), usedforsecurity=False).hexdigest()


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "rfilename": name,
        "size": len(data),
        "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest(),
    }
    if len(data) >= LARGE:
        entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            _answer(hub, self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def reached(open_loopback: Any) -> Iterator[Hub]:
    """A hub that ``mtclip pull`` asks instead of the real one."""
    with serving() as hub, pytest.MonkeyPatch.context() as patch:
        open_loopback(patch)
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)  # between its tries
        patch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
        yield hub


def _answer(hub: Hub, asked: BaseHTTPRequestHandler) -> None:
    path = asked.path.partition("?")[0]
    if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
        model, revision = found.groups()
        if problem := _problem(hub, model, revision):
            return _refuse(asked, *problem)
        listing = json.dumps(hub.listing(model)).encode()
        return _send(asked, 200, listing if hub.instead is None else hub.instead)
    found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/([^/]+)", path)
    if not found:
        hub.strange.append(path)
        return _refuse(asked, 404, "EntryNotFound")
    model, revision, name = found.groups()
    if problem := _problem(hub, model, revision):
        return _refuse(asked, *problem)
    hub.asked.append((name, asked.headers.get("Range")))
    return _file(hub, asked, name, hub.models[model][name])


def _problem(hub: Hub, model: str, revision: str | None) -> tuple[int, str] | None:
    if model in hub.gated:
        return 401, "GatedRepo"
    if model not in hub.models:
        return 404, "RepoNotFound"
    return (404, "RevisionNotFound") if revision not in (None, commit(model)) else None


def _file(hub: Hub, asked: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
    if name in hub.spoil:
        data = data[:-1] + bytes([data[-1] ^ 1])
    start = (
        int(found[1])
        if hub.ranges and (found := re.fullmatch(r"bytes=(\d+)-", asked.headers.get("Range", "")))
        else 0
    )
    headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
    _send(asked, 206 if start else 200, data[start:], headers, hub.cut)


def _refuse(asked: BaseHTTPRequestHandler, status: int, code: str) -> None:
    _send(asked, status, b"{}", {"X-Error-Code": code})


def _send(
    asked: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: dict[str, str] | None = None,
    cut: int | None = None,
) -> None:
    asked.send_response(status)
    for name, value in {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}.items():
        asked.send_header(name, value)
    asked.end_headers()
    asked.wfile.write(body[:cut])
