"""Resolves everything that a run can be told, once: option, then MTCLIP_* variable, then configuration
file, then default.
"""

import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from ..errors import SourceUnusable, WrongOption

# Defaults where the film tower is trained too: each epoch is hundreds of times dearer.
TUNED: dict[str, Any] = {"epochs": 6, "lr": 3e-4, "batch_size": 64, "ema": 0.98}

TEXT_SIDES = ("transformer", "lexical", "both")
BY_BACKBONE = "auto"  # a text side by the backbone: see text_side_for
POOLS = ("whole", "halves")
FILM_VIEWS = ("all", "frontal")
# Settings that earlier versions did not have, as they did it.
BEFORE: dict[str, Any] = {
    "text_side": "transformer",
    "pool": "whole",
    "side_negatives": 0.0,
    "views": "all",
    "findings": 0.0,
    "layer_decay": 1.0,
    "soup": 1,
}


@dataclass(frozen=True)
class TrainConfig:
    """Defaults were chosen on the validation split of Open-I with the compact backbone;
    docs/results/results.md has the figures.
    """

    backbone: str = "compact"
    # what reads a report: the backbone's transformer, its word pieces alone (lexical), both, or auto: as
    # text_side_for has it; a run's own record names the one that it came to
    text_side: str = BY_BACKBONE
    # what the film tower pools: all its places, or those of the left and the right half apart
    pool: str = "whole"
    # films that are trained: all, lateral ones told apart by a learned vector, or frontal ones alone
    views: str = "all"
    unfreeze: str = "0"  # the film tower's last N blocks, or "all" of it, are trained too
    # augmented views of each film that are kept as the frozen blocks give them, where the last N are trained;
    # 0: drawn afresh each time, through the whole tower
    kept_views: int = 8
    size: int | None = None  # pixels of the film tower's input; None: the backbone's
    # pixels: larger films are squashed to it first, as public training copies are; 0: never, nor where size
    # is larger
    via: int = 256
    render: str = "voi"  # how a DICOM film's stored values become grey: voi, percentile or minmax
    epochs: int = 40
    seed: int = 0
    lr: float = 3e-4
    tower_lr: float = 3e-4
    batch_size: int = 256
    bce: float = 1.0  # weights of the three losses; 0 leaves one out
    supcon: float = 0.3
    clip: float = 1.0
    # weight, in the CLIP loss, of each film's own report with left and right exchanged, as one more wrong
    # report; 0: none
    side_negatives: float = 0.0
    # weight of the mean of further heads, one for each finding that 20 films of train have; they go when
    # training ends
    findings: float = 0.0
    supcon_temperature: float = 0.1
    dim: int | None = None  # None: the backbone's width where its towers are aligned, else 256
    hidden: int = 512
    dropout: float = 0.5
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of all steps
    balanced: bool = False  # as many normal as abnormal films in each batch
    drop_path: float = (
        0.0  # where the tower is trained: share of films for which its last block is skipped, fewer before it
    )
    # where the tower is trained: a block's learning rate, as a share of that of the block after it
    layer_decay: float = 1.0
    # where the tower is trained: trainings from the same projectors by seeds of their own, whose weights are
    # averaged
    soup: int = 1
    # decay, per step, of the moving average of all weights that is kept instead of the last ones; 0: none
    ema: float = 0.0
    micro_batch: int = 64  # films in the tower at a time, where it is trained: memory, not the result
    # where the tower is trained: the projectors alone before, so that chance does not pull at the tower
    heads_first: bool = True
    patience: int = 12  # epochs without a better validation figure before training stops
    device: str = "auto"

    def __post_init__(self) -> None:
        _require(
            self.unfreeze == "all" or self.unfreeze.isdecimal(),
            "unfreeze",
            self.unfreeze,
            "0, a number of blocks, or all",
        )
        sides = (BY_BACKBONE, *TEXT_SIDES)
        _require(self.text_side in sides, "text_side", self.text_side, ", ".join(sides))
        _require(self.pool in POOLS, "pool", self.pool, ", ".join(POOLS))
        _require(self.views in FILM_VIEWS, "views", self.views, ", ".join(FILM_VIEWS))
        for name in ("epochs", "batch_size", "micro_batch", "hidden", "patience", "soup"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("bce", "supcon", "clip", "side_negatives", "findings", "weight_decay", "kept_views"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(
            self.bce + self.supcon + self.clip > 0,
            "bce, supcon, clip",
            0,
            "at least one loss with a weight above 0",
        )
        for name in ("lr", "tower_lr"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        _require(self.via >= 0, "via", self.via, "0 or more")
        _require(
            self.render in ("voi", "percentile", "minmax"), "render", self.render, "voi, percentile or minmax"
        )
        _require(self.size is None or self.size >= 32, "size", self.size, "at least 32")
        _require(self.supcon_temperature > 0, "supcon_temperature", self.supcon_temperature, "above 0")
        _require(0 <= self.drop_path < 1, "drop_path", self.drop_path, "0 or more and below 1")
        _require(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "above 0 and at most 1")
        alike = self.trains_tower and self.heads_first
        _require(self.soup == 1 or alike, "soup", self.soup, "1, but with unfreeze and heads_first")
        _require(0 <= self.ema < 1, "ema", self.ema, "0 or more and below 1")
        _require(0 <= self.warmup < 1, "warmup", self.warmup, "0 or more and below 1")
        for field in fields(self):
            value = getattr(self, field.name)
            _require(
                not isinstance(value, float) or math.isfinite(value), field.name, value, "a finite number"
            )
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "0 or more and below 1")
        _require(self.dim is None or self.dim >= 2, "dim", self.dim, "at least 2")

    @property
    def trains_tower(self) -> bool:
        return self.unfreeze == "all" or int(self.unfreeze) > 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def text_side_for(wanted: str, aligned: bool) -> str:
    """The text side that is meant: with ``auto`` word pieces where the backbone's towers share no space
    (compact), its own transformer where they do.
    """
    if wanted != BY_BACKBONE:
        return wanted
    return "transformer" if aligned else "lexical"


def resolve(options: Mapping[str, Any], file: Path | None) -> tuple[TrainConfig, dict[str, str]]:
    """The configuration, and for each value where it came from: option, variable, file or default.

    ``options`` holds what the command line gave, None where it gave nothing. Errors: WrongOption,
    SourceUnusable (the file).
    """
    from_file = _read(file) if file else {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for field in fields(TrainConfig):
        variable = f"MTCLIP_{field.name.upper()}"
        if options.get(field.name) is not None:
            values[field.name], origins[field.name] = options[field.name], "option"
        elif os.environ.get(variable):
            values[field.name], origins[field.name] = typed(os.environ[variable]), variable
        elif field.name in from_file:
            values[field.name], origins[field.name] = from_file[field.name], str(file)
        else:
            origins[field.name] = "default"
    given = {name: _as_declared(name, value) for name, value in values.items()}
    tuned = TUNED if given.get("unfreeze", "0") != "0" else {}
    return TrainConfig(**{**tuned, **given}), {
        **origins,
        **{name: "default with unfreeze" for name in tuned if name not in given},
    }


def in_force(file: Path | None) -> dict[str, dict[str, Any]]:
    """Every setting of ``train`` with its value and origin, for ``mtclip info --config``."""
    config, origins = resolve({}, file)
    return {name: {"value": value, "origin": origins[name]} for name, value in config.to_dict().items()}


def read_toml(file: Path) -> dict[str, Any]:
    """Errors: SourceUnusable."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SourceUnusable(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise SourceUnusable(f"{file}: not TOML ({error})") from None


def _read(file: Path) -> dict[str, Any]:
    content = read_toml(file)
    check_names(content, str(file))
    return content


def check_names(given: Iterable[str], where: str) -> None:
    """Errors: WrongOption for a name that is no setting."""
    names = [field.name for field in fields(TrainConfig)]
    for name in given:
        if name not in names:
            close = get_close_matches(name, names, 1)
            raise WrongOption(
                f"{where}: unknown setting {name!r}", f"did you mean {close[0]}?" if close else None
            )


def _as_declared(name: str, value: Any) -> Any:
    """A value of the declared type; TOML and variables may give 1 for 1.0, never a word for a number."""
    kinds = [kind for kind in get_args(get_type_hints(TrainConfig)[name]) if kind is not NoneType] or [
        get_type_hints(TrainConfig)[name]
    ]
    kind = kinds[0]
    if kind is str and type(value) is int:  # unfreeze = 0
        value = str(value)
    if kind is float and type(value) is int:
        value = float(value)
    _require(type(value) is kind, name, value, f"of type {kind.__name__}")
    return value


def typed(word: str) -> Any:
    """A word as TOML would have it: true, false, a number, or else itself."""
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _require(holds: bool, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise WrongOption(f"{name} = {value!r}", f"expected {expected}")
