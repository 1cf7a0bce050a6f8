"""From the drop of a film on the page of ``mtclip view`` to its hits drawn, beside the bare retriever.

    python benchmarks/speed/view.py BUNDLE FILM [FILM...] [--rounds 10]

For each film: what the page itself measures, in Chromium, from the drop to the first frame that shows film
and hits; the request alone, as another client sends it; and the same bytes asked of a ``Retriever`` in this
process; in turns. Then how long the command takes until it is ready, and its memory. Needs Chromium,
playwright and ``[view]``.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

from mtclip_edge import Retriever

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("films", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=10)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    words = ["view", "--bundle", str(options.bundle), "--no-open"]
    started = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "mtclip_edge", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        address = server.stdout.readline().strip()
        ready = time.perf_counter() - started
        with Retriever.open(options.bundle) as retriever, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.goto(address)
            page.locator("html[data-ready=yes]").wait_for()
            print(
                "| film | drop to drawn, median (worst) | request alone | bare retriever |\n|---|---|---|---|"
            )
            for film in options.films:
                print(row(film, options.rounds, page, address, retriever))
            browser.close()
        print(
            f"\nready {1000 * ready:.0f} ms after the command; {resident(server.pid) / 1e6:.0f} MB resident"
        )
    finally:
        server.terminate()
        server.wait()


def row(film: Path, rounds: int, page: Page, address: str, retriever: Retriever) -> str:
    """Milliseconds of one film; the first round fills what is filled once, and is left out."""
    data, times = film.read_bytes(), {"page": [0.0], "request": [0.0], "bare": [0.0]}
    host, _, token = address.partition("/#token=")
    head = {"authorization": f"Bearer {token}"}
    for _ in range(rounds + 1):
        page.evaluate("delete document.documentElement.dataset.took")
        page.locator("#file").set_input_files(str(film))
        page.locator("html[data-took]").wait_for(timeout=60_000)
        times["page"].append(float(page.locator("html").get_attribute("data-took") or "nan"))
        started = time.perf_counter()
        httpx.post(f"{host}/api/query", content=data, headers=head, timeout=60).raise_for_status()
        times["request"].append(1000 * (time.perf_counter() - started))
        started = time.perf_counter()
        retriever.query(data)
        times["bare"].append(1000 * (time.perf_counter() - started))
    shown = {name: all_times[2:] for name, all_times in times.items()}
    page_ms = f"{statistics.median(shown['page']):.0f} ({max(shown['page']):.0f}) ms"
    others = (f"{statistics.median(shown[name]):.0f} ms" for name in ("request", "bare"))
    return f"| {film.name}, {len(data) / 1e6:.1f} MB | {page_ms} | {' | '.join(others)} |"


def resident(process: int) -> int:
    """Bytes in memory, of Linux."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
