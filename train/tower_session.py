"""Runs a frozen film tower in onnxruntime, several times as fast on a CPU as torch's eager convolutions.

The graph is traced in memory, by the exporter that is part of torch and takes a second: it serves features
alone and is never kept. What is packed and proven is made in ``export``.
"""

import io
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from mtclip_edge.inference.device import choose, open_session
from mtclip_edge.inference.encoders import PIXELS
from mtclip_edge.progress import Say

# So many go through torch first: fewer are not worth a graph.
FEW = 96
FILMS = 8  # in the tower at a time: a CPU's cache holds the activations of so many
# Of the largest feature: convolutions added up in another order differ by 2e-6 of it.
TOLERANCE = 1e-4
OPSET = 17
_FEATURES = "features"

Run = Callable[[np.ndarray], np.ndarray]


class FrozenTower:
    """A film tower in ``eval`` mode: float32 [films, 3, size, size] to features float32 [films, width].

    On a CPU onnxruntime takes over after the first films where it gives the same for the films at hand, and
    gives it sooner; ``say`` gets the choice and its reason.
    """

    def __init__(self, tower: nn.Module, device: torch.device, say: Say):
        self.tower, self.device, self.say = tower.to(device), device, say
        self.films = 0
        self.session: Run | None = None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        if self.films <= FEW < self.films + len(pixels) and self.device.type == "cpu":
            self.session = self._quicker(pixels)
        self.films += len(pixels)
        return self.session(pixels) if self.session else self._torch(pixels)

    @torch.inference_mode()
    def _torch(self, pixels: np.ndarray) -> np.ndarray:
        films = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
        return self.tower(films).cpu().numpy()

    def _quicker(self, pixels: np.ndarray) -> Run | None:
        """onnxruntime if it may take torch's place."""
        try:
            session = film_session(self.tower, pixels.shape[-1])
            quick, given = _timed(session, pixels)
        except Exception as error:  # whatever an exporter or a graph cannot do, torch can
            self.say(f"film features by torch: onnxruntime cannot ({str(error).splitlines()[0][:100]})")
            return None
        slow, expected = _timed(self._torch, pixels)
        apart, largest = float(np.abs(given - expected).max()), float(np.abs(expected).max())
        if not apart <= TOLERANCE * largest:
            self.say(f"film features by torch: onnxruntime's differ by {apart:.1e} of {largest:.1e}")
            return None
        if quick >= slow:
            self.say(f"film features by torch: onnxruntime takes {quick / slow:.1f} times as long")
            return None
        self.say(
            f"film features by onnxruntime: {slow / quick:.1f} times as fast as torch, at most {apart:.0e} "
            f"of {largest:.0e} apart on {len(pixels)} films"
        )
        return session


def film_session(tower: nn.Module, size: int) -> Run:
    """A film tower as an onnxruntime session on as many threads as torch has.

    Its graph takes ``FILMS`` at a time, the last ones filled up: where the batch is free this exporter leaves
    the padding of each convolution to be computed, and a film takes 1.4 times as long.

    Errors: ExtraMissing, and whatever torch's exporter and onnxruntime raise.
    """
    device = choose("cpu")
    example, graph = torch.rand(FILMS, 3, size, size), io.BytesIO()
    names: dict[str, Any] = {"input_names": [PIXELS], "output_names": [_FEATURES]}
    fused = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings(), torch.no_grad():
        torch.backends.mha.set_fastpath_enabled(False)  # one kernel for all attention, which has no ONNX
        warnings.simplefilter("ignore")  # that there is a newer exporter, which takes 50 times as long
        try:
            torch.onnx.export(
                tower,
                (example,),
                graph,  # type: ignore[arg-type]  # this exporter writes to a file object too
                **names,
                opset_version=OPSET,
                dynamo=False,
            )
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
    session, _ = open_session(graph.getvalue(), device, threads=torch.get_num_threads())

    def run(pixels: np.ndarray) -> np.ndarray:
        lacking = -len(pixels) % FILMS
        filled = np.concatenate([pixels, np.zeros((lacking, *pixels.shape[1:]), np.float32)])
        parts = [filled[start : start + FILMS] for start in range(0, len(filled), FILMS)]
        features = [session.run([_FEATURES], {PIXELS: part})[0] for part in parts]
        return np.concatenate(features)[: len(pixels)]

    return run


def _timed(run: Run, pixels: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds of the second pass, when memory is taken and kernels are chosen, and its features."""
    run(pixels)
    started = time.perf_counter()
    features = run(pixels)
    return time.perf_counter() - started, features
