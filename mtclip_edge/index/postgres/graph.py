"""The HNSW index of a model's vectors in PostgreSQL: built after loading, and measured against exact search.

The index holds half-precision copies (``halfvec``); candidates are scored by the vectors themselves.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...progress import Say, silent
from ..hnsw import TARGET_RECALL
from .search import MARGIN, as_array

if TYPE_CHECKING:
    from psycopg import Connection

M, EF_CONSTRUCTION = 16, 200
EFS = (100, 200, 400, 800)  # tried in turn, until the recall is reached
QUERIES = 200  # stored vectors that the recall is measured with, moved a little
_MOVED = 0.3  # length of what moves them, of one
_SEED = 0


def index_name(stem: str) -> str:
    return f"report_hnsw_{stem}"


def is_valid(connection: "Connection[Any]", name: str) -> bool:
    """Whether an index is there, whole."""
    sql = "SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass(%s)"
    row = connection.execute(sql, (f"mtclip.{name}",)).fetchone()
    return row is not None and bool(row[0])


def drop(connection: "Connection[Any]", stem: str) -> None:
    connection.execute(f"DROP INDEX IF EXISTS {index_name(stem)}")


def build(connection: "Connection[Any]", stem: str, dim: int) -> None:
    """Build the index of reports; what a killed build left is removed first."""
    drop(connection, stem)
    with connection.transaction():
        _more_memory(connection, stem)
        connection.execute(
            f"CREATE INDEX {index_name(stem)} ON report_vector_{stem} USING hnsw ((vec::halfvec({dim}))"
            f" halfvec_ip_ops) WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
        )
    connection.execute(f"ANALYZE report_vector_{stem}")


def _more_memory(connection: "Connection[Any]", stem: str) -> None:
    """Enough for the whole graph: beyond it a build slows down."""
    ((size,),) = connection.execute(
        "SELECT pg_table_size(to_regclass(%s))", (f"mtclip.report_vector_{stem}",)
    ).fetchall()
    wanted = min(max(64, 2 * int(size) // 1_000_000), 16_000)
    connection.execute(f"SET LOCAL maintenance_work_mem = '{wanted}MB'")
    # Workers of a parallel build share memory that some systems (containers) do not give.
    if wanted > 64:
        connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")


def measure(
    connection: "Connection[Any]", model_id: str, stem: str, dim: int, say: Say = silent
) -> float | None:
    """The recall@10 of the index, stored with the model and the narrowest search that reaches 0.99; None
    without reports.
    """
    queries = _queries(connection, stem)
    if not len(queries):
        return None
    tenth = [_tenth(connection, stem, query) for query in queries]
    ef, recall = EFS[0], 0.0
    for ef in EFS:
        recall = float(
            np.mean([_found(connection, stem, dim, q, t, ef) for q, t in zip(queries, tenth, strict=True)])
        )
        if recall >= TARGET_RECALL:
            break
    connection.execute(
        "UPDATE model SET ef = %s, recall = %s, recall_queries = %s WHERE id = %s",
        (ef, recall, len(queries), model_id),
    )
    short = "" if recall >= TARGET_RECALL else f", less than {TARGET_RECALL}: --exact compares all"
    say(f"recall@10 against exact search: {recall:.4f} (ef {ef}, {len(queries)} queries){short}")
    return recall


def _queries(connection: "Connection[Any]", stem: str) -> np.ndarray:
    """Films are what will be asked, float32 [n, dim]; without any, reports, each moved so that none finds
    itself at distance zero.
    """
    for kind in ("film", "report"):
        sql = f"SELECT vec FROM {kind}_vector_{stem} ORDER BY hashint8(row) LIMIT %s"
        if found := connection.execute(sql, (QUERIES,), binary=True).fetchall():
            break
    if not found:
        return np.zeros((0, 1), np.float32)
    if kind == "film":
        return np.stack([as_array(vector) for (vector,) in found])
    table = np.stack([as_array(vector) for (vector,) in found])
    noise = np.random.default_rng(_SEED).normal(size=table.shape)
    moved = table + _MOVED * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def _tenth(connection: "Connection[Any]", stem: str, query: np.ndarray) -> float:
    """The exact score of the tenth nearest, or of the last."""
    from pgvector import Vector

    sql = (
        f"WITH scored AS MATERIALIZED (SELECT -(vec <#> %s) AS score FROM report_vector_{stem}) SELECT"
        " min(score) FROM (SELECT score FROM scored ORDER BY score DESC LIMIT 10) best"
    )
    ((score,),) = connection.execute(sql, (Vector(query),)).fetchall()
    return float(score)


def _found(
    connection: "Connection[Any]", stem: str, dim: int, query: np.ndarray, tenth: float, ef: int
) -> float:
    """The share of the exact first ten among the candidates that a search of ten has; ties count as found."""
    from pgvector import Vector

    half = f"%(query)s::vector({dim})::halfvec({dim})"
    sql = (
        f"SELECT -(vec <#> %(query)s) FROM (SELECT vec FROM report_vector_{stem} ORDER BY"
        f" vec::halfvec({dim}) <#> {half} LIMIT {10 + MARGIN}) nearest"
    )
    with connection.transaction():
        connection.execute(f"SET LOCAL hnsw.ef_search = {ef}")
        connection.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        connection.execute("SET LOCAL enable_seqscan = off")
        found = connection.execute(sql, {"query": Vector(query)}).fetchall()
    scores = sorted((float(score) for (score,) in found), reverse=True)[:10]
    return sum(score >= tenth - 1e-6 for score in scores) / len(scores)
