"""``mtclip view`` as a process: its line, its end, and what it refuses."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx

from mtclip_edge.bundle.demo import FOLDER

EXAMPLES = Path(__file__).parents[2] / "examples"
EXCLUSIVE = subprocess.CREATE_NEW_PROCESS_GROUP if os.name == "nt" else 0  # type: ignore[attr-defined]


@contextmanager
def viewing(*words: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the line that it printed."""
    command = [
        sys.executable,
        "-m",
        "mtclip_edge",
        "view",
        "--bundle",
        str(FOLDER),
        "--no-open",
        *map(str, words),
    ]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, creationflags=EXCLUSIVE
    )
    try:
        assert server.stdout
        yield server, server.stdout.readline()
    finally:
        server.kill()
        server.communicate()


def test_one_line_then_answers_then_the_end(
    open_loopback: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    open_loopback(monkeypatch)
    before = set(tmp_path.iterdir())
    with viewing("--marks", tmp_path / "marks.jsonl") as (server, line):
        address, _, token = line.strip().partition("/#token=")
        assert address.startswith("http://127.0.0.1:") and len(token) == 43 and "=" not in token
        head, film = {"authorization": f"Bearer {token}"}, (EXAMPLES / "effusion.png").read_bytes()
        answer = httpx.post(f"{address}/api/query?k=2", content=film, headers=head, timeout=30)
        assert len(answer.json()["hits"]) == 2
        assert httpx.get(f"{address}/api/about", timeout=30).status_code == 401
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=30)
        assert server.returncode in (0, 130)
        assert out == "" and "Traceback" not in err
        assert "effusion" not in err  # no log of what was asked
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"marks.jsonl"}


def test_a_request_at_work_does_not_keep_it_from_ending(
    open_loopback: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    open_loopback(monkeypatch)
    with viewing() as (server, line):
        port = int(line.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"POST /api/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999\r\n\r\nx")
            time.sleep(0.3)
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=30)
        assert server.returncode in (0, 130)


def test_a_port_that_is_taken(mtclip: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = mtclip("view", "--bundle", "demo", "--no-open", "--port", str(taken.getsockname()[1]))
    assert found.code == 1 and "cannot listen on 127.0.0.1" in found.err and found.out == ""


def test_other_addresses_need_tls_and_a_token(mtclip: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a" * 40)
    token.chmod(0o600)
    for words in ([], ["--token-file", str(token)]):
        found = mtclip("view", "--bundle", "demo", "--no-open", "--host", "192.0.2.1", *words)
        assert found.code == 2 and "HTTPS" in found.err
    assert mtclip("view", "--tls", "none.pem", "none.key").code == 2


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        ("short", 0o600, "32 or more"),
        ("a" * 40, 0o644, "others can read"),
        ("ä" * 40, 0o600, "plain letters"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_a_token_file_that_cannot_be_used(
    mtclip: Any, tmp_path: Path, content: str, mode: int, why: str
) -> None:
    token = tmp_path / "token"
    token.write_text(content, encoding="utf-8")
    token.chmod(mode)
    found = mtclip("view", "--bundle", "demo", "--no-open", "--token-file", token)
    assert found.code == 2 and why in found.err


def test_with_a_token_of_a_file_the_line_does_not_hold_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-" * 8)
    token.chmod(0o600)
    with viewing("--token-file", token) as (_, line):
        assert line.startswith("http://127.0.0.1:") and "secret" not in line


def test_without_the_extra_one_line_says_how(mtclip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtclip_edge.server import needed

    monkeypatch.setattr(needed, "find_spec", lambda name: None)
    found = mtclip("view", "--bundle", "demo", "--no-open")
    assert found.code == 1 and "[view]" in found.err


def test_a_bundle_that_is_not_there(mtclip: Any, tmp_path: Path) -> None:
    found = mtclip("view", "--bundle", tmp_path / "none", "--no-open")
    assert found.code == 1 and found.out == ""


def test_https_on_another_address(
    open_loopback: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import shutil
    import ssl

    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    open_loopback(monkeypatch)
    key, certificate, token = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "token"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    token.write_text("a" * 43)
    token.chmod(0o600)
    with viewing("--tls", certificate, key, "--token-file", token) as (_, line):
        assert line.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(certificate))
        head = {"authorization": f"Bearer {'a' * 43}"}
        answer = httpx.get(f"{line.strip()}api/about", headers=head, timeout=30, verify=trusted)
        assert answer.json()["studies"] == 900
