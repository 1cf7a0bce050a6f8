"""What an answer says in lines, for the objects that people read; the words are those of every other door."""

from collections.abc import Iterator

from ...display.answer_words import (
    abnormal_words,
    conclusion_words,
    film_words,
    films_of_study_words,
    findings_of,
    percent,
    provenance_words,
    score_words,
    similarity_words,
    verdict_words,
    without_options,
)
from ...index.hits import ReportHit
from ...retrieval.results import QueryResult

BANNER = ("RESEARCH ONLY. Reports of OTHER patients,", "not a diagnosis. PRELIMINARY, UNVERIFIED.")


def summary_lines(result: QueryResult) -> Iterator[str]:
    """The banner, then what is concluded and what it rests on."""
    yield " ".join(BANNER)
    yield from said_lines(result)
    yield provenance_words(result)


def said_lines(result: QueryResult) -> Iterator[str]:
    """What is concluded and what it rests on."""
    yield conclusion_words(result)
    if result.abnormal is not None and result.hits:
        yield abnormal_words(result.abnormal)
    if result.evidence is not None and result.hits:
        yield verdict_words(result.evidence)
        yield similarity_words(result.evidence)
    if result.input is not None and (words := film_words(result.input)):
        yield without_options(words)
    if words := films_of_study_words(result):
        yield words


def hit_line(hit: ReportHit) -> str:
    """A report in one line, without a word of its text."""
    nearer = "" if hit.percentile is None else f", nearer than for {percent(hit.percentile / 100)} of films"
    named = findings_of(hit)
    shared = f", {hit.studies} studies" if hit.studies > 1 else ""
    said = f"; names {', '.join(named)}" if named else ""
    near = f"similarity {score_words(hit.score)}{nearer}"
    return f"{hit.rank}. {hit.label}, {near}{shared}{said} [{hit.report_id}]"
