"""What is printed about a missing part can be typed where it is printed, and never names the package in a registry."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mtclip_edge import __version__, installation
from mtclip_edge.errors import ExtraMissing
from mtclip_edge.sources.tables import parquet_library

ROOT = Path(__file__).parents[1]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As a copy in site-packages, with what pip recorded of where it came from."""

    def recorded(url: str | None) -> None:
        record = None if url is None else json.dumps({"url": url})
        distribution = type("Distribution", (), {"read_text": lambda self, name: record})()
        monkeypatch.setattr(installation.metadata, "distribution", lambda name: distribution)

    monkeypatch.setattr(
        installation, "__file__", str(tmp_path / "site-packages" / "mtclip_edge" / "installation.py")
    )
    return recorded


def test_in_a_checkout_it_is_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert installation.install_command("train", "export") == "pip install '.[train,export]'"
    assert installation.upgrade_hint().endswith("then: pip install .")
    monkeypatch.chdir(tmp_path)
    assert installation.install_command("parquet") == f"pip install '{ROOT}[parquet]'"


def test_of_a_copy_it_is_the_checkout_or_wheel_that_pip_recorded(
    installed, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    installed(ROOT.as_uri())
    assert installation.install_command("view") == f"pip install '{ROOT}[view]'"
    wheel = tmp_path / "wheels of today" / "mtclip_edge-9-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    installed(wheel.as_uri())
    assert installation.install_command("cpu") == f"pip install '{wheel}[cpu]'"
    assert installation.upgrade_hint() == f"install a newer wheel of mtclip-edge than {__version__}"


@pytest.mark.parametrize(
    "url",
    [None, "https://example.org/mtclip-edge", "file:///gone/mtclip_edge-1-py3-none-any.whl", "file:///gone"],
)
def test_where_nothing_is_known_it_is_the_name_of_the_wheel(installed, url: str | None) -> None:
    installed(url)
    assert (
        installation.install_command("cpu")
        == f"pip install 'mtclip_edge-{__version__}-py3-none-any.whl[cpu]'"
    )


def test_what_is_not_installed_at_all_is_no_error(installed, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise installation.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installation.metadata, "distribution", missing)
    assert ".whl[cpu]" in installation.install_command("cpu")


def test_a_missing_part_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match=re.escape("Parquet needs pyarrow\npip install '.[parquet]'")):
        parquet_library()


def test_every_extra_of_the_project_is_known_by_what_it_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {
        "pillow": "PIL",
        "open-clip-torch": "open_clip",
        "huggingface-hub": "huggingface_hub",
        "pyyaml": "yaml",
        "scikit-learn": "sklearn",
        "python-gdcm": "gdcm",
        "pyjpegls": "jpeg_ls",
        "pylibjpeg-openjpeg": "openjpeg",
        "python-multipart": "python_multipart",
        "psycopg-pool": "psycopg_pool",
    }
    for extra, modules in installation._BROUGHT_BY.items():
        wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
        packages = [re.split(r"[\[><=;]", line)[0].lower().replace("_", "-") for line in wanted]
        known = {names.get(package, package) for package in packages} - {
            "typer"
        }  # without which nothing is said at all
        assert known - {"onnxruntime"} == set(modules) - {"onnxruntime"}, extra


def test_a_module_that_is_missing_half_way_is_named_too(
    mtclip, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'sklearn.manifold'", name="sklearn.manifold")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("mtclip_edge.train.evaluation.evaluate.assess", broken)
    found = mtclip("eval", tiny_run, "--data", "phantom:8@5", "--split", "all")
    assert (found.code, found.err) == (
        1,
        "sklearn is not installed: this command needs it\npip install '.[train]'\n",
    )
    assert installation.missing_module("numpy").hint == "pip install ."
    assert installation.missing_module("ours") is None


def test_no_text_of_ours_names_the_package_in_a_registry() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in files:
        if (
            name.endswith((".py", ".md", ".sh", ".ps1", ".toml"))
            and not name.startswith("tests/")
            and (ROOT / name).is_file()
        ):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not re.search(r"pip install [^\n]*mtclip-edge", text), name
