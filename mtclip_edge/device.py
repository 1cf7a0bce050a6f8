"""Which execution provider runs, and why. A GPU that was asked for and is not there is an error, never a silent CPU."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ArtefactDamaged, DeviceUnavailable, ExtraMissing, not_among

CHOICES = ("auto", "cpu", "cuda")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Device:
    """What was asked for, what runs, and the reason for the choice."""

    requested: str
    used: str
    provider: str
    why: str


def runtime() -> Any:
    """The onnxruntime module. Errors: ExtraMissing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ExtraMissing(
            "onnxruntime is not installed",
            str(error),
            "install one of: pip install 'mtclip-edge[cpu]'   pip install 'mtclip-edge[gpu]'",
        ) from None
    return onnxruntime


def choose(requested: str = "auto") -> Device:
    """Pick a device. Errors: WrongOption for an unknown name, DeviceUnavailable for ``cuda`` where it cannot be."""
    if requested not in CHOICES:
        raise not_among("device", requested, CHOICES)
    available = runtime().get_available_providers()
    has_cuda = _PROVIDERS["cuda"] in available
    if requested == "cuda" and not has_cuda:
        raise DeviceUnavailable(
            "device cuda was asked for, and this onnxruntime has no CUDA provider",
            f"it has: {', '.join(available)}",
            "use --device cpu, or install mtclip-edge[gpu] in an environment without [cpu]",
        )
    if requested == "cpu":
        return Device(requested, "cpu", _PROVIDERS["cpu"], "asked for")
    if has_cuda:
        return Device(requested, "cuda", _PROVIDERS["cuda"], "asked for" if requested == "cuda" else "a CUDA provider is installed")
    return Device(requested, "cpu", _PROVIDERS["cpu"], "this onnxruntime has no CUDA provider")


def threads() -> int:
    """The processors this process may use (an affinity or a container's limit counts, unlike os.cpu_count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_session(graph: Path, device: Device) -> tuple[Any, Device]:
    """A session that really runs on the device, and the device as it turned out: ``auto`` may fall back to CPU and then says why.

    Errors: DeviceUnavailable when ``cuda`` was asked for and its session cannot be made; ArtefactDamaged for an unusable graph.
    """
    if device.used == "cuda":
        return _cuda_session(graph, device)
    return _session(graph, [_PROVIDERS["cpu"]]), device


def _cuda_session(graph: Path, device: Device) -> tuple[Any, Device]:
    ort = runtime()
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    # TF32 moves an embedding by about 1e-3, more than the fp32 gate allows.
    session = _session(graph, [(_PROVIDERS["cuda"], {"use_tf32": "0"}), _PROVIDERS["cpu"]])
    if session.get_providers()[0] == device.provider:
        return session, device
    if device.requested == "cuda":
        raise DeviceUnavailable(
            "device cuda was asked for, and onnxruntime made a CPU session instead",
            "CUDA or cuDNN could not be loaded",
            "use --device cpu, or look at onnxruntime's messages with ORT_LOGGING_LEVEL=1",
        )
    why = "the CUDA provider is installed but could not make a session"
    return session, Device(device.requested, "cpu", _PROVIDERS["cpu"], why)


def _session(graph: Path, providers: list[Any]) -> Any:
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3
    # A command line answers once: threads that spin after the last operator only take the processor from others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(graph), options, providers=providers)
    except Exception as error:  # onnxruntime raises its own classes, of which some are RuntimeError and some are not
        raise ArtefactDamaged(f"{graph}: onnxruntime cannot load this graph", str(error)[:300]) from None
