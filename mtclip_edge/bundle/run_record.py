"""Reads and writes what a run's ``run.json`` says, as types: one reader that checks every value, one writer.

Needs no torch.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ArtefactDamaged, ArtefactIncompatible
from ..fields import Fields, Mistyped
from ..files import write_bytes
from .records import BackboneRecord, CalibrationRecord, MetricsRecord, PreprocessingRecord

FORMAT = 1
RUN = "run.json"
_MOST_WIDTH = 16_384
_MOST_ROWS = 10**10  # studies, films
Setting = str | int | float | bool | None


@dataclass(frozen=True)
class ConfigRecord:
    """What training was told: the weights of the three losses and the seed, and ``settings``, all of it
    by name.
    """

    bce: float
    supcon: float
    clip: float
    seed: int
    settings: Mapping[str, Setting]

    @classmethod
    def read(cls, f: Fields) -> "ConfigRecord":
        losses = f.number("bce", 0), f.number("supcon", 0), f.number("clip", 0)
        return cls(*losses, f.integer("seed", -(2**53)), {name: f.scalar(name) for name in f.names(200)})


@dataclass(frozen=True)
class RunBackboneRecord:
    """Whose weights were trained on: as the bundle will name them, and ``spec``, how ``train`` was told
    to find them.
    """

    spec: str
    record: BackboneRecord
    weights_sha256: str | None = None

    @classmethod
    def read(cls, f: Fields) -> "RunBackboneRecord":
        return cls(f.text("spec", most=5000), BackboneRecord.read(f), f.text_or_none("weights_sha256", 200))

    def to_dict(self) -> dict[str, Any]:
        return {"spec": self.spec, "weights_sha256": self.weights_sha256, **self.record.to_dict()}


@dataclass(frozen=True)
class ShapeRecord:
    """What ``train.projector.ProjectorShape`` is made of."""

    film_width: int
    text_width: int
    hidden: int
    dim: int
    residual: bool
    dropout: float
    words_width: int = 0
    views: bool = False

    @classmethod
    def read(cls, f: Fields) -> "ShapeRecord":
        film, text = f.integer("film_width", 1, _MOST_WIDTH), f.integer("text_width", 1, _MOST_WIDTH)
        hidden, dim = f.integer("hidden", 1, _MOST_WIDTH), f.integer("dim", 1, _MOST_WIDTH)
        words = f.integer("words_width", 0, _MOST_WIDTH, default=0)
        views = f.flag("views", default=False)
        return cls(film, text, hidden, dim, f.flag("residual"), f.number("dropout", 0, 1), words, views)

    def to_dict(self) -> dict[str, Any]:
        """JSON as in the file; where no view was trained as before there were any."""
        return {name: value for name, value in asdict(self).items() if name != "views" or value}


@dataclass(frozen=True)
class DataRecord:
    """What was trained on: sources with absolute paths, studies of each split, films of train and
    validation, what was left out.
    """

    sources: tuple[str, ...]
    studies: Mapping[str, int]
    films: Mapping[str, int]
    bad_rows: int = 0
    unreadable_films: int = 0

    @classmethod
    def read(cls, f: Fields) -> "DataRecord":
        studies = f.inside(
            "studies",
            lambda g: {name: g.integer(name, 0, _MOST_ROWS) for name in ("train", "validation", "test")},
        )
        films = f.inside(
            "films", lambda g: {name: g.integer(name, 0, _MOST_ROWS) for name in ("train", "validation")}
        )
        return cls(
            f.texts("sources"),
            studies,
            films,
            f.integer("bad_rows", default=0),
            f.integer("unreadable_films", default=0),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "sources": list(self.sources),
            "studies": dict(self.studies),
            "films": dict(self.films),
        }


@dataclass(frozen=True)
class DeviceRecord:
    """Where it was trained, and why there."""

    used: str
    why: str

    @classmethod
    def read(cls, f: Fields) -> "DeviceRecord":
        return cls(f.text("used", most=100), f.text("why", most=500))


@dataclass(frozen=True)
class RunRecord:
    """``validation``: figures of the best epoch. ``origins``: where each setting came from. ``seconds`` by
    part of the work.

    ``weights_sha256`` is empty until the weights are written. ``more``: fields that this version does not
    know.
    """

    notice: str
    made_by: Mapping[str, str]
    config: ConfigRecord
    origins: Mapping[str, str]
    backbone: RunBackboneRecord
    preprocessing: PreprocessingRecord
    shape: ShapeRecord
    data: DataRecord
    device: DeviceRecord | None
    best_epoch: int
    epochs_run: int
    validation: MetricsRecord
    calibration: CalibrationRecord | None
    seconds: Mapping[str, float]
    weights_sha256: str = ""
    tower_sha256: str | None = None
    words_sha256: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, values: Any) -> "RunRecord":
        """From parsed JSON. Errors: Mistyped, naming the field."""
        f = Fields(values)
        f.integer("format", 1, FORMAT)
        epochs = f.integer("epochs_run", 1, 1_000_000)
        record = cls(
            notice=f.text("notice", ""),
            made_by=f.texts_by_name("made_by", 20, default={}),
            config=f.inside("config", ConfigRecord.read),
            origins=f.texts_by_name("origins", 200, default={}),
            backbone=f.inside("backbone", RunBackboneRecord.read),
            preprocessing=f.inside("preprocessing", PreprocessingRecord.read),
            shape=f.inside("shape", ShapeRecord.read),
            data=f.inside("data", DataRecord.read),
            device=f.inside_or_none("device", DeviceRecord.read),
            best_epoch=f.integer("best_epoch", 1, epochs),
            epochs_run=epochs,
            validation=f.inside("validation", MetricsRecord.read),
            calibration=f.inside_or_none("calibration", CalibrationRecord.read),
            seconds=f.inside_or_none("seconds", _seconds) or {},
            weights_sha256=f.sha256("weights_sha256"),
            tower_sha256=f.sha256("tower_sha256") if f.given("tower_sha256") else None,
            words_sha256=f.sha256("words_sha256") if f.given("words_sha256") else None,
        )
        return replace(record, more=f.rest())

    def to_dict(self) -> dict[str, Any]:
        """JSON as in the file."""
        return {
            "format": FORMAT,
            "notice": self.notice,
            "made_by": dict(self.made_by),
            "config": dict(self.config.settings),
            "origins": dict(self.origins),
            "backbone": self.backbone.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "shape": self.shape.to_dict(),
            "data": self.data.to_dict(),
            "device": self.device and asdict(self.device),
            "best_epoch": self.best_epoch,
            "epochs_run": self.epochs_run,
            "validation": self.validation.to_dict(),
            "calibration": self.calibration and self.calibration.to_dict(),
            "seconds": dict(self.seconds),
            "weights_sha256": self.weights_sha256,
            "tower_sha256": self.tower_sha256,
            "words_sha256": self.words_sha256,
            **self.more,
        }


def read_run_record(folder: Path) -> RunRecord:
    """The record of a finished run.

    Errors: FileNotFoundError, NotADirectoryError, ArtefactDamaged, ArtefactIncompatible.
    """
    file = folder / RUN
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise ArtefactDamaged(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise ArtefactDamaged(f"{file}: not JSON") from None
    newer = values.get("format") if isinstance(values, dict) else None
    if isinstance(newer, int) and newer > FORMAT:
        raise ArtefactIncompatible(
            f"{folder}: run format {str(newer)[:20]}, this version reads {FORMAT}", hint="upgrade mtclip-edge"
        )
    try:
        return RunRecord.read(values)
    except Mistyped as error:
        raise ArtefactDamaged(f"{file}: not the record of a run ({error})") from None


def write_run_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``, whole or not at all."""
    write_bytes(folder / RUN, (json.dumps(record.to_dict(), indent=1) + "\n").encode())


def _seconds(f: Fields) -> dict[str, float]:
    return {name: f.number(name, 0) for name in f.names(20)}
