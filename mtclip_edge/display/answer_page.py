"""Answers as one HTML file that stands alone and prints on A4: film, hits, evidence, provenance, and the
notice at both ends.

Dark on white whatever the screen prefers: it is made to be printed and filed. What comes from data is escaped
(``markup``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from ..evidence.evidence import Contrast, Evidence
from ..index.hits import FilmHit, ReportHit
from ..notice import DEMO, NOTICE
from ..retrieval.results import QueryResult
from .answer_words import (
    abnormal_words,
    film_words,
    margin_words,
    named_words,
    percentile_words,
    score_words,
    similarity_words,
    study_words,
    verdict_words,
    vote_rows,
)
from .html import chip, picture, text, whole_page

FINDINGS = 12  # in the table of votes


@dataclass(frozen=True)
class Answer:
    """One answer and what is shown beside it, PNG bytes or None: the film, and where it matches its best
    report.
    """

    result: QueryResult
    film_png: bytes | None = None
    heat_png: bytes | None = None


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
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in provenance.items())
    made = f'<section class="made">\n<h2>How this was made</h2>\n<dl>{rows}</dl>\n</section>'
    return whole_page(
        _title(answers),
        _CSS,
        "\n".join((demo, notice, *map(_answer, answers), made, notice)),
        scheme="only light",
    )


def _title(answers: Sequence[Answer]) -> str:
    if len(answers) != 1:
        return f"Prior reports similar to {len(answers)} films"
    return f"Prior reports similar to a {answers[0].result.kind}"


def _answer(answer: Answer) -> str:
    result = answer.result
    parts = (
        _summary(answer),
        '<section class="hits">\n<h3>Most similar reports</h3>',
        *(_report(hit) for hit in result.reports),
        "" if result.reports else "<p>No report was found.</p>",
        "</section>",
        _films(result.films),
        *(_evidence(result, result.evidence) if result.evidence else ()),
    )
    body = "\n".join(part for part in parts if part)
    return f'<article class="answer">\n<h2>{text(result.value)}</h2>\n{body}\n</article>'


def _summary(answer: Answer) -> str:
    result, facts = answer.result, []
    if result.abnormal:
        facts.append(("abnormal head", abnormal_words(result.abnormal)))
    if result.abnormal and result.evidence:
        facts.append(("verdict", verdict_words(result.evidence)))
    if result.input:
        facts.append(("film", film_words(result.input) or f"{result.input.kind.upper()} file"))
    if result.input and result.input.ids:
        facts += [
            (name.replace("_", " "), value or "not given") for name, value in asdict(result.input.ids).items()
        ]
    if result.study and len(result.study) > 1:
        facts.append(
            (
                "films of the study",
                "; ".join(f.image + (f" (left out: {f.reason})" if f.reason else "") for f in result.study),
            )
        )
    if result.evidence and result.kind != "text":
        facts.append(("similarity", similarity_words(result.evidence)))
    if result.filters:
        facts.append(
            ("only reports with", ", ".join(f"{name} {value}" for name, value in result.filters.items()))
        )
    rows = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts)
    shown = "".join(_figures(answer))
    figures = f'<div class="pictures">{shown}</div>' if shown else ""
    return f'<div class="summary">{figures}<dl>{rows}</dl></div>' if rows or shown else ""


def _figures(answer: Answer) -> Iterator[str]:
    name = answer.result.value
    if answer.film_png is not None:
        yield (
            f"<figure>{picture(answer.film_png, f'the film {name}')}<figcaption>The film, made "
            "smaller</figcaption></figure>"
        )
    if answer.heat_png is not None:
        of_text = answer.result.explain is not None and answer.result.explain.target.report_id is None
        what = "the text given" if of_text else "the first report"
        alt = f"heat map: where {name} matches {what}"
        yield (
            f"<figure>{picture(answer.heat_png, alt)}<figcaption>Where it matches "
            f"{what}</figcaption></figure>"
        )


def _report(hit: ReportHit) -> str:
    """A hit; a report without sections is shown as its text."""
    compared = "" if hit.percentile is None else f", {percentile_words(hit.percentile)}"
    facts = (
        f"{chip(hit.label)} similarity {score_words(hit.score)}{text(compared)}, study "
        f"{text(study_words(hit))}"
        f"{', ' + text(hit.date) if hit.date else ''}"
    )
    if words := named_words(hit):
        facts += f"; {text(words)}"
    sections = (
        [("Impression", hit.impression), ("Findings", hit.findings)]
        if hit.impression or hit.findings
        else [("", hit.text)]
    )
    said = "".join(
        f"<p>{f'<b>{name}:</b> ' if name else ''}{text(words)}</p>" for name, words in sections if words
    )
    return (
        f'<section class="hit">\n<h4>{hit.rank:d}. {facts} <span '
        f'class="id">{text(hit.report_id)}</span></h4>\n{said}\n</section>'
    )


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
    if rows := vote_rows(result, FINDINGS):
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


_CSS = """
main { max-width: 52rem; }
h1 { margin: .3rem 0; } h2 { border-top: 2px solid var(--ink); padding-top: .5rem; }
h3 { margin-top: 1.1rem; }
h4 { font-size: .95rem; margin: 0 0 .2rem; font-weight: 600; }
.notice, .demo { border: 2px solid var(--ink); padding: .3rem .6rem; max-width: none; }
.demo { font-weight: 700; }
.summary { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.summary dl { flex: 1 1 20rem; }
.pictures { display: flex; gap: .6rem; } figure { margin: 0; } figure img { display: block; width: 14rem;
height: auto; background: #000; }
figcaption { font-size: .8rem; color: var(--soft); }
.hit { border-left: 4px solid var(--line); padding: .1rem .8rem; margin: .7rem 0; }
.hit p { white-space: pre-line; max-width: none; }
.hit .id { color: var(--soft); font-size: .75rem; font-weight: normal; }
.contrast { margin: .3rem 0; } .said { white-space: pre-line; } .votes p { color: var(--soft);
font-size: .9rem; }
.votes th:first-child { white-space: normal; overflow-wrap: anywhere; } .made dl { font-size: .85rem; }
td:not(:first-child) { white-space: normal; }
@page { size: A4; margin: 15mm; }
@media print {
  html { font-size: 9.5pt; } main { max-width: none; padding: 0; } body { font-size: 9.5pt;
  line-height: 1.3; }
  h1 { font-size: 15pt; } h2 { font-size: 12pt; margin-top: 1rem; }
  .hit { margin: .5rem 0; } .hit p { margin: .15rem 0; } th, td { padding: .1rem .5rem; }
  .made dl { font-size: 8pt; }
  figure img { width: 55mm; } .answer + .answer { break-before: page; }
  .hit, .contrast, .votes, figure, tr, .summary, .made, .notice { break-inside: avoid; } h2, h3,
  h4 { break-after: avoid; }
  .hits p { orphans: 3; widows: 3; } }
"""
