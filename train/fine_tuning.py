"""Fine-tunes the film tower: squashed films in memory, augmented batch by batch.

Augmentations are those a film can really have: a small rotation, scale and shift, another exposure. No
horizontal flip: the heart has a side. BatchNorm keeps the statistics it came with, so that a film's features
do not depend on its batch.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtclip_edge.errors import BackboneUnusable, FilmUnreadable, WrongOption
from mtclip_edge.inference.preprocessing import Preprocessing, grey_film, squash
from mtclip_edge.progress import Progress

from .folding import fold_norms
from .frozen_below import Parted, Views

# Radians; shares of the film; factors and shares of 0..1 grey; the exponent's logarithm.
ROTATION, SCALE, SHIFT, CONTRAST, BRIGHTNESS, GAMMA = 0.12, 0.12, 0.06, 0.25, 0.12, 0.25
_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Pixels:
    """Squashed films uint8 [films, size, size]; ``rows[i]`` is the film of the i-th path, -1 where it
    could not be read.
    """

    grey: Tensor
    rows: np.ndarray
    problems: tuple[str, ...]


def load_pixels(paths: Sequence[Path], how: Preprocessing, progress: Progress) -> Pixels:
    """Decode and squash every film once; 3,000 films of 224 pixels take 150 MB."""
    films: list[np.ndarray] = []
    rows, problems = np.full(len(paths), -1, np.int64), []
    with ThreadPoolExecutor(2) as pool:
        for i, film in enumerate(pool.map(lambda path: _squashed(path, how), paths)):
            if isinstance(film, str):
                problems.append(film)
            else:
                rows[i] = len(films)
                films.append(film)
            progress("films", i + 1, len(paths))
    grey = np.stack(films) if films else np.zeros((0, how.size, how.size), np.uint8)
    return Pixels(torch.from_numpy(grey), rows, tuple(problems))


class FineTunedTower(nn.Module):
    """The film tower with its preprocessing: uint8 [batch, size, size] to features float32 [batch, width].

    ``unfreeze``: how many of its last blocks are trained, with all that comes after them; or "all".
    """

    mean: Tensor
    std: Tensor

    def __init__(self, tower: nn.Module, how: Preprocessing, unfreeze: str = "all", drop_path: float = 0.0):
        super().__init__()
        self.tower = tower.to(memory_format=torch.channels_last)
        unfrozen(self.tower, unfreeze)
        self.skips = bool(drop_path) and skipping(self.tower, drop_path)
        self.folding = fold_norms(self.tower, how.size)
        self.size, self.unfreeze = how.size, unfreeze
        self._parts: tuple[Parted, ...] = ()  # in a tuple, so that its copy of the tower is no module of ours
        self.register_buffer("mean", torch.tensor(how.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(how.std)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> "FineTunedTower":
        super().train(mode)
        for tower in (self.tower, *(parts.above.train(mode) for parts in self._parts)):
            for module in tower.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, grey: Tensor) -> Tensor:
        """Features of films; of kept activations (float16 [batch, ...]), which are of augmented ones."""
        if grey.dtype == torch.float16:
            tower, given = self._parts[0].above, grey.float()
        else:
            tower, given = self.tower, self._light(grey)
        given = given.contiguous(memory_format=torch.channels_last) if given.ndim == 4 else given
        with torch.autocast("cuda", torch.bfloat16, enabled=self._mixed(given.device)):
            return tower(given).float()

    def _light(self, grey: Tensor) -> Tensor:
        light = grey[:, None].float() / 255
        return ((augmented(light) if self.training else light) - self.mean) / self.std

    def _mixed(self, device: torch.device) -> bool:
        """Training on a card that computes bfloat16 itself; features are always taken in fp32."""
        return (
            self.training
            and device.type == "cuda"
            and torch.cuda.is_bf16_supported(including_emulation=False)
        )

    @torch.no_grad()
    def keep_views(self, grey: Tensor, count: int, seed: int, progress: Progress) -> Views:
        """What the frozen blocks make of ``count`` augmented views of each film, uint8 [films, size, size].

        Errors: ValueError where the tower cannot be parted there; Refused without room.
        """
        self._parts = (Parted(self.tower, _block_names(self.tower)[-int(self.unfreeze)], self.size),)
        torch.manual_seed(seed)
        self.eval()
        views: Views | None = None
        below = self._parts[0].quick_below(self.size)
        for start in range(0, len(grey), _EVALUATION_BATCH):
            part = grey[start : start + _EVALUATION_BATCH].to(self.mean.device)[:, None].float() / 255
            for number in range(count):
                done = count * start + number * len(part)
                progress("views of films", done, count * len(grey))
                given = below(((augmented(part) - self.mean) / self.std).cpu().numpy())
                views = views or Views(len(grey), count, tuple(given.shape[1:]))
                views.kept[start : start + len(part), number] = given
        progress("views of films", count * len(grey), count * len(grey))
        assert views is not None
        return views

    def plain(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state of ``tower`` under the names that the backbone's own film tower has."""
        return self.folding.plain(state)

    @torch.inference_mode()
    def features(self, grey: Tensor) -> Tensor:
        """Features of many films in ``eval`` mode, in batches."""
        self.eval()
        device = self.mean.device
        return torch.cat([self(part.to(device)) for part in grey.split(_EVALUATION_BATCH)])


def decayed(weights: Iterable[nn.Parameter], rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of an optimiser: weight decay on matrices only; biases, norms and the temperature are left
    free.
    """
    trained = list(weights)
    matrices, others = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
    return [
        {"params": matrices, "lr": rate, "weight_decay": weight_decay},
        {"params": others, "lr": rate, "weight_decay": 0.0},
    ]


def tower_groups(
    tower: FineTunedTower, rate: float, weight_decay: float, decay: float
) -> list[dict[str, Any]]:
    """Groups of what is trained of a tower; with ``decay`` below 1 each block learns at that share of the
    rate of the block after it, what comes before all at that of the first, what comes after at the whole.

    Errors: BackboneUnusable where it has no blocks.
    """
    named = [(name, weight) for name, weight in tower.tower.named_parameters() if weight.requires_grad]
    if decay == 1:
        return decayed((weight for _, weight in named), rate, weight_decay)
    blocks = _block_names(tower.tower)
    distance: dict[int, list[nn.Parameter]] = defaultdict(list)
    reached = False
    for name, weight in named:
        inside = next((i for i, block in enumerate(blocks) if name.startswith(f"{block}.")), None)
        reached |= inside is not None
        distance[len(blocks) - inside if inside is not None else 0 if reached else len(blocks)].append(weight)
    return [
        group
        for blocks_on, weights in sorted(distance.items())
        for group in decayed(weights, rate * decay**blocks_on, weight_decay)
    ]


def unfrozen(tower: nn.Module, blocks: str) -> None:
    """Let the last blocks of a tower, and all after them, take gradients.

    Errors: WrongOption (fewer blocks than asked for).
    """
    if blocks == "all":
        tower.requires_grad_(True)
        return
    tower.requires_grad_(False)
    names = [name for name in _block_names(tower) if name]
    if int(blocks) > len(names):
        raise WrongOption(
            f"unfreeze = {blocks}: this film tower has {len(names)} blocks", "give that many at most, or all"
        )
    reached = False
    for name, parameter in tower.named_parameters():
        reached |= name.startswith(names[-int(blocks)] + ".")
        # open_clip's own towers hold their last projection as a parameter of the whole, which is listed first
        parameter.requires_grad_(reached or name.removeprefix("tower.") == "proj")


def _block_names(tower: nn.Module) -> list[str]:
    """Names of the blocks in order: of a ViT its transformer layers, of a CNN the units its stages are
    made of.
    """
    for name, module in tower.named_modules():
        if name.split(".")[-1] in ("blocks", "resblocks", "stages", "layers") and isinstance(
            module, nn.Sequential | nn.ModuleList
        ):
            inner = [(f"{name}.{i}", child) for i, child in module.named_children()]
            if all(isinstance(child, nn.Sequential) for _, child in inner):
                return [f"{outer}.{i}" for outer, child in inner for i, _ in child.named_children()]
            return [outer for outer, _ in inner]
    raise BackboneUnusable("this film tower has no blocks that can be told apart", hint="--unfreeze 0 or all")


def skipping(tower: nn.Module, rate: float) -> bool:
    """Stochastic depth (Huang et al. 2016), rising to ``rate`` at the last block; False where a tower has no
    place for it.

    timm's towers have one in each block, open_clip's own have none.
    """
    from timm.layers import DropPath

    places = [
        (m, name)
        for m in tower.modules()
        for name in ("drop_path", "drop_path1", "drop_path2")
        if hasattr(m, name)
    ]
    for number, (module, name) in enumerate(places, 1):
        setattr(module, name, DropPath(rate * number / len(places)))
    return bool(places)


@dataclass
class Passes:
    """Features of a batch, float32 [batch, width], and what takes their gradient back into the tower."""

    features: Tensor
    backward: Callable[[], None]


def forward_in_parts(tower: FineTunedTower, films: Tensor, size: int) -> Passes:
    """A batch through the tower in the memory of ``size`` films, with the gradient of the whole batch.

    A contrastive loss is not the sum of its parts, so gradients of small batches cannot be added up. A batch
    larger than ``size`` goes through twice instead (Gao et al. 2021, gradient caching): once for the
    features, then, with the loss's gradient in them at hand, part by part for the weights', each part with
    the random numbers of its first pass.
    """
    device = tower.mean.device
    if len(films) <= size:
        return Passes(tower(films.to(device)), lambda: None)
    states, parts = [], films.split(size)
    with torch.no_grad():
        features = []
        for part in parts:
            states.append(_random_state(device))
            features.append(tower(part.to(device)))
    whole = torch.cat(features).requires_grad_()

    def backward() -> None:
        after = _random_state(device)
        assert whole.grad is not None
        for part, state, gradient in zip(parts, states, whole.grad.split(size), strict=True):
            _set_random_state(device, state)
            tower(part.to(device)).backward(gradient)
        _set_random_state(device, after)

    return Passes(whole, backward)


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def augmented(light: Tensor) -> Tensor:
    """Films float32 [batch, 1, size, size] in 0..1, each moved and exposed a little differently."""
    batch = len(light)

    def uniform(width: float) -> Tensor:
        return width * (2 * torch.rand(batch, device=light.device) - 1)

    angle, scale = uniform(ROTATION), 1 + uniform(SCALE)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([cos, -sin, uniform(SHIFT), sin, cos, uniform(SHIFT)], dim=1).view(batch, 2, 3)
    moved = F.grid_sample(
        light, F.affine_grid(matrix, list(light.shape), align_corners=False), align_corners=False
    )
    contrast, brightness, gamma = 1 + uniform(CONTRAST), uniform(BRIGHTNESS), torch.exp(uniform(GAMMA))
    curved = moved.clamp(1e-6, 1) ** gamma[:, None, None, None]
    return (curved * contrast[:, None, None, None] + brightness[:, None, None, None]).clamp(0, 1)


def _squashed(path: Path, how: Preprocessing) -> np.ndarray | str:
    try:
        return squash(grey_film(path, how), how)
    except FilmUnreadable as error:
        return str(error)
