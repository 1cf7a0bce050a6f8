"""An inspection for a person: lines of a table, and one HTML file that stands alone.

Everything that comes from data is escaped.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..sources.inspection.film_files import Thumbnail
from ..text_coverage import MOST_SPLIT, MOST_UNKNOWN
from .html import chip, picture, text, whole_page

_STYLE = """
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
.films figure { margin: 0; } .films img { width: 100%; background: #000; } dd { white-space: pre-line; }
"""


def summary_lines(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, the most wanted first."""
    return [(name, value) for _, pairs in sections(document) for name, value in pairs]


def sections(document: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headings with their names and values; a value of several lines holds line breaks in the page only."""
    return [
        ("What it holds", list(_counts(document))),
        ("Splits", list(_splits(document))),
        ("Too small for", list(_too_small(document["too_small_for"]))),
        ("Twins", list(_twins(document))),
        ("Texts", list(_texts(document))),
        ("Film files", list(_files(document["film_files"]))),
        ("Left out", list(_skipped(document["skipped"]))),
        ("Possible health information", list(_suspicions(document["possible_phi"]))),
    ]


def _counts(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "source", document["source"]["spec"]
    yield "layout", "; ".join([document["source"]["kind"], *document["source"]["notes"]])
    yield (
        "studies",
        (
            f"{document['studies']:,} of {document['patients']:,} patients, "
            f"{document['studies_without_films']:,} without a film"
        ),
    )
    yield "films", f"{document['films']:,}"
    yield "views", _counted(document["views"]) or "none"
    yield "reports", f"{document['reports']:,}, {document['distinct_reports']:,} distinct"
    yield (
        "labels",
        ", ".join(
            f"{count:,} {name} ({_share(count, document['studies'])})"
            for name, count in document["labels"].items()
        ),
    )
    if document["labels_and_text"]:
        yield from _labels_and_text(document["labels_and_text"])
    if document["finding_labels"]:
        yield "findings", _counted(dict(list(document["finding_labels"].items())[:12]))


def _labels_and_text(counts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the reports' own words say of the labels."""
    shares = [
        f"{100 * share:.0f} % of the {label}"
        for label, share in counts["affirming"].items()
        if share is not None
    ]
    if shares:
        swapped = ": the labels look swapped" if counts["look_swapped"] else ""
        yield "labels against texts", f"{', '.join(shares)} reports affirm a finding{swapped}"


def _splits(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, split in document["splits"].items():
        counts = f"{split['studies']:,} studies of {split['patients']:,} patients, {split['films']:,} films"
        yield name, f"{counts}; {_counted(split['labels']) or 'nothing'}"
    leak = document["patients_in_two_splits"]
    yield (
        "patients in two splits",
        f"{leak['patients']:,}" + (f": {', '.join(leak['ids'][:20])}" if leak["ids"] else ""),
    )


def _too_small(shortages: Sequence[Mapping[str, Any]] | None) -> Iterator[tuple[str, str]]:
    for shortage in shortages or ():
        yield "too small for", f"{shortage['what']}: {shortage['counts']}; {shortage['so']}"


def _twins(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    exact, near = document["twins"]["exact"], document["twins"]["near"]
    shares = ", ".join(
        f"{100 * share:.0f} % of {name}"
        for name, share in exact["share_with_a_twin"].items()
        if share is not None
    )
    if not document["reports"]:
        yield "exact twins", "no report"
        return
    yield (
        "exact twins",
        (
            f"{exact['studies']:,} studies share {exact['reports']:,} reports, the largest "
            f"×{exact['largest']:,}; {shares}"
        ),
    )
    yield (
        "near twins",
        (
            f"about {near['reports']:,} distinct reports in {near['groups']:,} groups (similarity "
            f"{near['similarity']} or more)"
        ),
    )


def _texts(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    empty, marks, lengths = document["empty"], document["marks"], document["lengths"]
    yield (
        "empty",
        (
            f"{empty['text']:,} studies without a text, {empty['findings']:,} without findings, "
            f"{empty['impression']:,} without impression"
        ),
    )
    yield "de-identification marks", f"{marks['marks']:,} in {marks['reports']:,} reports"
    if lengths["words"]:
        yield "words", _quantiles(lengths["words"])
    for tower in lengths["towers"] if lengths["words"] else ():
        cut = f"{tower['cut']:,} reports cut ({100 * tower['share']:.1f} %)" if tower["cut"] else "none cut"
        told = f"{cut}; {_quantiles(tower['tokens'])}; {tower['counted']}{''.join(_unread(tower))}"
        yield f"{tower['backbone']}, {tower['limit']} tokens", told


def _unread(tower: Mapping[str, Any]) -> Iterator[str]:
    """What of the texts a tower's tokenizer does not hold."""
    if share := tower["unknown_words"]:
        yield f"; {100 * share:.1f} % of the words unknown to its word list"
        yield ", so that such texts are all alike to it" if share > MOST_UNKNOWN else ""
    if share := tower["split_letters"]:
        yield f"; {100 * share:.1f} % of the letters split into bytes"
        yield ", so that such texts say hardly anything to it" if share > MOST_SPLIT else ""


def _files(files: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "decoded", f"{files['decoded']:,}: {files['why']}"
    if files["unreadable"] is None:
        return
    bad = files["unreadable"]
    reasons = f": {_counted(bad['reasons'])}; {'; '.join(bad['first'][:3])}" if bad["films"] else ""
    yield "unreadable", f"{bad['films']:,}{reasons}"
    same = files["identical"]
    yield (
        "identical",
        (
            f"{same['films']:,} films in {same['groups']:,} groups, {same['groups_in_two_splits']:,} of them "
            "in two splits"
        ),
    )
    if files["width"]:
        spread = " × ".join(
            f"{files[side]['min']}–{files[side]['max']} (median {files[side]['median']})"
            for side in ("width", "height")
        )
        yield "pixels", spread


def _skipped(skipped: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "bad rows",
        f"{skipped['bad_rows']:,}" + (f": {_counted(skipped['reasons'])}" if skipped["bad_rows"] else ""),
    )
    if skipped["passed_over"]:
        yield "passed over", _counted(skipped["passed_over"])
    if skipped["first"]:
        yield "the first", "; ".join(skipped["first"][:3])


def _suspicions(suspicions: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not suspicions:
        yield "patterns", "none found, which proves nothing"
    for kind, suspicion in suspicions.items():
        places = "; ".join(_place(where) for where in suspicion["where"][:4])
        yield kind, f"{suspicion['count']:,}: {places}{' …' if suspicion['count'] > 4 else ''}"


def _place(where: Mapping[str, Any]) -> str:
    words = f" {where['text']!r}" if "text" in where else ""
    return f"{where['place']} {where['field']} {where['start']}-{where['end']}{words}"


def page(document: Mapping[str, Any], films: Sequence[Thumbnail]) -> str:
    """The inspection as HTML text, with its films."""
    title = f"Inspection of {document['source']['spec']}"
    notice = f'<p class="notice">{text(document["notice"])}</p>'
    parts = [_section(heading, pairs) for heading, pairs in sections(document) if pairs]
    body = "\n".join([notice, *parts, _films(films), _all_places(document["possible_phi"])])
    return whole_page(title, _STYLE, body)


def _section(heading: str, pairs: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in pairs)
    return f"<section>\n<h2>{text(heading)}</h2>\n<dl>{rows}</dl>\n</section>"


def _films(films: Sequence[Thumbnail]) -> str:
    if not films:
        return ""
    shown = "".join(
        f"<figure>{picture(film.png, f'film {film.name}')}"
        f"<figcaption>{text(film.name)}, {text(film.view)} {chip(film.label)}</figcaption></figure>"
        for film in films
    )
    return f'<section>\n<h2>Some films, drawn by seed</h2>\n<div class="films">{shown}</div>\n</section>'


def _all_places(suspicions: Mapping[str, Any]) -> str:
    if not suspicions:
        return ""
    items = "".join(
        f"<li>{text(kind)}: {text(_place(where))}</li>"
        for kind, suspicion in suspicions.items()
        for where in suspicion["where"]
    )
    return f"<section>\n<h2>Places to look at</h2>\n<ul>{items}</ul>\n</section>"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _share(count: int, whole: int) -> str:
    return f"{100 * count / whole:.0f} %"


def _quantiles(numbers: Mapping[str, int]) -> str:
    return f"median {numbers['median']}, 95 % {numbers['p95']}, longest {numbers['max']}"
