"""Make the generated parts of docs/: the command line's help (reference/), the README's picture (start/), a
sheet of phantoms (concepts/),

the page of ``mtclip view`` (start/, needs Chromium and playwright).

python docs/generate.py [cli] [picture] [phantoms] [view]
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
INDEX = tuple(
    f"index {name}" for name in ("build", "add", "remove", "merge", "rebuild", "stats", "export", "push")
)
LIBRARY = tuple(f"library {name}" for name in ("create", "stats", "verify", "grant", "switch", "drop-model"))
COMMANDS = (
    "",
    "query",
    "view",
    "node",
    "node check",
    "node run",
    "node status",
    "node retry",
    "node forget",
    "train",
    "export",
    "eval",
    "pull",
    "show",
    "refit",
    "embed",
    "info",
    "verify",
    "bench",
    "doctor",
    "data",
    "data inspect",
    "data export",
    "index",
    *INDEX,
    "library",
    *LIBRARY,
)


def cli_markdown() -> str:
    """Every command's --help, as a plain terminal of 100 columns shows it."""
    parts = [
        "# Command line",
        "",
        "Generated from `--help` by `python docs/generate.py cli`; a test keeps it true.",
        "",
    ]
    for command in COMMANDS:
        parts += [
            f"## `mtclip {command}`" if command else "## `mtclip`",
            "",
            "```",
            _help(command),
            "```",
            "",
        ]
    return "\n".join(parts)


def _help(command: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MTCLIP_", "FORCE_COLOR"))}
    environment |= {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    words = [sys.executable, "-m", "mtclip_edge", *command.split(), "--help"]
    text = subprocess.run(  # noqa: S603
        words, check=True, capture_output=True, text=True, env=environment, encoding="utf-8"
    ).stdout
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def picture() -> None:
    """The answer to the README's first command, as rich draws it."""
    from rich.console import Console

    from mtclip_edge import Retriever
    from mtclip_edge.bundle.demo import FOLDER
    from mtclip_edge.display.answer_table import TableWriter

    console = Console(record=True, width=88, file=io.StringIO(), force_terminal=True, highlight=False)
    with Retriever.open(FOLDER) as retriever:
        writer = TableWriter(console)
        writer.add(
            retriever.query(HERE.parent / "examples" / "effusion.png", k=3, name="examples/effusion.png")
        )
        writer.close()
    svg = console.export_svg(title="mtclip query examples/effusion.png -k 3", unique_id="mtclip")
    # No fonts from a network: the viewer's own monospace serves.
    (HERE / "start" / "query.svg").write_text(
        re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8"
    )


def phantoms() -> None:
    """Twelve phantoms of seed 0, in the order of their numbers."""
    from PIL import Image

    from mtclip_edge.sources.phantoms.make import make

    sheet = Image.new("L", (4 * 240, 3 * 240))
    for number in range(12):
        film = Image.fromarray(make(0, number).drawn.grey).resize((240, 240))
        sheet.paste(film, ((number % 4) * 240, (number // 4) * 240))
    sheet.save(HERE / "concepts" / "phantoms.png", optimize=True)


def view() -> None:
    """The page with a phantom, its answer, and the first hit beside it, in a bundle of 400 other phantoms."""
    import shutil
    import tempfile

    from playwright.sync_api import sync_playwright

    from mtclip_edge import Index
    from mtclip_edge.bundle.demo import FOLDER

    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(shutil.copytree(FOLDER, Path(folder) / "bundle"))
        Index.open(bundle).build("phantom:2@78")
        Index.open(bundle).add("phantom:400@77", previews=True)
        words = [sys.executable, "-m", "mtclip_edge", "view", "--bundle", str(bundle), "--no-open"]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)  # noqa: S603
        try:
            assert server.stdout
            address = server.stdout.readline().strip()
            with sync_playwright() as driver:
                chromium = shutil.which("chromium")
                browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1440, "height": 860})
                page.goto(address)
                page.locator("html[data-ready=yes]").wait_for()
                page.locator("#file").set_input_files(str(HERE.parent / "examples" / "effusion.png"))
                page.locator("article.hit").first.wait_for()
                page.keyboard.press("1")
                page.locator("#pane-prior.has").wait_for()
                page.wait_for_timeout(500)
                page.locator("#side").evaluate("side => side.scrollTo(0, 0)")
                page.screenshot(path=HERE / "start" / "view.png")
                browser.close()
        finally:
            server.terminate()
            server.wait()


def main() -> None:
    wanted = sys.argv[1:] or ["cli", "picture", "phantoms"]
    if "cli" in wanted:
        (HERE / "reference" / "cli.md").write_text(cli_markdown(), encoding="utf-8")
    if "picture" in wanted:
        picture()
    if "phantoms" in wanted:
        phantoms()
    if "view" in wanted:
        view()


if __name__ == "__main__":
    main()
