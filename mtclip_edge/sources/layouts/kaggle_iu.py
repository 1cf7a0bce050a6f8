"""``kaggle-iu:DIR``: Open-I as ``raddar/chest-xrays-indiana-university``: two CSV files and films of 2,048
pixels.

A report has no film, one or several, frontal or lateral as ``indiana_projections.csv`` says; films are found
by the names there, however odd (``894_IM-2404-0001-0001.dcm.png``).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ...errors import SourceUnusable
from ...folders import user_path
from ...studies import Film, Study, split_of, view_of
from .. import mesh_labels, tables
from ..entries import BadRow, Entry, Item, Layout, Problem, usable

REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
_FOLDERS = ("images/images_normalized", "images_normalized", "images", "")


def layout(rest: str, options: Mapping[str, str]) -> Layout:
    """Errors: SourceUnusable where one of the two tables is missing."""
    folder = user_path(rest)
    for name in (REPORTS, PROJECTIONS):
        if not (folder / name).is_file():
            raise SourceUnusable(
                f"{folder}: no {name}", hint="give the folder that holds the two tables of the Kaggle copy"
            )
    films = next((folder / name for name in _FOLDERS if next((folder / name).glob("*.png"), None)), None)
    notes = (
        f"films from {films.relative_to(folder)}"
        if films
        else "no folder of PNG films in it: reports without films",
    )
    rule = options.get("abnormal", "mesh")
    name = f"kaggle-iu:{folder.resolve().name}"
    return Layout(name, lambda: _entries(folder, films, rule, name), notes)


def _entries(folder: Path, films: Path | None, rule: str, source: str) -> Iterator[Item]:
    named: dict[str, list[tuple[int | str, str, str]]] = {}
    for place, row in tables.csv_rows(folder / PROJECTIONS):
        named.setdefault(row.get("uid", ""), []).append(
            (place, row.get("filename", ""), row.get("projection", ""))
        )
    seen: set[str] = set()
    for number, (place, row) in enumerate(tables.csv_rows(folder / REPORTS)):
        try:
            study, problems = usable(
                *_study(row, named.pop(row.get("uid", ""), []), films, seen, rule, source)
            )
        except BadRow as bad:
            yield Problem(place, str(bad), kind=bad.kind)
            continue
        yield Entry(place, number, study)
        yield from problems
    for uid, left in named.items():
        yield Problem(
            f"{PROJECTIONS} line {left[0][0]}", f"no report of uid {uid}", "film", "film of no report"
        )


def _study(
    row: dict[str, str],
    named: list[tuple[int | str, str, str]],
    films: Path | None,
    seen: set[str],
    rule: str,
    source: str,
) -> tuple[Study, tuple[Problem, ...]]:
    if problem := row.get(tables.MISFIT):
        raise BadRow(problem, "another number of fields")
    uid = row.get("uid", "")
    if not uid or uid in seen:
        raise BadRow(f"uid {uid} again" if uid else "uid is empty", "uid again" if uid else "")
    seen.add(uid)
    present, problems = [], []
    for place, name, view in named if films else ():
        assert films is not None
        if not name or not (films / name).is_file():
            problems.append(Problem(f"{PROJECTIONS} line {place}", f"film not found: {name}", "film"))
        else:
            present.append(Film(films / name, name, view_of(view)))
    terms = mesh_labels.terms_of(row.get("MeSH", ""))
    text = {
        name: " ".join(row.get(name, "").split())
        for name in ("findings", "impression", "indication", "comparison")
    }
    study = Study(
        study_id=uid,
        patient_id=uid,
        films=tuple(present),
        findings=text["findings"],
        impression=text["impression"],
        label=mesh_labels.label_of(terms, rule),
        finding_labels=mesh_labels.findings_of(terms),
        split=split_of(uid),
        source=source,
        extra={"indication": text["indication"], "comparison": text["comparison"], "mesh": ";".join(terms)},
    )
    return study, tuple(problems)
