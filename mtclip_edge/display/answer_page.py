"""Answers as one HTML file that stands alone and prints on A4: a sentence that concludes, film, hits beside
their own films, evidence, what made it (folded), and the notice at both ends.

Dark on white whatever the screen prefers: it is made to be printed and filed. What comes from data is escaped
(``markup``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ..evidence.evidence import Contrast, Evidence
from ..index.hits import FilmHit, ReportHit
from ..notice import DEMO, NOTICE
from ..retrieval.results import QueryResult
from .answer_style import STYLE
from .answer_words import (
    OWN_HEADING,
    abnormal_words,
    conclusion_words,
    film_words,
    findings_of,
    margin_words,
    named_words,
    own_words,
    percentile_words,
    score_words,
    short_name,
    similarity_words,
    study_words,
    verdict_words,
    vote_rows,
)
from .html import chip, picture, text, whole_page
from .shared_words import marked, shared_words

if TYPE_CHECKING:
    from ..index.own_priors import OwnPriors

FINDINGS = 12  # in the table of votes


@dataclass(frozen=True)
class Answer:
    """One answer and what is shown beside it, PNG bytes or None: the film, and where it matches its best
    report; the film again as small as a table of contents has it.

    ``prior_films``: WebP bytes of a film of each report by its id, of those that have one; ``own_films``: of
    the patient's own studies by theirs.
    """

    result: QueryResult
    film_png: bytes | None = None
    heat_png: bytes | None = None
    small_png: bytes | None = None
    prior_films: Mapping[str, bytes] = field(default_factory=dict)
    own_films: Mapping[str, bytes] = field(default_factory=dict)


def answer_page(answers: Sequence[Answer], provenance: Mapping[str, str]) -> str:
    """The page of some answers by one bundle; ``provenance`` names what made them, for the end of the
    page.
    """
    notice = f'<p class="notice">{text(NOTICE)}</p>'
    demo = (
        f'<p class="demo" role="alert">{DEMO}</p>'
        if any(answer.result.bundle.demo for answer in answers)
        else ""
    )
    articles = [_answer(answer, place) for place, answer in enumerate(answers, 1)]
    contents = _contents(answers) if len(answers) > 1 else ""
    return whole_page(
        _title(answers),
        STYLE,
        "\n".join((demo, notice, contents, *articles, _made(answers, provenance), notice)),
        scheme="only light",
    )


def _title(answers: Sequence[Answer]) -> str:
    if len(answers) != 1:
        return f"Prior reports similar to {len(answers)} films"
    return f"Prior reports similar to a {answers[0].result.kind}"


def _contents(answers: Sequence[Answer]) -> str:
    """Every film with its conclusion, each a link."""
    items = "\n".join(
        f'<li><a href="#answer-{place}">{_small(answer)}<span><b>{text(short_name(answer.result))}</b><br>'
        f"{text(conclusion_words(answer.result))}</span></a></li>"
        for place, answer in enumerate(answers, 1)
    )
    return f'<nav class="contents" aria-label="Films">\n<h2>Contents</h2>\n<ol>\n{items}\n</ol>\n</nav>'


def _small(answer: Answer) -> str:
    if answer.small_png is None:
        return ""
    return picture(answer.small_png, f"the film {short_name(answer.result)}, small")


def _made(answers: Sequence[Answer], provenance: Mapping[str, str]) -> str:
    """What made the page, folded on a screen and open on paper."""
    facts = [*provenance.items(), *(("asked", answer.result.value) for answer in answers)]
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts)
    return (
        '<details class="made">\n<summary>How this was made: bundle, model, device, files</summary>\n'
        f"<dl>{rows}</dl>\n</details>"
    )


def _answer(answer: Answer, place: int) -> str:
    result = answer.result
    shared = shared_words([hit.text for hit in result.reports])
    parts = (
        _summary(answer),
        '<section class="hits">\n<h3>Most similar reports</h3>',
        '<p class="key">Words that most of them affirm are <mark>marked</mark>.</p>' if shared else "",
        *(_report(hit, answer.prior_films.get(hit.report_id), shared) for hit in result.reports),
        "" if result.reports else "<p>No report was found.</p>",
        "</section>",
        _films(result.films),
        *(_evidence(result, result.evidence) if result.evidence else ()),
        _own(result.own_priors, answer.own_films) if result.own_priors else "",
    )
    body = "\n".join(part for part in parts if part)
    name = text(short_name(result))
    return f'<article class="answer" id="answer-{place}">\n<h2>{name}</h2>\n{body}\n</article>'


def _summary(answer: Answer) -> str:
    """The film at half the width; beside it the conclusion and what it rests on."""
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in _facts(answer.result))
    film, heat = "".join(_film(answer)), "".join(_heat(answer))
    figures = f'<div class="pictures">{film}</div>' if film else ""
    said = f'<p class="conclusion">{text(conclusion_words(answer.result))}</p>'
    return f'<div class="summary">{figures}<div class="said">{said}<dl>{rows}</dl>{heat}</div></div>'


def _facts(result: QueryResult) -> Iterator[tuple[str, str]]:
    """Names and values as HTML."""
    if result.abnormal:
        yield "abnormal head", text(abnormal_words(result.abnormal))
    if result.abnormal and result.evidence:
        verdict = result.evidence.judgement.verdict
        said = verdict_words(result.evidence).removeprefix("trust: ")
        yield "trust", f'<span class="trust {verdict or ""}">{text(said)}</span>'
    if result.input and (against := film_words(result.input)):
        yield "film", text(against)
    if result.input and result.input.ids:
        for name, value in asdict(result.input.ids).items():
            yield name.replace("_", " "), text(value or "not given")
    if result.study and len(result.study) > 1:
        films = (f.image + (f" (left out: {f.reason})" if f.reason else "") for f in result.study)
        yield "films of the study", text("; ".join(films))
    if result.evidence and result.kind != "text":
        yield "nearest report", text(similarity_words(result.evidence))
    if result.filters:
        only = ", ".join(f"{name} {value}" for name, value in result.filters.items())
        yield "only reports with", text(only)


def _film(answer: Answer) -> Iterator[str]:
    name = short_name(answer.result)
    if answer.film_png is not None:
        yield (
            f"<figure>{picture(answer.film_png, f'the film {name}')}<figcaption>The film, made "
            "smaller</figcaption></figure>"
        )


def _heat(answer: Answer) -> Iterator[str]:
    name = short_name(answer.result)
    if answer.heat_png is not None:
        of_text = answer.result.explain is not None and answer.result.explain.target.report_id is None
        what = "the text given" if of_text else "the first report"
        alt = f"heat map: where {name} matches {what}"
        yield (
            f"<figure>{picture(answer.heat_png, alt)}<figcaption>Where it matches "
            f"{what}</figcaption></figure>"
        )


def _report(hit: ReportHit, film: bytes | None, shared: frozenset[str]) -> str:
    """A hit, beside a film of it where there is one; a report without sections is shown as its text."""
    told = [
        f"similarity {score_words(hit.score)}",
        *([percentile_words(hit.percentile)] if hit.percentile is not None else []),
        f"study {study_words(hit)}",
        *([hit.date] if hit.date else []),
        *([words] if (words := named_words(hit)) else []),
    ]
    findings = "".join(f'<li class="finding">{text(name)}</li>' for name in findings_of(hit))
    sections = (
        [("Impression", hit.impression), ("Findings", hit.findings)]
        if hit.impression or hit.findings
        else [("", hit.text)]
    )
    said = "".join(
        f"<p>{f'<b>{name}:</b> ' if name else ''}{marked(words, shared)}</p>"
        for name, words in sections
        if words
    )
    beside = f"<figure>{picture(film, f'a film of report {hit.report_id}')}</figure>" if film else ""
    chips = f"<ul>{findings}</ul>" if findings else ""
    heading = f'{hit.rank:d}. {chip(hit.label)} <span class="told">{text(", ".join(told))}</span>'
    return (
        f'<section class="hit">\n<h4>{heading} <span class="id">{text(hit.report_id)}</span></h4>\n'
        f'{chips}<div class="body"><div>{said}</div>{beside}</div>\n</section>'
    )


def _own(own: "OwnPriors", films: Mapping[str, bytes]) -> str:
    """The patient's own reports, in a frame of their own."""
    hits = (_report(hit, films.get(hit.study_ids[0]), frozenset()) for hit in own.hits)
    heading = f'<h3>{text(OWN_HEADING)}</h3>\n<p class="key">{text(own_words(own))}</p>'
    return "\n".join(('<section class="hits own">', heading, *hits, "</section>"))


def _films(hits: Sequence[FilmHit]) -> str:
    if not hits:
        return ""
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("rank", "similarity", "label", "study", "film")
    )
    rows = "\n".join(
        f'<tr><th scope="row">{hit.rank:d}</th><td>{hit.score:.3f}</td><td>{chip(hit.label)}</td>'
        f"<td>{text(hit.study_id)}</td><td>{text(hit.film)}</td></tr>"
        for hit in hits
    )
    return (
        "<section>\n<h3>Most similar "
        f"films</h3>\n<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</section>"
    )


def _evidence(result: QueryResult, evidence: Evidence) -> Iterator[str]:
    rows = vote_rows(result, FINDINGS)
    if len(result.reports) > 1:  # what one report alone names is no agreement
        rows = [row for row in rows if not row[1].startswith("1 of")]
    if rows:
        heads = "".join(
            f'<th scope="col">{name}</th>'
            for name in ("label or finding", "of the reports shown", "of the index")
        )
        body = "\n".join(
            f'<tr><th scope="row">{text(name)}</th>{"".join(f"<td>{text(c)}</td>" for c in cells)}</tr>'
            for name, *cells in rows
        )
        yield (f'<section class="votes">\n<h3>How the hits agree</h3>\n{_table(heads, body)}\n</section>')
    if evidence.contrast.abnormal or evidence.contrast.normal:
        words = margin_words(evidence)
        margin = f"<p>Of the whole index, {text(words)}.</p>" if words else ""
        yield (
            "<section>\n<h3>The nearest of either "
            f"label</h3>\n{margin}\n{_contrast(evidence.contrast)}\n</section>"
        )


def _table(heads: str, rows: str) -> str:
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _contrast(contrast: Contrast) -> str:
    hits = [hit for hit in (contrast.abnormal, contrast.normal) if hit]
    return "\n".join(
        f'<p class="contrast">{chip(hit.label)} similarity {score_words(hit.score)} <span '
        f'class="said">{text(hit.impression or hit.text)}</span></p>'
        for hit in hits
    )
