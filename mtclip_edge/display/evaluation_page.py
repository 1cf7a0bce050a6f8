"""An evaluation as one HTML file that stands alone: no script, no font, no picture from anywhere else.

Everything that comes from data is escaped. The one exception is the text of a picture's ``svg``: it is made
by ``train.plots``, which escapes what it writes. A content security policy in the page forbids scripts and
the network all the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .figure_names import (
    ABNORMAL,
    CONTROL,
    CUT,
    DIRECTIONS,
    FINDINGS,
    FRESH,
    HEAD,
    RELEVANCE,
    TRUST,
    VIEWS,
    Row,
    constant_answer,
    digits,
    first,
    grouped,
    prevalence,
    row_title,
    shortcomings,
)
from .html import chip, picture, text, whole_page

MISSING = "not computed"
_COLUMNS = ("figure", "studies", "chance", "control", "ceiling")
_NOTES = {
    DIRECTIONS: "Recall@K: the share whose own report, or own film, is among the first K. It depends on how "
    "many are searched: "
    "the lift, ×, says how many times chance it is. A median rank is better small. The balance gap is "
    "Recall@10 film to report less "
    "Recall@10 report to film.",
    ABNORMAL: "Films and reports of abnormal studies, searched by themselves.",
    FRESH: (
        "What stands word for word in train is left out, as a query and as an answer: a model may know "
        "it by heart."
    ),
    RELEVANCE: "P@K: the share of the first K reports, without the patient's own, that have the film's "
    "label; macro is the mean of both "
    "labels. A constant answer has a macro precision of 0.5. mAP@10 goes by label too, nDCG@10 by the "
    "likeness of finding sets.",
    HEAD: (
        "Calibration and operating point come from validation. ECE, the expected calibration error, is "
        "better small."
    ),
    TRUST: "A decision is abnormal from a probability of one half on. Trust and thresholds come from "
    "validation. AURC, the area under the "
    "risk-coverage curve, is the share of wrong decisions averaged over every coverage, the least trusted "
    "left out first; small is good.",
    CUT: "The same with the first numbers of each embedding only.",
    VIEWS: (
        "The same for the films of one view: where a view goes with a label, a figure of all films may "
        "measure the view."
    ),
    FINDINGS: (
        "Of the first ten reports for a film that has the finding, the share that names it. Fewer "
        "than 20 studies are an anecdote."
    ),
}


@dataclass(frozen=True)
class Picture:
    """A picture; ``svg`` is one ``svg`` element made by ``train.plots`` and goes into the page as it is."""

    title: str
    svg: str
    caption: str


@dataclass(frozen=True)
class ExampleHit:
    rank: int
    score: float
    label: str
    text: str
    is_own: bool


@dataclass(frozen=True)
class Example:
    """A query and what was found. ``verdict`` is right or wrong, ``why`` says by what."""

    name: str
    image_png: bytes | None
    label: str
    own_text: str
    verdict: str
    why: str
    hits: tuple[ExampleHit, ...]


def page(
    document: Mapping[str, Any], pictures: Sequence[Picture] = (), examples: Sequence[Example] = ()
) -> str:
    """A document of schema mtclip.eval/1 as HTML text."""
    data, models = document["data"], document["models"]
    title = f"Evaluation of {data['source']}, {data['split']}"
    parts = (
        f'<p class="notice">{text(document["notice"])}</p>',
        _leaks(document["leaks"]),
        _evaluated(document),
        _models(models),
        *_figures(models),
        *(_difference(difference) for difference in document["differences"]),
        *(_picture(shown) for shown in pictures),
        _examples(examples),
        f'<p class="notice">{text(document["notice"])}</p>',
    )
    body = "\n".join(part for part in parts if part)
    return whole_page(title, _CSS, body)


def _leaks(leaks: Sequence[str]) -> str:
    """Loud, and above every figure."""
    if not leaks:
        return ""
    lines = "".join(f"<li>{text(leak)}</li>" for leak in leaks)
    return (
        '<section class="leaks" role="alert">\n<h2>Leak: every figure below is too '
        f"good</h2>\n<ul>{lines}</ul>\n</section>"
    )


def _evaluated(document: Mapping[str, Any]) -> str:
    data, intervals = document["data"], document["intervals"]
    labels = ", ".join(f"{count:,} {name}" for name, count in data["labels"].items())
    searched = data["searched"] or "the reports of these studies themselves"
    facts = {
        "source": data["source"],
        "split": data["split"],
        "films": f"{data['films']:,} ({labels})",
        "studies": f"{data['studies']:,} of {data['patients']:,} patients",
        "searched": f"{data['reports']:,} distinct reports: {searched}",
        "intervals": (
            f"95 %, {intervals['draws']:,} bootstrap draws by {intervals['unit']}, seed {intervals['seed']}"
        ),
    }
    facts["a constant answer"] = constant_answer(data)
    facts["control"] = CONTROL.removeprefix("control: ")
    if lacking := shortcomings(data):
        facts["what these films cannot tell"] = " ".join(lacking)
    rows = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts.items())
    return f"<section>\n<h2>What was evaluated</h2>\n<dl>{rows}</dl>\n</section>"


def _models(models: Sequence[Mapping[str, Any]]) -> str:
    entries = []
    for model in models:
        notes = "".join(f"<li>{text(note)}</li>" for note in model["notes"]) + _exposure(model)
        entries.append(
            f"<dt>{text(_model(model))}</dt><dd>{text(model['kind'])}"
            + (f"<ul>{notes}</ul>" if notes else "")
            + "</dd>"
        )
    return f"<section>\n<h2>Models</h2>\n<dl>{''.join(entries)}</dl>\n</section>"


def _exposure(model: Mapping[str, Any]) -> str:
    """Whether its backbone saw these films; in bold where it did."""
    exposure = model.get("exposure")
    if not exposure:
        return ""
    why = text(f"exposure: {exposure['why']}")
    return f"<li><strong>{why}</strong></li>" if exposure["verdict"] == "seen" else f"<li>{why}</li>"


def _model(model: Mapping[str, Any]) -> str:
    return f"{model['name']} ({model['precision']})" if model["precision"] else str(model["name"])


def _figures(models: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table for each heading: a row for each figure that any model has, a column for each model."""
    heads = "".join(f'<th scope="col" class="model">{text(_model(model))}</th>' for model in models)
    for heading, rows in grouped([model["figures"] for model in models]):
        body = "\n".join(_row(cells) for cells in rows)
        note = f"<p>{text(_NOTES[heading])}</p>\n" if heading in _NOTES else ""
        fixed = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
        yield (
            f"<section>\n<h2>{heading}</h2>\n{note}<div "
            f'class="wide"><table>\n<thead><tr>{fixed}{heads}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table></div>\n</section>"
        )


def _row(cells: Row) -> str:
    one = first(cells)
    around = (one["chance"], (one.get("control") or {}).get("value"), one["ceiling"])
    bounds = "".join(f"<td>{_number(one['name'], value)}</td>" for value in around)
    values = "".join(f"<td>{_value(figure)}</td>" for figure in cells)
    return f"{_named(one)}{bounds}{values}</tr>"


def _named(figure: Mapping[str, Any], sure: bool = False) -> str:
    """The beginning of a row: its class, name and studies. What rests on few studies is grey and says so."""
    kinds = [kind for kind, holds in (("sure", sure), ("anecdote", figure["anecdote"])) if holds]
    mark = ' <span class="mark">anecdote</span>' if figure["anecdote"] else ""
    begin = f'<tr class="{" ".join(kinds)}">' if kinds else "<tr>"
    title = text(row_title(figure["name"], figure["subset"]) + prevalence(figure))
    return f'{begin}<th scope="row">{title}{mark}</th><td>{figure["studies"]:,}</td>'


def _value(figure: Mapping[str, Any] | None, sign: str = "") -> str:
    if figure is None or figure["value"] is None:
        return f'<span class="missing">{MISSING}</span>'
    lift = "" if figure["lift"] is None else f' <span class="lift">×{figure["lift"]:.1f}</span>'
    return f"{_number(figure['name'], figure['value'], sign)}{_interval(figure, sign)}{lift}"


def _interval(figure: Mapping[str, Any], sign: str) -> str:
    if figure["low"] is None or figure["high"] is None:
        return ""
    low, high = (_number(figure["name"], figure[end], sign) for end in ("low", "high"))
    return f' <span class="interval">[{low}, {high}]</span>'


def _number(name: str, value: float | None, sign: str = "") -> str:
    """A figure's value; nothing where it has no such bound (an ECE has no chance)."""
    return "" if value is None else f"{value:{sign}z{digits(name)}}"


def _difference(difference: Mapping[str, Any]) -> str:
    """What one model has more than another, in bold where the interval excludes 0."""
    body = []
    for heading, rows in grouped([difference["figures"]]):
        lines = "\n".join(_difference_row(first(cells)) for cells in rows)
        body.append(
            '<tbody>\n<tr class="heading"><th scope="rowgroup" '
            f'colspan="3">{heading}</th></tr>\n{lines}\n</tbody>'
        )
    if not body:
        return ""
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("figure", "studies", "difference"))
    title = f"{text(difference['model'])} less {text(difference['against'])}"
    note = "<p>Of the same cases and the same draws of patients. Bold: the interval excludes 0.</p>"
    table = f"<table>\n<thead><tr>{heads}</tr></thead>\n{''.join(body)}\n</table>"
    return f'<section>\n<h2>{title}</h2>\n{note}\n<div class="wide">{table}</div>\n</section>'


def _difference_row(figure: Mapping[str, Any]) -> str:
    sure = (
        figure["low"] is not None and figure["high"] is not None and (figure["low"] > 0 or figure["high"] < 0)
    )
    return f"{_named(figure, sure)}<td>{_value(figure, '+')}</td></tr>"


def _picture(shown: Picture) -> str:
    title = text(shown.title)
    drawn = f'<div class="wide picture" role="img" aria-label="{title}">{shown.svg}</div>'
    caption = f"<figcaption>{text(shown.caption)}</figcaption>"
    return f"<section>\n<h2>{title}</h2>\n<figure>{drawn}{caption}</figure>\n</section>"


def _examples(examples: Sequence[Example]) -> str:
    if not examples:
        return ""
    warning = "<p>Films and reports stand in this page: it is to be kept as they are.</p>"
    shown = "\n".join(_example(example) for example in examples)
    return f"<section>\n<h2>Example queries</h2>\n{warning}\n{shown}\n</section>"


def _example(example: Example) -> str:
    verdict = "right" if example.verdict == "right" else "wrong"
    hits = "\n".join(_hit(hit) for hit in example.hits)
    own = text(example.own_text) or "no report of its own"
    return (
        f'<article class="example {verdict}">\n<div class="film">{_film(example)}</div>\n<div>\n'
        f'<h3><span class="verdict">{verdict}</span> {text(example.name)}</h3>\n<p>{text(example.why)}</p>\n'
        f'<p class="own">{chip(example.label)} {own}</p>\n<ol>{hits}</ol>\n</div>\n</article>'
    )


def _film(example: Example) -> str:
    if example.image_png is None:
        return '<span class="missing">the film cannot be shown</span>'
    return picture(example.image_png, f"film {example.name}")


def _hit(hit: ExampleHit) -> str:
    own = ' <span class="mark">its own report</span>' if hit.is_own else ""
    kind = ' class="is-own"' if hit.is_own else ""
    return (
        f'<li value="{hit.rank:d}"{kind}>{chip(hit.label)} <span '
        f'class="interval">{hit.score:.3f}</span>{own} {text(hit.text)}</li>'
    )


_CSS = """
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --soft: #a2abb5; --line: #3a424b; --ground: #14171a; --card: #1d2226; } }
section > p, figcaption { color: var(--soft); font-size: .9rem; }
.leaks { background: var(--bad); color: #fff; border: 4px solid #ff5b6e; border-radius: 6px;
padding: .8rem 1.2rem; margin: 1rem 0; }
.leaks h2 { margin: 0; font-size: 1.4rem; }
.wide { overflow-x: auto; }
th.model { white-space: normal; overflow-wrap: anywhere; min-width: 8rem; }
tr.heading th { font-weight: 600; padding-top: .8rem; } tr.sure th, tr.sure td { font-weight: 700; }
tr.anecdote th, tr.anecdote td, .interval { color: var(--soft); }
.mark { border: 1px solid currentColor; border-radius: 3px; padding: 0 .3rem; font-size: .75rem;
white-space: nowrap; }
figure { margin: 0; } .picture svg { display: block; max-width: 100%; min-width: 34rem; height: auto; }
.example { display: grid; grid-template-columns: 10rem 1fr; gap: 1rem; background: var(--card);
border-left: 4px solid var(--normal);
  border-radius: 4px; padding: .8rem; margin: .8rem 0; font-size: .92rem; }
.example.wrong { border-color: var(--abnormal); }
.film img { max-width: 100%; height: auto; background: #000; } .verdict { text-transform: uppercase;
font-size: .8rem; }
.own, .example li { white-space: pre-line; } .example ol { margin: 0; padding-left: 1.6rem; }
.is-own { font-weight: 600; }
@media (max-width: 40rem) { .example, dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } th,
td { padding: .25rem .4rem; }
  th:first-child { position: sticky; left: 0; background: var(--ground); white-space: normal;
  min-width: 7rem; } }
@media print {
  main { max-width: none; padding: 0; } body { font-size: 10pt; } .wide { overflow: visible; }
  table { font-size: 8pt; } td { white-space: normal; } th, td { padding: .1rem .35rem; }
  .picture svg { min-width: 0; } tr, figure, .example, .leaks { break-inside: avoid; }
  h2 { break-after: avoid; }
  .leaks { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
