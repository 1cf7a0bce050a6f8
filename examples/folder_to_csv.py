"""A folder of films to a CSV: a row a film with its verdict, the abnormal head's word and its best report.

python examples/folder_to_csv.py FILMS OUT.csv [BUNDLE]

A film that cannot be read, or is rejected, has its row too: with why, and without a report.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtclip_edge import MtclipError, QueryResult, Retriever

COLUMNS = ("film", "ok", "why", "abnormal", "score", "label", "report_id", "report")


def rows(films: Sequence[Path], bundle: str) -> Iterator[tuple[object, ...]]:
    """One row a film, in order."""
    with Retriever.open(bundle) as retriever:
        for film, result in zip(films, retriever.query_many(films, k=1, errors="return"), strict=True):
            yield (film, *row(result))


def row(result: QueryResult | MtclipError) -> tuple[object, ...]:
    if isinstance(result, MtclipError):
        return (False, result.what, "", "", "", "", "")
    why = "; ".join(result.input.reasons) if result.input else ""
    abnormal = result.abnormal.probability if result.abnormal else ""
    best = result.best
    found = (best.score, best.label, best.report_id, best.text) if best else ("", "", "", "")
    return (result.ok, why, abnormal, *found)


def main(folder: str, out: str, bundle: str = "demo") -> None:
    films = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    with Path(out).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        answered = 0
        for line in rows(films, bundle):
            table.writerow(line)
            answered += line[1] is True
    print(f"{out}: {len(films)} files, {answered} answered")


if __name__ == "__main__":
    main(*sys.argv[1:])
