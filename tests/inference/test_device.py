"""Which provider and which precision run, and what is said about it; providers that are not here are played."""

from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import DeviceUnavailable, WrongOption
from mtclip_edge.inference.device import choose, nodes, open_session
from mtclip_edge.inference.encoders import open_film_encoder
from mtclip_edge.inference.precision import Precision, choose_precision, most_exact

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def part(provider: str, count: int) -> SimpleNamespace:
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: [0] * count)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch):
    """An onnxruntime with a CUDA provider: ``runs`` is where sessions land, ``parts`` which provider runs how many nodes."""
    real = onnxruntime.InferenceSession
    about = SimpleNamespace(runs=CUDA, parts=[part(CUDA, 298), part(CPU, 3)], asked=[])

    class Session:
        def __init__(self, graph, options, providers):
            about.asked.append(providers)
            self._real = real(graph, options, providers=[CPU])

        def get_providers(self):
            return [about.runs, CPU]

        def get_provider_graph_assignment_info(self):
            return about.parts

        def run(self, *words):
            return self._real.run(*words)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    return about


@pytest.fixture
def graph(tiny_bundle: Path) -> Path:
    return Bundle.open(tiny_bundle).graph("image", "fp32")


def test_a_gpu_that_runs_says_how_much_of_the_graph(played, graph: Path) -> None:
    _, device = open_session(graph, choose("auto"))
    assert (device.used, device.why) == ("cuda", "a CUDA provider is installed; 298 of 301 nodes run on it")
    assert played.asked[0][0] == (CUDA, {"use_tf32": "0"})


@pytest.mark.parametrize("how", ["falls back", "runs nothing"])
def test_a_gpu_that_silently_became_a_cpu_is_an_error_where_it_was_asked_for(
    played, graph: Path, how: str
) -> None:
    if how == "falls back":
        played.runs = CPU
    else:
        played.parts = [part(CPU, 301)]
    with pytest.raises(
        DeviceUnavailable, match="device cuda was asked for, and onnxruntime made a CPU session instead"
    ):
        open_session(graph, choose("cuda"))
    _, device = open_session(graph, choose("auto"))
    assert (device.used, device.provider) == ("cpu", CPU)
    assert device.why == "the CUDA provider is installed but could not make a session"


def test_fp16_is_taken_on_a_gpu_and_given_up_with_it(
    played, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(tiny_bundle)
    graphs = {"image": {"fp32": "image.fp32.onnx", "fp16": "image.fp32.onnx"}, "text": None}
    monkeypatch.setattr(Bundle, "precisions", lambda self, tower: list(graphs[tower] or ()))
    monkeypatch.setattr(
        Bundle, "graph", lambda self, tower, precision: tiny_bundle / graphs[tower][precision]
    )
    assert open_film_encoder(bundle, choose("auto"))[1].name == "fp16"
    played.runs = CPU
    encoder, precision = open_film_encoder(bundle, choose("auto"))
    assert (encoder.device.used, precision.name) == ("cpu", "fp32")
    assert encoder.device.why == "the CUDA provider is installed but could not make a session"


@pytest.mark.parametrize("name", ["cuda", "tensorrt", "openvino"])
def test_what_is_not_installed_says_what_to_do(name: str) -> None:
    if name == "cuda" and CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(
        DeviceUnavailable,
        match=f"device {name} was asked for, and this onnxruntime has no such provider\nit has: ",
    ):
        choose(name)


@pytest.mark.parametrize("name", ["cude", "gpu", "GPU"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(WrongOption, match="did you mean cuda?"):
        choose(name)


def test_nodes_are_not_known_where_they_were_not_recorded(graph: Path) -> None:
    session, _ = open_session(graph, choose("cpu"))
    assert nodes(session) is None


PACKED = ["int8-dynamic", "fp32", "fp16w", "fp16"]


@pytest.mark.parametrize(
    ("packed", "asked", "device", "name", "why"),
    [
        (PACKED, "auto", "cpu", "int8-dynamic", "the fastest on cpu of those that passed the export's gate"),
        (PACKED, "auto", "cuda", "fp16", "the fastest on cuda of those that passed the export's gate"),
        (PACKED, "fp16w", "cpu", "fp16w", "asked for"),
        (PACKED, "fp16", "cuda", "fp16", "asked for"),
        (
            ["int8", "fp16w"],
            "auto",
            "cuda",
            "fp16w",
            "the fastest on cuda of those that passed the export's gate",
        ),
        (["fp32"], "auto", "cpu", "fp32", "the only one in this bundle"),
        (["fp32", "fp16"], "auto", "cpu", "fp32", "the only one in this bundle for cpu"),
    ],
)
def test_the_precision_that_runs(packed: list[str], asked: str, device: str, name: str, why: str) -> None:
    assert choose_precision(packed, asked, device) == Precision(name, why)


def test_precisions_that_cannot_run() -> None:
    with pytest.raises(DeviceUnavailable, match="this bundle holds fp16 only, which needs a GPU"):
        choose_precision(["fp16"], "auto", "cpu")
    with pytest.raises(WrongOption, match="expected one of auto, fp32"):
        choose_precision(["fp32"], "int8", "cpu")


def test_an_index_is_built_with_the_most_exact() -> None:
    assert (
        most_exact(PACKED) == "fp32" and most_exact(["int8", "w8"]) == "w8" and most_exact(["int8"]) == "int8"
    )
