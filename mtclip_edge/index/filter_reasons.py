"""Why a filter leaves nothing to find: which option it is, and how many studies have what it asks about
at all.
"""

from collections.abc import Iterator
from dataclasses import fields

from .filters import Filters, Matching, Rows, allowed

# How many studies have a field at all, and what the field is called.
_HAVE = {
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


def why_nothing_passes(rows: Rows, filters: Filters, matching: Matching) -> str:
    """One line on filters that leave no report: those that do so alone, else that it is all of them
    together.
    """
    given = [field.name for field in fields(filters) if getattr(filters, field.name) not in (None, ())]
    alone = [
        name
        for name in given
        if not len(allowed(rows, Filters(**{name: getattr(filters, name)}), matching).reports)
    ]
    if alone:
        return "no report passes " + "; ".join(_reasons(rows, filters, alone))
    return (
        f"no report passes {' and '.join(_option(filters, name) for name in given)} together, though "
        "some pass each"
    )


def _reasons(rows: Rows, filters: Filters, names: list[str]) -> Iterator[str]:
    (studies,) = rows("SELECT count(*) FROM study", ())[0]
    for name in names:
        query, what = _HAVE[name]
        (count,) = rows(query, ())[0]
        yield f"{_option(filters, name)}: {count} of {studies} studies have {what}"


def _option(filters: Filters, name: str) -> str:
    """An option as it was given. Which patients were left out is not repeated."""
    value = "" if name == "exclude_patient" else f" {getattr(filters, name)}"
    return f"--{name.replace('_', '-')}{value}"
