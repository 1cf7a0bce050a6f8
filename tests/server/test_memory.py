"""A day at a workstation: the memory of the server does not grow with the films that it is asked about."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from mtclip_edge.bundle.demo import FOLDER

EXAMPLES = Path(__file__).parents[2] / "examples"
STATUS = Path("/proc/self/status")


@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from /proc")
def test_memory_stays_flat(
    open_loopback: Callable[..., None], monkeypatch: pytest.MonkeyPatch, soak: bool
) -> None:
    """500 films with ``make soak``, else 60; the first 20 fill what is kept."""
    open_loopback(monkeypatch)
    words = ["view", "--bundle", str(FOLDER), "--no-open"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mtclip_edge", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        address, _, token = server.stdout.readline().strip().partition("/#token=")
        films = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.png"))]

        def ask(number: int) -> None:
            head = {"authorization": f"Bearer {token}"}
            answer = httpx.post(f"{address}/api/query", content=films[number % len(films)], headers=head)
            assert answer.status_code == 200

        for number in range(20):
            ask(number)
        before = _resident(server.pid)
        for number in range(500 if soak else 60):
            ask(number)
        assert _resident(server.pid) < before + 25_000_000
    finally:
        server.kill()
        server.communicate()


def _resident(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
