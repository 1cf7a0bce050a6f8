"""What makes a shard, whichever engine asks: both towers of a bundle on one processor, and one thread."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..inference.device import choose
from ..inference.encoders import open_exact_encoders
from ..studies import Film, Study
from .embedder import Embedder
from .shards import Shard, ShardVectors, write_shard

CRASHES = 3  # a shard that brings down its process as often is left


@dataclass(frozen=True)
class ShardMaker:
    """The towers of one process, and the name of their model."""

    embedder: Embedder
    model_id: str

    @classmethod
    def open(cls, bundle: Path) -> "ShardMaker":
        """In a process of its own, which keeps to one processor from then on.

        Errors: TextTowerMissing, ArtefactDamaged.
        """
        take_processor()
        opened = Bundle.open(bundle)
        films, texts = open_exact_encoders(opened, choose("cpu"))
        return cls(Embedder(films, texts, opened.model.dim), opened.model.model_id)

    def make(self, shard: Shard, out: Path) -> None:
        """Where it is not there yet. Errors: OSError, ExtraMissing."""
        if not (out / shard.name).exists():
            write_shard(out, shard, vectors_of(self.embedder, shard.studies), self.model_id)


def missing(shards: Sequence[Shard], out: Path) -> list[Shard]:
    """Those that are not there yet."""
    return [shard for shard in shards if not (out / shard.name).exists()]


def take_processor() -> None:
    """Keep this process to one processor that no other maker of this machine has, of whatever run; any where
    all are taken. So whatever starts threads by the number of processors starts one.
    """
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        free = next(filter(_taken, processors), processors[os.getpid() % len(processors)])
        os.sched_setaffinity(0, {free})


_held: list[socket.socket] = []


def _taken(processor: int) -> bool:
    """Take it, unless it is taken. A socket's name without a file is the system's to give back, however the
    process ends; nobody listens on it.
    """
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0mtclip-maker-{processor}")
    except OSError:
        name.close()
        return False
    _held.append(name)
    return True


def vectors_of(embedder: Embedder, studies: Sequence[Study]) -> ShardVectors:
    """Each text once, however many studies share it."""
    words = list(dict.fromkeys(study.tower_text for study in studies if study.report_id))
    vectors = embedder.embed_texts(words)
    row = {text: place for place, text in enumerate(words)}
    reports = np.zeros((len(studies), embedder.dim), np.float32)
    for place, study in enumerate(studies):
        if study.report_id:
            reports[place] = vectors[row[study.tower_text]]
    films = [film for study in studies for film in study.films]
    return ShardVectors(reports, *_films(embedder, films))


def _films(embedder: Embedder, films: Sequence[Film]) -> tuple[np.ndarray, tuple[str, ...]]:
    embedded = embedder.embed_films(films)
    table = np.zeros((len(films), embedder.dim), np.float32)
    table[embedded.read] = embedded.vectors
    why = iter(embedded.problems)
    read = set(embedded.read.tolist())
    return table, tuple("" if place in read else next(why, "cannot be read") for place in range(len(films)))
