"""Answers as they are sent: the JSON of ``mtclip query`` and, beside it, what a page says of it in words.

The words are those of the terminal and of the saved page, so that no door says it otherwise.
"""

from typing import Any

from ..display.answer_words import (
    OWN_HEADING,
    abnormal_words,
    conclusion_words,
    film_words,
    films_of_study_words,
    findings_of,
    margin_words,
    named_words,
    own_words,
    percentile_words,
    provenance_words,
    score_words,
    short_name,
    similarity_words,
    study_words,
    verdict_words,
    vote_rows,
    without_options,
)
from ..display.shared_words import shared_places, shared_words
from ..errors import MtclipError
from ..films.gate import INVERTED
from ..index.hits import ReportHit
from ..index.own_priors import OwnPriors
from ..retrieval.results import QueryResult

DIFFERENTIALS = 8


def told(result: QueryResult, key: str | None = None) -> dict[str, Any]:
    """Schema mtclip.query/2 with ``key`` (None for a text alone) and ``words``."""
    return {**result.to_dict(), "key": key, "words": words_of(result)}


def error_document(error: MtclipError) -> dict[str, Any]:
    """What went wrong, what was expected, what to do: a line each, or None."""
    what, *rest = str(error).split("\n")
    return {"error": what, "detail": rest[0] if rest else None, "hint": rest[1] if len(rest) > 1 else None}


def words_of(result: QueryResult) -> dict[str, Any]:
    """Every line of text that a page shows of an answer; None where there is nothing to say."""
    evidence = result.evidence
    shared = shared_words([hit.text for hit in result.reports])
    return {
        "name": short_name(result),
        "conclusion": conclusion_words(result),
        "abnormal": result.abnormal and abnormal_words(result.abnormal),
        "verdict": evidence.judgement.verdict if evidence and result.kind != "text" else None,
        "trust": verdict_words(evidence) if evidence and result.abnormal else None,
        "film": without_options(film_words(result.input) or "") or None if result.input else None,
        "exchanged": bool(result.input and INVERTED.format("with") in result.input.reasons),
        "study": films_of_study_words(result),
        "similarity": similarity_words(evidence) if evidence and result.kind != "text" else None,
        "margin": margin_words(evidence) if evidence else None,
        "searched": provenance_words(result),
        "votes": [
            {"name": name, "count": count, "in_index": share}
            for name, count, share in vote_rows(result, DIFFERENTIALS)
        ],
        "own": _own_words(result.own_priors) if result.own_priors else None,
        "hits": [_hit_words(hit, shared) for hit in result.reports],
    }


def _own_words(own: OwnPriors) -> dict[str, Any]:
    return {
        "heading": OWN_HEADING,
        "said": own_words(own),
        "hits": [_hit_words(hit, frozenset()) for hit in own.hits],
    }


def _hit_words(hit: ReportHit, shared: frozenset[str]) -> dict[str, Any]:
    """``marks``: where words that the hits share stand in each part, as pairs of places."""
    parts = {"impression": hit.impression, "findings": hit.findings}
    shown = {name: said for name, said in parts.items() if said} or {"text": hit.text}
    return {
        "similarity": score_words(hit.score),
        "percentile": None if hit.percentile is None else percentile_words(hit.percentile),
        "study": study_words(hit),
        "named": named_words(hit),
        "findings": findings_of(hit),
        "sections": [
            {"name": name, "text": said, "marks": shared_places(said, shared)} for name, said in shown.items()
        ],
    }
