"""Why a filter leaves nothing to find: which option it is, and how many studies have what it asks about
at all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from types import MappingProxyType

from .filters import Filters

# How many studies have a field at all, and what the field is called.
HAVE = {
    "view": (
        "SELECT count(DISTINCT study_id) FROM film WHERE view NOT IN ('', 'unknown')",
        "a film of a known view",
    ),
    "label": ("SELECT count(*) FROM study WHERE label != 'unknown'", "a label"),
    "finding": ("SELECT count(DISTINCT study_id) FROM finding", "a finding"),
    "source": ("SELECT count(*) FROM study WHERE source != ''", "a source"),
    "since": ("SELECT count(*) FROM study WHERE date != ''", "a date"),
    "until": ("SELECT count(*) FROM study WHERE date != ''", "a date"),
    "exclude_patient": ("SELECT count(DISTINCT patient_id) FROM study", "a patient of their own"),
    "match": ("SELECT count(report_row) FROM study", "a report"),
    "match_any": ("SELECT count(report_row) FROM study", "a report"),
}


def why_nothing_passes(
    number: Callable[[str], int],
    passing: Callable[[Filters], int],
    filters: Filters,
    have: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """One line on filters that leave no report: those that do so alone, else that it is all of them
    together. ``number`` answers a question of ``HAVE`` (or of ``have``, where a store has other tables),
    ``passing`` says how many reports some filters leave.
    """
    given = [field.name for field in fields(filters) if getattr(filters, field.name) not in (None, ())]
    alone = [name for name in given if not passing(Filters(**{name: getattr(filters, name)}))]
    if alone:
        return "no report passes " + "; ".join(_reasons(number, filters, alone, have))
    return (
        f"no report passes {' and '.join(_option(filters, name) for name in given)} together, though "
        "some pass each"
    )


def _reasons(
    number: Callable[[str], int], filters: Filters, names: list[str], have: Mapping[str, str]
) -> Iterator[str]:
    studies = number("SELECT count(*) FROM study")
    for name in names:
        query, what = HAVE[name]
        count = number(have.get(name, query))
        yield f"{_option(filters, name)}: {count} of {studies} studies have {what}"


def _option(filters: Filters, name: str) -> str:
    """An option as it was given. Which patients were left out is not repeated."""
    value = "" if name == "exclude_patient" else f" {getattr(filters, name)}"
    return f"--{name.replace('_', '-')}{value}"
