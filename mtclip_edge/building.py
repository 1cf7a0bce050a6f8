"""Studies to the searchable part of a bundle: store, vectors and HNSW graph of one generation. Needs the bundle's own encoders only."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle, commit, forget, next_generation, writing
from .device import choose
from .durable import replace_with
from .encoder import FilmEncoder, TextEncoder
from .errors import FilmUnreadable, SourceUnusable
from .images import read_film
from .index import build_graph
from .reports import write_store
from .retriever import open_text_encoder
from .studies import DistinctReport, Film, Study, distinct_reports

Progress = Callable[[str, int, int], None]  # what, done, total
Say = Callable[[str], None]
FILM_BATCH, TEXT_BATCH = 16, 64
MOST_RECALL_QUERIES = 500


@dataclass(frozen=True)
class Built:
    """What one build wrote: file names, the manifest's ``index`` entry, and the films that could not be read."""

    names: tuple[str, ...]
    record: dict[str, Any]
    problems: tuple[str, ...]


def rebuild(
    path: Path, studies: Sequence[Study], *, device: str = "auto", progress: Progress = lambda *_: None, say: Say = lambda _: None
) -> Bundle:
    """Replace a bundle's reports and films by those of ``studies``, as a new generation.

    Errors: NotABundle, ArtefactDamaged, TextTowerMissing, SourceUnusable (no report), Refused (another writer).
    """
    Bundle.open(path)  # before the lock: a wrong path must not leave folders and a lock behind
    with writing(path):
        bundle = Bundle.open(path)
        chosen = choose(device)
        precision = next(iter(bundle.manifest["graphs"]["image"]))
        films = FilmEncoder.load(bundle.graph("image", precision), bundle.preprocessing, chosen)
        texts = open_text_encoder(bundle, chosen)
        generation = next_generation(path)
        written: list[str] = []
        try:
            built = build(path, generation, bundle.manifest["model_id"], films, texts, studies, progress, written)
            for problem in built.problems:
                say(f"left out: {problem}")
            kept = set(bundle.manifest["files"]) - index_files(bundle.index)
            manifest = {**bundle.manifest, "generation": generation, "index": built.record}
            return commit(path, manifest, [*kept, *built.names])
        except BaseException:
            forget(path, written)
            raise


def build(
    path: Path,
    generation: int,
    model_id: str,
    films: FilmEncoder,
    texts: TextEncoder,
    studies: Sequence[Study],
    progress: Progress,
    written: list[str],
) -> Built:
    """Write the three files of a generation into ``path``; their names are added to ``written`` before each is begun."""
    reports = distinct_reports(studies)
    if not reports:
        raise SourceUnusable("no study has a report, so there is nothing to retrieve")
    report_vectors = _embed_texts(texts, reports, progress)
    pairs, film_vectors, problems = _embed_films(films, studies, report_vectors.shape[1], progress)
    store, vectors, graph = (f"reports-{generation}.sqlite", f"vectors-{generation}.npy", f"index-{generation}.hnsw")
    written += [store, vectors, graph]
    write_store(path / store, model_id, reports, pairs)
    table = np.concatenate([report_vectors, film_vectors])
    replace_with(path / vectors, lambda file: _save_array(file, table))
    hnsw = build_graph(path / graph, report_vectors, _recall_queries(report_vectors, film_vectors))
    record = {
        "reports": len(reports),
        "films": len(pairs),
        "studies": len({s.study_id for r in reports for s in r.studies} | {study.study_id for _, study in pairs}),
        "store": store,
        "vectors": vectors,
        "hnsw": hnsw,
    }
    return Built((store, vectors, *([graph] if hnsw else [])), record, tuple(problems))


def index_files(record: Any) -> set[str]:
    """The file names of a manifest's ``index`` entry."""
    return {record["store"], record["vectors"], *([record["hnsw"]["file"]] if record["hnsw"] else [])}


def _embed_texts(encoder: TextEncoder, reports: Sequence[DistinctReport], progress: Progress) -> np.ndarray:
    texts = [report.first.tower_text for report in reports]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors: list[np.ndarray] = [np.empty(0)] * len(texts)
    for start in range(0, len(order), TEXT_BATCH):
        rows = order[start : start + TEXT_BATCH]
        for row, vector in zip(rows, encoder.encode([texts[i] for i in rows]), strict=True):
            vectors[row] = vector
        progress("reports", start + len(rows), len(texts))
    return np.stack(vectors).astype(np.float32)


def _embed_films(
    encoder: FilmEncoder, studies: Sequence[Study], dim: int, progress: Progress
) -> tuple[list[tuple[Film, Study]], np.ndarray, list[str]]:
    """Films of studies that have a report, with their vectors; a film that cannot be read is named and left out."""
    wanted = [(film, study) for study in studies if study.report_id for film in study.films]
    pairs: list[tuple[Film, Study]] = []
    parts: list[np.ndarray] = []
    problems: list[str] = []
    for start, batch in _prepared(encoder, wanted):
        good = [(pair, pixels) for pair, pixels in batch if isinstance(pixels, np.ndarray)]
        problems += [pixels for _, pixels in batch if isinstance(pixels, str)]
        if good:
            parts.append(encoder.encode(np.stack([pixels for _, pixels in good]))[0])
            pairs += [pair for pair, _ in good]
        progress("films", start + len(batch), len(wanted))
    return pairs, np.concatenate([np.zeros((0, dim), np.float32), *parts]), problems


def _prepared(encoder: FilmEncoder, wanted: list[tuple[Film, Study]]) -> Iterator[tuple[int, list[Any]]]:
    """Batches of films decoded by a second thread while the first one encodes; memory holds two batches."""
    with ThreadPoolExecutor(1) as pool:
        starts = list(range(0, len(wanted), FILM_BATCH))
        ahead = {}
        for position, start in enumerate(starts):
            for later in starts[position : position + 2]:
                if later not in ahead:
                    ahead[later] = pool.submit(_prepare, encoder, wanted[later : later + FILM_BATCH])
            yield start, ahead.pop(start).result()


def _prepare(encoder: FilmEncoder, pairs: list[tuple[Film, Study]]) -> list[Any]:
    result: list[Any] = []
    for film, study in pairs:
        try:
            result.append(((film, study), encoder.prepare(read_film(film.path).grey)))
        except FilmUnreadable as error:
            result.append(((film, study), str(error)))
    return result


def _recall_queries(reports: np.ndarray, films: np.ndarray) -> np.ndarray:
    """Films are what will be asked; without any, the reports themselves, shifted so that none finds itself at distance zero."""
    if len(films):
        return films[:: max(1, len(films) // MOST_RECALL_QUERIES)][:MOST_RECALL_QUERIES]
    some = reports[:: max(1, len(reports) // MOST_RECALL_QUERIES)][:MOST_RECALL_QUERIES]
    noise = np.random.default_rng(0).normal(0, 0.3 / reports.shape[1] ** 0.5, some.shape)
    return (some + noise).astype(np.float32)


def _save_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # np.save adds a suffix to a path, not to a file
        np.save(file, array, allow_pickle=False)
