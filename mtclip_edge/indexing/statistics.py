"""``mtclip index stats``: what a bundle holds and how it is searched, from its manifest and its store."""

from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle
from ..bundle.records import HnswRecord
from ..index.opening import choose_index_search
from ..index.report_store import ReportStore
from ..sources.privacy import is_public

SCHEMA = "mtclip.stats/1"
_FINDINGS_SHOWN = 12


def statistics(path: Path) -> dict[str, Any]:
    """JSON of schema mtclip.stats/1. Errors: NotABundle, ArtefactDamaged, ArtefactIncompatible."""
    bundle = Bundle.open(path)
    record, dim = bundle.index, bundle.model.dim
    with ReportStore(bundle.file(record.store), bundle.model.model_id) as store:
        counts, unread = store.statistics(), store.unread_denials()
    one, many = (choose_index_search(bundle, None, queries) for queries in (1, None))
    files = {name: bundle.manifest.files[name].size for name in sorted(bundle.manifest.site.files)}
    return {
        "schema": SCHEMA,
        "path": str(path),
        "id": bundle.identity,
        "generation": bundle.generation,
        "dim": dim,
        **counts,
        "twins": counts["with_report"] - record.reports,
        "public": all(is_public(source) for source in counts["sources"]),
        "hnsw": record.hnsw and record.hnsw.to_dict(),
        "search": {
            "one_query": {"used": one.used, "why": one.why},
            "many_queries": {"used": many.used, "why": many.why or _recall(record.hnsw)},
        },
        "files": files,
        "lacks": _lacks(bundle, unread),
    }


def _lacks(bundle: Bundle, unread: int) -> list[str]:
    """What a bundle could have and has not, each with what adds it."""
    site, model = bundle.manifest.site, bundle.model
    missing = {
        "marks of what reports deny: mtclip index rebuild": unread > 0,
        "previews: mtclip index add --previews": site.previews is None,
        "an operating point: mtclip refit with labelled films": model.abnormal_head
        and model.calibration is None,
        "a weight of the abnormal head in the order of reports: export again": (
            model.abnormal_head and model.rerank is None and not bundle.demo
        ),
        "kept validation films, so a change ends percentiles: mtclip refit, or export again": (
            site.validation is None and not bundle.demo
        ),
    }
    return [what for what, true in missing.items() if true]


def _recall(hnsw: HnswRecord | None) -> str:
    return f"recall@10 {hnsw.recall}" if hnsw else "no graph"


def summary_lines(stats: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for a person."""
    hnsw = stats["hnsw"]
    graph = (
        f"M {hnsw['M']}, ef {hnsw['ef']}, recall@10 {hnsw['recall@10']} on {hnsw['queries']} queries"
        if hnsw
        else "none"
    )
    search = stats["search"]
    dates = stats["dates"]
    findings = dict(list(stats["findings"].items())[:_FINDINGS_SHOWN])
    return [
        ("bundle", f"{stats['path']}, generation {stats['generation']}"),
        (
            "studies",
            (
                f"{stats['studies']} of {stats['patients']} patients; {stats['twins']} have a report that "
                "another has too"
            ),
        ),
        ("reports", f"{stats['reports']} distinct: {_counted(stats['labels'])}"),
        ("films", f"{stats['films']}: {_counted(stats['views'])}" if stats["films"] else "none"),
        ("sources", _counted(stats["sources"])),
        (
            "dates",
            f"{dates['first']} to {dates['last']}, {dates['without']} studies without"
            if dates["first"]
            else "none",
        ),
        (
            "findings",
            _counted(findings)
            + (f" and {more} more" if (more := len(stats["findings"]) - len(findings)) > 0 else ""),
        ),
        ("graph", graph),
        ("one query", f"{search['one_query']['used']}: {search['one_query']['why']}"),
        ("many", f"{search['many_queries']['used']}: {search['many_queries']['why']}"),
        *[("lacks", what) for what in stats["lacks"]],
        ("size", ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in stats["files"].items())),
    ]


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
