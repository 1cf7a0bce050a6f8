"""Turns one split of the studies into tensors, orders its rows for an epoch, and chooses the device they
are trained on.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mtclip_edge.errors import BackboneUnusable, DeviceUnavailable, not_among
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.progress import Progress, Say, silent
from mtclip_edge.studies import LABEL_CODES, view_code
from mtclip_edge.train.settings import TrainConfig

from .backbones.backbone import Backbone
from .fine_tuning import FineTunedTower, load_pixels
from .side import exchanged, leans
from .tower_features import film_features, report_features

# Of a text's length: two that differ by less are one text to the text side.
_SAME_TEXT = 1e-5


@dataclass(frozen=True)
class Table:
    """One split as tensors: a row for each film that could be read.

    ``film`` float32 [rows, width], or squashed films uint8 [rows, size, size] where the tower is trained;
    ``text`` float32 [reports, width]; ``report`` int64 [rows] into ``text``, -1 without text; ``label`` int64
    [rows], 0 normal, 1 abnormal, -1 unknown.
    """

    cases: Cases
    film: Tensor
    text: Tensor
    report: Tensor
    label: Tensor
    problems: tuple[str, ...]
    exchanged: "Exchanged | None" = None

    @cached_property
    def view(self) -> Tensor:
        """What is known of each film's view, int64 [rows]: 1 lateral, 0 any other."""
        codes = [view_code(film.view) for film in self.cases.films]
        return torch.tensor(codes, dtype=torch.int64, device=self.label.device)


@dataclass(frozen=True)
class Exchanged:
    """Reports of a table with left and right exchanged: ``text`` float32 [exchanged, width], ``row`` int64
    [reports] into it, -1 for a report that is the same either way.
    """

    text: Tensor
    row: Tensor

    @classmethod
    def of(cls, backbone: Backbone, table: Table, progress: Progress) -> "Exchanged":
        """Those that name one side more often than the other, and that the text side tells from their
        exchange.
        """
        texts = table.cases.texts
        asked = [i for i, text in enumerate(texts) if leans(text)]
        device = table.text.device
        features = torch.from_numpy(
            report_features(backbone, [exchanged(texts[i]) for i in asked], progress, device)
        ).to(device)
        own = table.text[asked]
        told = (features - own).norm(dim=1) > _SAME_TEXT * own.norm(dim=1)
        row = torch.full((len(texts),), -1, dtype=torch.int64, device=device)
        row[torch.tensor(asked, dtype=torch.int64, device=device)[told]] = torch.arange(
            int(told.sum()), device=device
        )
        return cls(features[told], row)


def with_exchanged(config: TrainConfig, backbone: Backbone, table: Table, progress: Progress) -> Table:
    """The table with its reports' exchanges, where the settings want them for the CLIP loss."""
    if not (config.side_negatives and config.clip):
        return table
    return replace(table, exchanged=Exchanged.of(backbone, table, progress))


def prepared(backbone: Backbone, size: int | None, via: int, render: str = "voi") -> Backbone:
    """The backbone with films of another size (a CNN takes any; None: its own), which larger films reach by
    way of ``via`` pixels.

    ``render``: how DICOM films become grey before.
    """
    if size is not None:
        _try(backbone, size)
    size = size or backbone.preprocessing.size
    return replace(
        backbone,
        preprocessing=replace(
            backbone.preprocessing, size=size, via=via if via >= size else 0, render=render
        ),
    )


def _try(backbone: Backbone, size: int) -> None:
    try:
        with torch.inference_mode():
            backbone.film_tower(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise BackboneUnusable(
            f"{backbone.name}: its film tower takes no films of {size} pixels", str(error)[:200]
        ) from None


def tabulate(
    backbone: Backbone,
    cases: Cases,
    progress: Progress,
    device: torch.device,
    tower: FineTunedTower | None = None,
    say: Say = silent,
) -> Table:
    """Tower outputs of all films and reports of the cases; with a tower to train, the films themselves."""
    paths = [film.path for film in cases.films]
    if tower is None:
        features = film_features(backbone, paths, progress, device, say)
        films, rows, problems = (
            torch.from_numpy(features.vectors).to(device),
            features.rows,
            features.problems,
        )
    else:
        pixels = load_pixels(paths, backbone.preprocessing, progress)
        films, rows, problems = pixels.grey, pixels.rows, pixels.problems
    cases = cases.only(np.flatnonzero(rows >= 0))
    column = {report.report_id: i for i, report in enumerate(cases.reports)}
    return Table(
        cases=cases,
        film=films[torch.from_numpy(rows[rows >= 0])],
        text=torch.from_numpy(report_features(backbone, cases.texts, progress, device)).to(device),
        report=torch.tensor(
            [column.get(s.report_id or "", -1) for s in cases.studies], dtype=torch.int64, device=device
        ),
        label=torch.tensor([LABEL_CODES[s.label] for s in cases.studies], dtype=torch.int64, device=device),
        problems=problems,
    )


def choose_device(requested: str) -> tuple[torch.device, str]:
    """A torch device and the reason. Errors: WrongOption, DeviceUnavailable."""
    if requested not in ("auto", "cpu", "cuda"):
        raise not_among("device", requested, ("auto", "cpu", "cuda"))
    if requested == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "device cuda was asked for, and torch finds no CUDA device", hint="use --device cpu"
        )
    if requested == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu"), "asked for" if requested == "cpu" else "torch finds no CUDA device"
    return torch.device(
        "cuda"
    ), "asked for" if requested == "cuda" else f"torch finds {torch.cuda.get_device_name()}"


def epoch_order(label: Tensor, balanced: bool) -> Tensor:
    """Row numbers of one epoch, int64 [rows], drawn from torch's generator. ``label`` as in the losses.

    Balanced: as many normal as abnormal rows, spread evenly, so that every batch holds both classes in like
    numbers; the epoch keeps its length, the smaller class is repeated and of the larger a part is left out,
    another one each time. Unknown rows keep their share.
    """
    normal, abnormal, unknown = ((label.cpu() == code).nonzero().squeeze(1) for code in (0, 1, -1))
    if not balanced or not len(normal) or not len(abnormal):
        return torch.randperm(len(label))
    half = (len(normal) + len(abnormal)) // 2
    parts = [
        _drawn(normal, half),
        _drawn(abnormal, len(normal) + len(abnormal) - half),
        _drawn(unknown, len(unknown)),
    ]
    place = torch.cat(
        [(torch.arange(len(part)) + torch.rand(len(part))) / max(1, len(part)) for part in parts]
    )
    return torch.cat(parts)[place.argsort()]


def _drawn(rows: Tensor, count: int) -> Tensor:
    """``count`` of some rows in random order; each is used again only after all the others."""
    if not count:
        return rows[:0]
    rounds = -(-count // len(rows))
    return torch.cat([rows[torch.randperm(len(rows))] for _ in range(rounds)])[:count]
