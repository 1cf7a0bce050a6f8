"""``mtclip index export``: a bundle's reports, studies, films and embeddings as Parquet, a table each,
written in pieces.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import Refused
from ..files import private_dir, replace_with
from ..index.store_schema import open_store
from ..sources.tables import parquet_library
from .vectors import IndexFiles

ROWS = 10_000
Rows = tuple[Sequence[Any], np.ndarray | None]  # some rows, and a vector for each
_TABLES = {
    "reports": (
        (
            "SELECT row, report_id, text, findings, impression, label, normal, abnormal, unknown FROM report "
            "ORDER BY row"
        ),
        ("row", "report_id", "text", "findings", "impression", "label", "normal", "abnormal", "unknown"),
    ),
    "studies": (
        "SELECT s.study_id, patient_id, report_id, coalesce(w.text, r.text), s.label, source, split, date,"
        " (SELECT group_concat(name, '|') FROM finding f WHERE f.study_id = s.study_id)"
        " FROM study s LEFT JOIN report r ON r.row = report_row LEFT JOIN wording w ON w.study_id = "
        "s.study_id ORDER BY s.study_id",
        (
            "study_id",
            "patient_id",
            "report_id",
            "report",
            "label",
            "source",
            "split",
            "date",
            "finding_labels",
        ),
    ),
    "films": (
        "SELECT row, study_id, name, view FROM film ORDER BY row",
        ("row", "study_id", "image_path", "view"),
    ),
}


def export_parquet(path: Path, to: Path) -> list[str]:
    """Write a new folder, all of it or none; returns a line for each file.

    Errors: ExtraMissing (pyarrow), Refused (it is there).
    """
    parquet_library()
    bundle = Bundle.open(path)
    parts = IndexFiles.of(bundle)
    embedded = {"reports": parts.report_vectors, "films": parts.film_vectors, "studies": None}
    return write_tables(
        to,
        {
            name: (columns, partial(_parts, parts.store, query, embedded[name]))
            for name, (query, columns) in _TABLES.items()
        },
    )


def write_tables(
    to: Path, tables: Mapping[str, tuple[Sequence[str], Callable[[], Iterator[Rows]]]]
) -> list[str]:
    """Write a new folder of tables, each by its columns and what gives its rows, all of it or none; returns a
    line for each file.

    Errors: ExtraMissing (pyarrow), Refused (it is there).
    """
    parquet_library()
    if to.exists():
        raise Refused(f"{to}: is there already", hint="name a new folder with --to")
    private_dir(to.parent)
    temporary = to.with_name(f".{to.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed export left
    try:
        private_dir(temporary)
        lines = [
            f"{to / f'{name}.parquet'}: {_table(temporary, name, columns, rows())} rows"
            for name, (columns, rows) in tables.items()
        ]
        temporary.rename(to)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return lines


def _table(folder: Path, name: str, columns: Sequence[str], parts: Iterator[Rows]) -> int:
    """Write one table; its ``embedding`` column, where there are vectors, holds unit vectors, float32 lists
    of one length.
    """
    pa, parquet = parquet_library()
    numbers = {"row", "normal", "abnormal", "unknown"}
    fields = [pa.field(column, pa.int64() if column in numbers else pa.string()) for column in columns]
    rows = 0

    def write(file: Path) -> None:
        nonlocal rows
        first, vectors = next(parts)
        if vectors is not None:
            fields.append(pa.field("embedding", pa.list_(pa.float32(), vectors.shape[1])))
        schema = pa.schema(fields)
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for part, of_part in chain([(first, vectors)], parts):
                if not part:
                    continue
                data = [
                    pa.array(values, field.type)
                    for values, field in zip(zip(*part, strict=True), fields, strict=False)
                ]
                if of_part is not None:
                    flat = pa.array(np.ascontiguousarray(of_part, np.float32).reshape(-1), pa.float32())
                    data.append(pa.FixedSizeListArray.from_arrays(flat, of_part.shape[1]))
                writer.write_table(pa.Table.from_arrays(data, schema=schema))
                rows += len(part)

    replace_with(folder / f"{name}.parquet", write)
    return rows


def _parts(store: Path, query: str, vectors: np.ndarray | None) -> Iterator[Rows]:
    """In pieces; the first is there, if empty, so that the columns are known."""
    with closing(open_store(store)) as db:
        cursor, start = db.execute(query), 0
        while (part := cursor.fetchmany(ROWS)) or not start:
            yield part, None if vectors is None else vectors[start : start + len(part)]
            start += len(part) or 1
