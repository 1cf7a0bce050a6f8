"""Leaks: a patient or an identical film on both sides of a split makes every figure too good."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from ..films import archives
from ..sources.source import Reading
from ..studies import SPLITS, Study


def between_splits(reading: Reading) -> list[str]:
    """What two splits of one source share, a line for each pair of splits; empty where nothing is."""
    leaks = []
    for i, a in enumerate(SPLITS):
        for b in SPLITS[i + 1 :]:
            leaks += _shared(reading.split(a), reading.split(b), f"the splits {a} and {b} of {reading.spec}")
    return leaks


def with_training(evaluated: Sequence[Study], trained: Sequence[Study], run: str) -> list[str]:
    """What the studies evaluated share with those that a run was trained on."""
    return _shared(evaluated, trained, f"these studies and what {run} was trained on")


def between_tables(reading: Reading) -> list[str]:
    """Patients in two splits of several sources, which need no film to be read; a line for each pair of
    splits.
    """
    lines = []
    for i, a in enumerate(SPLITS):
        for b in SPLITS[i + 1 :]:
            if patients := shared_patients(reading.split(a), reading.split(b)):
                lines.append(
                    f"{len(patients)} patients are in the splits {a} and {b} of {reading.spec}, the first "
                    f"{min(patients)}"
                )
    return lines


def shared_patients(one: Iterable[Study], other: Iterable[Study]) -> set[str]:
    """Ids of the persons that both have: an id is one person within a source, a folder of tables, or a
    word of their column source.
    """
    persons = {(registry, study.patient_id) for study in one for registry in registries(study)}
    return {
        study.patient_id
        for study in other
        if any((registry, study.patient_id) in persons for registry in registries(study))
    }


def same_numbers(one: Sequence[Study], other: Sequence[Study]) -> int:
    """How many patient ids both have of what are different persons, since their sources are different."""
    return len(
        ({study.patient_id for study in one} & {study.patient_id for study in other})
        - shared_patients(one, other)
    )


def registries(study: Study) -> tuple[str, ...]:
    """The sets within which the study's patient id is one person."""
    return study.registries or (study.source,)


def _shared(one: Sequence[Study], other: Sequence[Study], where: str) -> list[str]:
    patients = shared_patients(one, other)
    films = _same_films(one, other)
    leaks = []
    if patients:
        leaks.append(f"{len(patients)} patients are in {where}, the first {min(patients)}")
    if films:
        leaks.append(f"{len(films)} identical films are in {where}, the first {min(films)}")
    return leaks


def _same_films(one: Iterable[Study], other: Iterable[Study]) -> set[str]:
    """Names of the films of ``one`` whose bytes ``other`` has too. Only files of the same size are read."""
    a, b = _by_size(one), _by_size(other)
    twins: set[str] = set()
    for size in a.keys() & b.keys():
        theirs = {_digest(path) for _, path in b[size]} - {None}
        twins |= {name for name, path in a[size] if _digest(path) in theirs}
    return twins


def _by_size(studies: Iterable[Study]) -> dict[int, list[tuple[str, Path]]]:
    sizes: dict[int, list[tuple[str, Path]]] = {}
    for study in studies:
        for film in study.films:
            try:
                sizes.setdefault(archives.size(film.path), []).append((film.name, film.path))
            except OSError:
                continue  # a film that is missing leaks nothing; who reads it says so
    return sizes


def _digest(path: Path) -> bytes | None:
    try:
        return sha256(archives.read_bytes(path)).digest()
    except OSError:
        return None
