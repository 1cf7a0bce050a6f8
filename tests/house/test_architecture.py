"""The house: one top-level name in the wheel, one direction of imports, nothing heavy before a command runs."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mtclip_edge import errors

ROOT = Path(__file__).parents[2]
# cli -> export -> train -> mtclip_edge: what each may not import.
FORBIDDEN = {
    "mtclip_edge": (
        "mtclip_edge.train",
        "mtclip_edge.export",
        "mtclip_edge.cli",
        "torch",
        "open_clip",
        "transformers",
        "onnx",
        "timm",
    ),
    "train": ("mtclip_edge.export", "mtclip_edge.cli", "onnx"),
    "export": ("mtclip_edge.cli",),
}


def sources(folder: str) -> list[Path]:
    """Python files of a folder, without following the links in the package."""
    files = [
        p for p in (ROOT / folder).rglob("*.py") if not any(part.is_symlink() for part in (p, *p.parents))
    ]
    assert files
    return files


def package_of(path: Path) -> str:
    """The dotted name of the package a file is in, as it is imported."""
    parts = path.relative_to(ROOT).parent.parts
    return ".".join(parts if parts[:1] == ("mtclip_edge",) else ("mtclip_edge", *parts))


def imports(path: Path) -> set[str]:
    """Every module a file imports, absolute, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package_of(path).split(".")[: -node.level + 1 or None]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_go_one_way(folder: str) -> None:
    for path in sources(folder):
        if path.name == "__main__.py":  # the door of the house leads to the command line
            continue
        if (
            path == ROOT / "mtclip_edge" / "__init__.py"
        ):  # and hands on `evaluate`, when it is first asked for
            continue
        for name in imports(path):
            for forbidden in FORBIDDEN[folder]:
                if path.parent.name == "commands" and forbidden in (
                    "mtclip_edge.train",
                    "mtclip_edge.export",
                ):
                    continue  # the one room that may
                assert name != forbidden and not name.startswith(f"{forbidden}."), f"{path} imports {name}"


def test_the_direction_test_sees_relative_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "mtclip_edge" / "sources").mkdir(parents=True)
    file = tmp_path / "mtclip_edge" / "sources" / "bad.py"
    file.write_text("from .. import train\nfrom ..export.pack import export\nfrom . import manifest\n")
    assert {"mtclip_edge.train", "mtclip_edge.export.pack", "mtclip_edge.sources.manifest"} <= imports(file)


def test_nothing_imports_the_folders_by_their_bare_names() -> None:
    for path in [
        *sources("mtclip_edge"),
        *sources("train"),
        *sources("export"),
        *sources("tests"),
        *sources("benchmarks"),
        *sources("examples"),
        ROOT / "cli.py",
    ]:
        bare = {name.split(".")[0] for name in imports(path)} & {"train", "export", "cli"}
        assert not bare, f"{path} imports {bare}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    import shutil

    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "checkout"
    leave = shutil.ignore_patterns(
        ".git",
        ".venv*",
        "build",
        "dist",
        "*.egg-info",
        "__pycache__",
        ".*_cache",
        "wheelhouse",
        "runs",
        "scratch",
    )
    shutil.copytree(ROOT, copy, symlinks=True, ignore=leave)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_has_one_top_level_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
        top_level = next(name for name in names if name.endswith("top_level.txt"))
        assert tops == {"mtclip_edge"}
        assert archive.read(top_level).decode().split() == ["mtclip_edge"]


@pytest.mark.slow
def test_the_wheel_holds_the_checkouts_files(wheel: Path) -> None:
    expected = {f"mtclip_edge/{p.relative_to(ROOT / 'mtclip_edge')}": p for p in sources("mtclip_edge")}
    expected |= {
        f"mtclip_edge/{p.relative_to(ROOT)}": p for folder in ("train", "export") for p in sources(folder)
    }
    expected |= {
        "mtclip_edge/cli.py": ROOT / "cli.py",
        "mtclip_edge/py.typed": ROOT / "mtclip_edge" / "py.typed",
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {
            name for name in archive.namelist() if name.startswith("mtclip_edge/") and not name.endswith("/")
        }
        code = {name for name in held if name.endswith((".py", ".typed"))}
        assert code == set(expected)
        for name, path in expected.items():
            assert archive.read(name) == path.read_bytes(), name


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


QUERY_ALONE = {
    f"mtclip_edge.commands.{name}" for name in ("query", "query_loop", "query_options", "film_arguments")
}


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['mtclip', '--help']\nfrom mtclip_edge import cli\ncli._run()\nprint('LOADED', *sys.modules)"
    loaded = set(run_python(code).split("LOADED")[1].split())
    assert not loaded & {"onnxruntime", "PIL", "numpy", "torch", "hnswlib", "tokenizers", "sqlite3"}


def test_a_film_query_loads_only_what_it_needs(tiny_bundle: Path, film: Path) -> None:
    code = (
        f"import sys; sys.argv = ['mtclip', 'query', {str(film)!r}, '--bundle', {str(tiny_bundle)!r}, '--format', 'ids']\n"
        "from mtclip_edge import cli\nassert cli._run() == 0\nprint('LOADED', *sys.modules)"
    )
    loaded = set(run_python(code).split("LOADED")[1].split())
    assert {"onnxruntime", "numpy", "PIL"} <= loaded
    assert not loaded & {
        "torch",
        "open_clip",
        "transformers",
        "onnx",
        "tokenizers",
        "rich",
        "rich.table",
        "filelock",
        "platformdirs",
    }
    ours = {name for name in loaded if name.split(".")[0] == "mtclip_edge"}
    assert len(ours) <= 60, sorted(ours)  # half a millisecond each
    assert not {name for name in ours if name.startswith("mtclip_edge.commands.")} - QUERY_ALONE


def test_every_command_is_a_function_of_its_own_name_in_its_own_module() -> None:
    from mtclip_edge import cli

    for name, (place, example) in cli.COMMANDS.items():
        module, attribute = place.split(".")
        assert attribute in (name, "app") or (name, attribute) == ("eval", "evaluate")
        made = cli._loaded(name)
        assert made.name == name and made.help
        if example is None:
            assert module == name and all(command.name == key for key, command in made.commands.items())
        else:
            assert example.startswith(f"mtclip {name}") and made.callback.__wrapped__.__name__ == attribute


def test_no_function_is_longer_than_sixty_lines() -> None:
    files = [path for folder in ("mtclip_edge", "train", "export") for path in sources(folder)]
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length}"
        for path in [*files, ROOT / "cli.py"]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (length := (node.end_lineno or 0) - node.lineno + 1) > 60
    ]
    assert not long


def test_telemetry_is_off_before_onnxruntime_is_loaded() -> None:
    code = "import os; os.environ.pop('ORT_DISABLE_TELEMETRY', None)\nimport mtclip_edge\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run_python(code).strip() == "1"


def test_telemetry_is_off_before_huggingface_hub_is_loaded() -> None:
    code = "import os; os.environ.pop('HF_HUB_DISABLE_TELEMETRY', None)\nimport mtclip_edge\nfrom huggingface_hub import constants as c"
    assert run_python(f"{code}\nprint(c.HF_HUB_DISABLE_TELEMETRY)").strip() == "True"


def test_the_error_tree_in_the_docstring_is_the_real_one() -> None:
    assert errors.__doc__ is not None
    drawn = {}
    for line in errors.__doc__.splitlines():
        words = re.sub("[│├└─]", "", line).split()
        if len(words) > 2 and words[1].isdigit() and not words[0].isdigit() and words[0][0].isupper():
            drawn[words[0]] = int(words[1])
    real = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert drawn == real


def test_every_error_is_at_most_three_lines_whatever_is_in_it() -> None:
    error = errors.FilmUnreadable("a\nfilm\x1b[31m.png: no", "expected\nthis", "do\rthat")
    assert str(error).splitlines() == ["a\\nfilm\\x1b[31m.png: no", "expected\\nthis", "do\\rthat"]
