"""Studies with their vectors as files: a folder of shards, each one Parquet file, whole or absent.

``embedded.json`` names them all before the first is written; a shard is named by what goes into it, so that
whoever makes it, and however often, it is the same one. A folder like this is a source for ``index build``
and ``index add`` that needs neither towers nor films.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArtefactDamaged, ArtefactIncompatible, Refused
from ..fields import Fields, Mistyped
from ..files import private_dir, replace_with, write_bytes
from ..sources.tables import parquet_library
from ..studies import Film, Study

PLAN, SCHEMA = "embedded.json", "mtclip.embedded/1"
STUDIES = 256  # of a shard
_MOST = 10_000_000  # shards


@dataclass(frozen=True)
class Shard:
    """Some studies, and the name of the file that holds them with their vectors."""

    name: str
    studies: tuple[Study, ...]


@dataclass(frozen=True)
class ShardVectors:
    """Of a shard: float32 [studies, dim] of the reports, rows of studies without one not told; float32
    [films, dim] in the order of studies and films, and why a film has none, empty where it has.
    """

    reports: np.ndarray
    films: np.ndarray
    problems: tuple[str, ...]


def planned(studies: Sequence[Study], model_id: str, of: int = STUDIES) -> list[Shard]:
    """How studies are divided, in the order of their ids: the same for the same studies and model."""
    ordered = sorted(studies, key=lambda study: study.study_id)
    parts = (tuple(ordered[start : start + of]) for start in range(0, len(ordered), of))
    return [Shard(_name(part, model_id), part) for part in parts]


def _name(studies: Sequence[Study], model_id: str) -> str:
    digest = hashlib.sha256(model_id.encode())
    for study in studies:
        digest.update(_as_json(study).encode())
    return f"part-{digest.hexdigest()[:16]}.parquet"


def _as_json(study: Study) -> str:
    values = asdict(study)
    values["films"] = [[str(film.path), film.name, film.view] for film in study.films]
    return json.dumps(values, ensure_ascii=False, sort_keys=True, default=list)


def _from_json(text: str) -> Study:
    values = json.loads(text)
    films = tuple(Film(Path(path), name, view) for path, name, view in values.pop("films"))
    for name in ("finding_labels", "registries"):
        values[name] = tuple(values[name])
    return Study(films=films, **values)


def write_plan(folder: Path, model_id: str, shards: Sequence[Shard]) -> None:
    """Say what the folder will hold. Errors: Refused where it holds something else already."""
    document = {"schema": SCHEMA, "model_id": model_id, "shards": [shard.name for shard in shards]}
    data = (json.dumps(document, indent=1) + "\n").encode()
    file = folder / PLAN
    private_dir(folder)
    if file.exists():
        if file.read_bytes() != data:
            hint = "name a new folder with --out"
            raise Refused(f"{folder}: holds another source, or vectors of another model", hint=hint)
        return
    write_bytes(file, data)


def write_shard(folder: Path, shard: Shard, vectors: ShardVectors, model_id: str) -> None:
    """Errors: OSError, ExtraMissing."""
    arrow, parquet = parquet_library()
    width = vectors.reports.shape[1]
    without = np.array([study.report_id is None for study in shard.studies])
    counts = [len(study.films) for study in shard.studies]
    films = _vectors(arrow, vectors.films, np.array([bool(why) for why in vectors.problems], bool))
    members = [films, arrow.array(vectors.problems, arrow.string())]
    struct = arrow.StructArray.from_arrays(members, ["vector", "problem"])
    offsets = arrow.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    table = arrow.table(
        {
            "study_id": [study.study_id for study in shard.studies],
            "study": [_as_json(study) for study in shard.studies],
            "report_vector": _vectors(arrow, vectors.reports, without),
            "films": arrow.ListArray.from_arrays(offsets, struct),
        }
    ).replace_schema_metadata({"model_id": model_id, "schema": SCHEMA, "width": str(width)})
    replace_with(folder / shard.name, lambda temporary: parquet.write_table(table, temporary))


def _vectors(arrow: Any, rows: np.ndarray, without: np.ndarray) -> Any:
    values = arrow.array(np.ascontiguousarray(rows, np.float32).reshape(-1))
    return arrow.FixedSizeListArray.from_arrays(values, rows.shape[1], mask=arrow.array(without))


def is_embedded(path: Path) -> bool:
    """Whether a folder holds shards."""
    return (path / PLAN).is_file()


@dataclass(frozen=True)
class EmbeddedFolder:
    """A folder of shards, all of which are there."""

    path: Path
    model_id: str
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> "EmbeddedFolder":
        """Errors: ArtefactDamaged, Refused where shards are missing."""
        try:
            fields = Fields(json.loads((path / PLAN).read_bytes()))
            fields.one_of("schema", (SCHEMA,))
            found = cls(path, fields.text("model_id"), fields.texts("shards", _MOST))
        except (OSError, ValueError, Mistyped) as error:
            raise ArtefactDamaged(f"{path / PLAN}: damaged ({type(error).__name__})") from None
        there = {file.name for file in path.iterdir()}
        if missing := [name for name in found.names if name not in there]:
            what = f"{path}: {len(missing)} of {len(found.names)} shards are not there yet"
            raise Refused(what, hint="run the same mtclip embed again: it goes on where it was")
        return found

    def check_model(self, model_id: str) -> None:
        """Errors: ArtefactIncompatible for vectors of another model."""
        if self.model_id != model_id:
            raise ArtefactIncompatible(
                f"{self.path}: embedded by another model",
                f"expected {model_id[:23]}, found {self.model_id[:23]}",
            )

    @property
    def dim(self) -> int:
        """Numbers of a vector. Errors: ArtefactDamaged, ExtraMissing."""
        _, parquet = parquet_library()
        file = self.path / self.names[0]
        try:
            return int(parquet.read_schema(file).metadata[b"width"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(file, error) from None

    @cached_property
    def read(self) -> "tuple[tuple[Study, ...], KnownVectors]":
        """All studies with their vectors. Errors: ArtefactDamaged, ExtraMissing."""
        studies: list[Study] = []
        known = KnownVectors({}, {}, {})
        for some, vectors in self.shards():
            studies += some
            known.texts.update(vectors.texts)
            known.films.update(vectors.films)
            known.problems.update(vectors.problems)
        return tuple(studies), known

    def shards(self) -> "Iterator[tuple[list[Study], KnownVectors]]":
        """The same, shard by shard."""
        for name in self.names:
            studies: list[Study] = []
            known = KnownVectors({}, {}, {})
            for study, report, films in _rows(self.path / name):
                studies.append(study)
                if report is not None:
                    known.texts[study.tower_text] = report
                for film, (vector, problem) in zip(study.films, films, strict=True):
                    if vector is None:
                        known.problems[film.path] = problem
                    else:
                        known.films[film.path] = vector
            yield studies, known


@dataclass(frozen=True)
class KnownVectors:
    """Vectors float32 [dim] of texts as a tower reads them, and of films by their paths; why a film has
    none.
    """

    texts: dict[str, np.ndarray]
    films: dict[Path, np.ndarray]
    problems: dict[Path, str]


Row = tuple[Study, np.ndarray | None, list[tuple[np.ndarray | None, str]]]


def _rows(file: Path) -> Iterator[Row]:
    _, parquet = parquet_library()
    try:
        table = parquet.read_table(file, memory_map=False)
        width = int(table.schema.metadata[b"width"])
        reports, films = (table[name].combine_chunks() for name in ("report_vector", "films"))
        vectors = _dense(reports, width)
        within = films.values
        of_films = _dense(within.field("vector"), width)
        there = np.asarray(within.field("vector").is_valid())
        problems = within.field("problem").to_pylist()
        offsets = np.asarray(films.offsets)
        told = np.asarray(reports.is_valid())
        for place, text in enumerate(table["study"].to_pylist()):
            span = range(offsets[place], offsets[place + 1])
            members = [(of_films[row] if there[row] else None, problems[row]) for row in span]
            yield _from_json(text), vectors[place] if told[place] else None, members
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # pyarrow's are ValueErrors
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> ArtefactDamaged:
    return ArtefactDamaged(f"{file}: damaged ({type(error).__name__})", hint="delete it and embed again")


def _dense(array: Any, width: int) -> np.ndarray:
    """float32 [rows, width]; rows without a value hold anything."""
    return np.asarray(array.values, np.float32)[array.offset * width :].reshape(-1, width)
