"""Keeps what the frozen blocks of a film tower make of each film, so that training runs through the others
alone.

A film is augmented a fixed number of times, each time through the frozen blocks once; an epoch then takes one
of these views of every film. Kept as float16 in a file without a name: it is gone with the process.
"""

import os
import tempfile
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from mtclip_edge.errors import Refused
from mtclip_edge.files import private_dir
from mtclip_edge.folders import cache_dir

from .tower_session import Run, film_session

# Of the largest feature: what rounding may differ by; the views themselves are float16.
TOLERANCE = 1e-4


class Below(nn.Module):
    """What a tower's blocks before one of them make of films: float32 [batch, 3, size, size] to activations,
    in the tower's own mode.
    """

    def __init__(self, tower: nn.Module, block: str):
        super().__init__()
        self.tower, self.block = tower, block

    def forward(self, films: Tensor) -> Tensor:
        caught: list[Tensor] = []

        def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            caught.append(inputs[0])
            raise _Reached

        handle = self.tower.get_submodule(self.block).register_forward_pre_hook(stop)
        try:
            self.tower(films)
        except _Reached:
            pass
        finally:
            handle.remove()
        return caught[0]


class Parted:
    """A tower in two parts: films to activations (``below``), and these to features (``above``).

    Both share the tower's weights. Errors: ValueError where its parts do not make the whole.
    """

    def __init__(self, tower: nn.Module, block: str, size: int):
        """``block``: name of the first block above."""
        self.tower, self.above = tower, _sharing(tower)
        # in eval mode itself: an exporter puts back what it found, in all that is inside
        self.below = Below(tower, block).eval()
        for name in _before(tower, block, size):
            self.above.set_submodule(name, nn.Identity())
        self._check(size)

    @torch.inference_mode()
    def quick_below(self, size: int) -> Run:
        """``below`` for many films, in onnxruntime where the tower is on a CPU and it gives the same there;
        never by the clock, since an interrupted run must find what an unbroken one has.
        """
        device = next(self.tower.parameters()).device

        def by_torch(pixels: np.ndarray) -> np.ndarray:
            given = torch.from_numpy(pixels).to(device, memory_format=torch.channels_last)
            return self.below(given).cpu().numpy()

        if device.type != "cpu":
            return by_torch
        try:
            session = film_session(self.below, size)
            some = np.random.default_rng(0).normal(0, 1, (2, 3, size, size)).astype(np.float32)
            expected, given = by_torch(some), session(some)
        except Exception:  # whatever an exporter or a graph cannot do, torch can
            return by_torch
        same = np.abs(given - expected).max() <= TOLERANCE * np.abs(expected).max()
        return session if same else by_torch

    @torch.no_grad()
    def _check(self, size: int) -> None:
        self.tower.eval()
        self.above.eval()
        films = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        films = films.to(next(self.tower.parameters()).device)
        whole = self.tower(films)
        try:
            parted = self.above(self.below(films))
            same = parted.shape == whole.shape and torch.allclose(
                parted, whole, rtol=0, atol=TOLERANCE * float(whole.abs().max())
            )
        except (RuntimeError, IndexError, ValueError) as error:
            raise ValueError(f"its parts do not fit: {str(error)[:100]}") from None
        if not same:
            raise ValueError("its parts do not make the whole")


class _Reached(Exception):
    pass


class Views:
    """Activations below of augmented films, float16 [films, views, ...] in a file; one view of each film is
    in force.
    """

    def __init__(self, films: int, views: int, shape: tuple[int, ...]):
        """Errors: Refused without room for them."""
        private_dir(cache_dir())
        self.bytes = films * views * int(np.prod(shape)) * np.dtype(np.float16).itemsize
        with tempfile.TemporaryFile(dir=cache_dir()) as file:
            try:  # a memory map of a file that cannot grow ends the process
                os.posix_fallocate(file.fileno(), 0, max(1, self.bytes))
            except OSError as error:
                raise Refused(
                    f"{cache_dir()}: no room for {views} views of {films} films, {self.bytes / 1e9:.1f} GB "
                    f"({error.strerror})",
                    "kept views spare most of the time of training the last blocks",
                    "set kept_views to a smaller number or 0, or MTCLIP_HOME to a folder with room",
                ) from None
            self.kept = np.memmap(file, np.float16, "r+", shape=(films, views, *shape))
        self.chosen = np.zeros(films, np.int64)

    def choose(self) -> None:
        """Another view of each film, drawn from torch's generator."""
        self.chosen = torch.randint(self.kept.shape[1], (len(self.kept),)).numpy()

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Activations float16 of the views in force of some films."""
        some = rows.numpy()
        return torch.from_numpy(self.kept[some, self.chosen[some]])


def _sharing(tower: nn.Module) -> nn.Module:
    """A copy whose modules can be changed and whose weights are the same tensors."""
    tensors = [*tower.parameters(), *tower.buffers()]
    return deepcopy(tower, {id(tensor): tensor for tensor in tensors})


@torch.no_grad()
def _before(tower: nn.Module, block: str, size: int) -> list[str]:
    """The modules that have run to their end before a block begins, without those inside of others."""
    finished: list[str] = []

    def begun(*_: object) -> None:
        raise _Reached

    handles = [tower.get_submodule(block).register_forward_pre_hook(begun)]
    for name, module in tower.named_modules():
        handles.append(module.register_forward_hook(lambda *_, name=name: finished.append(name)))
    try:
        tower(torch.zeros(1, 3, size, size, device=next(tower.parameters()).device))
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    outer = set(finished)
    return [name for name in outer if not any(name.startswith(f"{other}.") for other in outer)]
