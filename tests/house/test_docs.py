"""What the docs say is so: generated help, links, commands, and words that do not belong there."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "examples")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / folder / "README.md" for folder in FOLDERS), *(ROOT / "docs").rglob("*.md")]
)


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_help_in_the_docs_is_the_real_one() -> None:
    assert (ROOT / "docs" / "reference" / "cli.md").read_text(
        encoding="utf-8"
    ) == generator().cli_markdown(), "run python docs/generate.py cli"


def test_every_command_is_in_the_generated_help(mtclip) -> None:
    commands = set(re.findall(r"^│ (\w+) ", mtclip("--help").out, re.MULTILINE))
    assert commands <= {c.split(" ")[0] for c in generator().COMMANDS}
    assert {"query", "train", "export", "eval", "index", "info", "verify", "doctor"} <= commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
        name = target[0] or target[1]
        assert name.startswith("https://") or (page.parent / name).exists(), f"{page.name}: {name}"


def test_tests_named_in_the_promises_exist() -> None:
    defined = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")))
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")):
            assert name in defined, f"{page.name}: {name}"


def test_every_benchmark_has_its_row() -> None:
    folder = ROOT / "benchmarks"
    rows = set(
        re.findall(r"^\| \[(\S+\.py)\]", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert rows == {str(path.relative_to(folder)) for path in folder.rglob("*.py")}


def test_every_example_has_its_row() -> None:
    folder = ROOT / "examples"
    rows = re.findall(r"^\| \[(\S+)\]", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) == {path.name for suffix in ("py", "ipynb") for path in folder.glob(f"*.{suffix}")}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_that_are_named_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in re.findall(r"make ([a-z-]+)", (ROOT / page).read_text()):
        if name != "such":
            assert name in targets, name


def test_make_demo_ends_with_where_the_command_is() -> None:
    """The environment that it makes is not in anybody's PATH."""
    recipe = re.search(r"^demo: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    where, following = recipe[1].splitlines()[-2:]
    assert "$(CURDIR)/.venv-demo/bin/mtclip" in where
    assert ". .venv-demo/bin/activate" in following and "mtclip query examples/effusion.png" in following


def test_no_page_is_machine_bound() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        absolute = re.search(r"(?<![\w./:~-])/[a-z]+/[\w-]", text)
        assert absolute is None, f"{page.name}: {absolute and absolute[0]}"
        assert "localhost" not in text, page.name


def test_large_files_are_few() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    large = [
        n
        for n in names
        if (ROOT / n).is_file() and not (ROOT / n).is_symlink() and (ROOT / n).stat().st_size > 1_500_000
    ]
    assert all(n.startswith("mtclip_edge/demo_bundle/") for n in large), large
