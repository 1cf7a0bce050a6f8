"""Which execution provider runs, and why. A GPU that was asked for and is not there is an error, never a
silent CPU.

``cpu`` and ``cuda`` are what this project is tested on; ``tensorrt`` and ``openvino`` run by name where an
onnxruntime with them is installed. Whatever is not the CPU is asked afterwards which nodes it really runs.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ArtefactDamaged, DeviceUnavailable, ExtraMissing, not_among
from ..workers import threads

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
CHOICES = ("auto", *PROVIDERS)
# TF32 moves an embedding by about 1e-3, more than the fp32 gate allows; OpenVINO computes in bf16 or f16
# where it can, unless told.
_OPTIONS = {"cuda": {"use_tf32": "0"}, "openvino": {"precision": "ACCURACY"}}
_INSTALL = {
    "cuda": "install mtclip-edge[gpu] in an environment without [cpu]",
    "tensorrt": "install mtclip-edge[gpu] in an environment without [cpu], and TensorRT",
    "openvino": "install onnxruntime-openvino in place of onnxruntime",
}


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
        from ..installation import install_command

        hint = f"install one of: {install_command('cpu')}   {install_command('gpu')}"
        raise ExtraMissing("onnxruntime is not installed", str(error), hint) from None
    return onnxruntime


def choose(requested: str = "auto") -> Device:
    """Pick a device.

    Errors: WrongOption for an unknown name, DeviceUnavailable for one that this onnxruntime does not have.
    """
    if requested not in CHOICES:
        raise not_among("device", requested, CHOICES)
    available = runtime().get_available_providers()
    if requested == "auto":
        if PROVIDERS["cuda"] in available:
            return Device(requested, "cuda", PROVIDERS["cuda"], "a CUDA provider is installed")
        return Device(requested, "cpu", PROVIDERS["cpu"], "this onnxruntime has no CUDA provider")
    if PROVIDERS[requested] not in available:
        raise DeviceUnavailable(
            f"device {requested} was asked for, and this onnxruntime has no such provider",
            f"it has: {', '.join(available)}",
            f"use --device cpu, or {_INSTALL[requested]}",
        )
    return Device(requested, requested, PROVIDERS[requested], "asked for")


def open_session(
    graph: Path | bytes, device: Device, *, spinning: bool = False, threads: int | None = None
) -> tuple[Any, Device]:
    """A session that really runs on the device, and the device as it turned out: ``auto`` may fall back to
    CPU and then says why.

    ``spinning`` lets threads wait busily between operators: quicker for a long series, and wasteful for a
    single answer; ``threads`` are all that this process may use unless told, of a CPU.

    Errors: DeviceUnavailable when a device was asked for and its session cannot be made; ArtefactDamaged for
    an unusable graph.
    """
    if device.used == "cpu":
        return _session(graph, [PROVIDERS["cpu"]], spinning=spinning, count=threads), device
    return _accelerated(graph, device)


def nodes(session: Any) -> dict[str, int] | None:
    """How many nodes each provider runs, the busiest first; None where this onnxruntime cannot tell."""
    try:
        parts = session.get_provider_graph_assignment_info()
    except Exception:  # older than 1.24, or the session was opened without recording
        return None
    counts: dict[str, int] = {}
    for part in parts:
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def _accelerated(graph: Path | bytes, device: Device) -> tuple[Any, Device]:
    ort = runtime()
    if device.used != "openvino" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    order = ["tensorrt", "cuda"] if device.used == "tensorrt" else [device.used]
    providers = [
        (PROVIDERS[name], _OPTIONS.get(name, {}))
        for name in order
        if PROVIDERS[name] in ort.get_available_providers()
    ]
    session = _session(graph, [*providers, PROVIDERS["cpu"]], record=True)
    ran = nodes(session)
    idle = ran is not None and not ran.get(device.provider)
    if session.get_providers()[0] == device.provider and not idle:
        return session, replace(
            device, why=f"{device.why}; {_share(ran, device.provider)}" if ran else device.why
        )
    if device.requested == device.used:
        raise DeviceUnavailable(
            f"device {device.used} was asked for, and onnxruntime made a CPU session instead",
            "the provider runs no node of this graph" if idle else "its libraries could not be loaded",
            "use --device cpu, or look at onnxruntime's messages with ORT_LOGGING_LEVEL=1",
        )
    why = f"the {device.used.upper()} provider is installed but could not make a session"
    return session, Device(device.requested, "cpu", PROVIDERS["cpu"], why)


def _share(ran: dict[str, int], provider: str) -> str:
    return f"{ran[provider]} of {sum(ran.values())} nodes run on it"


def _session(
    graph: Path | bytes,
    providers: list[Any],
    *,
    record: bool = False,
    spinning: bool = False,
    count: int | None = None,
) -> Any:
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = count or threads()
    options.log_severity_level = 3
    # A command line answers once: threads that spin after the last operator only take the processor from
    # others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if record:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        content = graph if isinstance(graph, bytes) else str(graph)
        return ort.InferenceSession(content, options, providers=providers)
    except (
        Exception
    ) as error:  # onnxruntime raises its own classes, of which some are RuntimeError and some are not
        name = "a graph in memory" if isinstance(graph, bytes) else graph
        raise ArtefactDamaged(f"{name}: onnxruntime cannot load this graph", str(error)[:300]) from None
