"""``--save``: one page that stands alone, escapes what it shows, is private and whole, or is not there at all."""

import base64
import io
import os
import re
import stat
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from balanced_html import EVIL, Balanced
from bundle_evidence import commit_evidence
from PIL import Image

from mtclip_edge import NOTICE, Retriever
from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.display.answer_page import Answer, answer_page
from mtclip_edge.display.answer_words import (
    conclusion_words,
    counted_label,
    percentile_words,
    study_words,
)
from mtclip_edge.display.shared_words import marked, shared_words
from mtclip_edge.films.thumbnail import thumbnail
from mtclip_edge.retrieval.results import Input, QueryResult

HOW = {"bundle": "sha256:abc", "answered": "2026-11-25T12:00:00+00:00"}


@pytest.fixture
def judged(bundle: Path) -> Path:
    return commit_evidence(bundle)


@pytest.fixture
def result(judged: Path, film: Path) -> QueryResult:
    with Retriever.open(judged, keep_films=True) as retriever:
        return retriever.query(film, k=3)


def test_one_film_becomes_one_private_page(mtclip, judged: Path, film: Path, tmp_path: Path) -> None:
    plain = mtclip("query", film, "--bundle", judged, "--format", "ids")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle"]
    saved = mtclip("query", film, "--bundle", judged, "--format", "ids", "--save", tmp_path / "out.html")
    assert (saved.code, saved.out, saved.err) == (0, plain.out, plain.err)
    file = tmp_path / "out.html"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "out.html"]
    said = Balanced(file.read_text(encoding="utf-8"))
    with Retriever.open(judged) as retriever:
        found = retriever.query(film)
    assert said.text.count(NOTICE) == 2
    for hit in found.reports:
        assert (
            f"similarity {hit.score:.3f}, {percentile_words(hit.percentile)}" in said.text
            and f"study {study_words(hit)}" in said.text
            and " ".join(hit.findings.split()) in said.text
        )
    for fact in (
        str(film),
        found.evidence.judgement.why,
        found.bundle.identity,
        Bundle.open(judged).model.model_id,
        "fp32",
        "mtclip-edge",
    ):
        assert fact in said.text, fact
    assert not said.handlers and "script" not in said.tags and "link" not in said.tags
    assert [link[:22] for link in said.links] == ["data:image/png;base64,"]  # the film, and no map unasked


def test_the_film_is_a_small_grey_png_or_left_out(mtclip, judged: Path, film: Path, tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (900, 4))[:, :1000]).save(tmp_path / "large.png")
    words = ["query", tmp_path / "large.png", "--bundle", judged, "--label", "abnormal"]
    assert mtclip(*words, "--save", tmp_path / "with.html", "--maps").code == 0
    assert (
        mtclip(
            "query",
            tmp_path / "large.png",
            "--bundle",
            judged,
            "--save",
            tmp_path / "without.htm",
            "--no-film",
        ).code
        == 0
    )
    links = Balanced((tmp_path / "with.html").read_text()).links
    picture, heat = (Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))) for data in links)
    assert (picture.format, picture.mode, picture.size, picture.info) == ("PNG", "L", (512, 461), {})
    assert (heat.format, heat.mode, heat.width, heat.info) == ("PNG", "RGB", 512, {})
    page = (tmp_path / "without.htm").read_text()
    assert "data:image" not in page.replace("img-src data:", "") and "<img" not in page


def test_several_films_share_a_page_and_a_text_has_one_too(
    mtclip, judged: Path, source: Path, film: Path, tmp_path: Path
) -> None:
    other = next(p for p in film.parent.iterdir() if p != film and p.suffix == ".png")
    (tmp_path / "bad.png").write_text("not a film")
    page = tmp_path / "page.html"
    found = mtclip("query", film, tmp_path / "bad.png", other, "--bundle", judged, "--save", page, "-k", "1")
    said = Balanced(page.read_text())
    assert (found.code, said.tags.count("article"), said.tags.count("img"), said.tags.count("h1")) == (
        5,
        2,
        4,  # in the contents too
        1,
    )
    assert [link for link in said.links if not link.startswith("data:")] == ["#answer-1", "#answer-2"]
    assert {"answer-1", "answer-2"} <= set(said.ids)
    assert "Prior reports similar to 2 films" in said.text
    assert mtclip("query", "--text", "opacity <b>", "--bundle", judged, "--save", page, "-k", "2").code == 0
    said = Balanced(page.read_text())
    assert (
        "opacity <b>" in said.text
        and "Most similar films" in said.text
        and "trust" not in said.text
        and "img" not in said.tags
    )


def test_whatever_comes_from_data_is_text(result: QueryResult) -> None:
    hit = replace(
        result.reports[0], findings=EVIL, impression=f"{EVIL}\0", text=EVIL, report_id=EVIL, label=EVIL
    )
    votes = tuple(replace(vote, finding=EVIL) for vote in result.evidence.agreement.findings)
    evidence = replace(
        result.evidence,
        agreement=replace(result.evidence.agreement, findings=votes),
        contrast=replace(result.evidence.contrast, abnormal=hit),
        judgement=replace(result.evidence.judgement, why=EVIL),
    )
    bad = replace(
        result,
        value=f"{EVIL}.png",
        hits=(hit,),
        evidence=evidence,
        filters={"match": EVIL},
        input=Input(EVIL, "warn", (EVIL, EVIL)),
    )
    page = answer_page([Answer(bad, b"png", b"heat")], {EVIL: EVIL})
    said = Balanced(page)
    assert "script" not in said.tags and not said.handlers
    assert said.text.count("<script>alert('x')</script>") >= 10
    assert "Content-Security-Policy" in page and "default-src 'none'" in page


def test_the_page_reads_in_order_and_is_made_for_paper(result: QueryResult) -> None:
    page = answer_page(
        [
            Answer(result, thumbnail(result.grey, 64), thumbnail(result.grey, 32)),
            Answer(replace(result, hits=())),
        ],
        HOW,
    )
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert page.count("<table>") == 2
    assert page.count('scope="col"') == 2 * 3 and page.count('<th scope="row"') == page.count("<tr>") - 2
    assert (
        all(re.search('alt="[^"]{8,}"', img) for img in re.findall("<img[^>]*>", page))
        and page.count("<img") == 2
    )
    assert (
        "size: A4" in page
        and "break-inside: avoid" in page
        and 'content="only light"' in page
        and "prefers-color-scheme" not in page
    )
    assert "No report was found." in page and "url(" not in page and "@import" not in page


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--save", "page.txt"], 2, "--save page.txt\nexpected a name that ends in .html\n"),
        (["--save", "gone/page.html"], 1, "--save gone/page.html: no folder gone\n"),
        (["--save", "folder.html"], 1, "--save folder.html: is a folder\n"),
    ],
)
def test_where_no_page_can_be_nothing_is_computed(
    mtclip, judged: Path, film: Path, tmp_path: Path, monkeypatch, words: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    found = mtclip("query", film, "--bundle", judged, *words)
    assert (found.code, found.out, found.err) == (code, "", message)


def test_any_number_of_films_shares_a_page_and_a_watched_folder_has_none(
    mtclip, judged: Path, film: Path, tmp_path: Path
) -> None:
    page = tmp_path / "a.html"
    many = mtclip("query", *[film] * 51, "--bundle", judged, "--save", page, "--no-film", "-k", "1")
    assert many.code == 0 and Balanced(page.read_text()).tags.count("article") == 51
    page.unlink()
    watched = mtclip("query", "--watch", tmp_path, "--bundle", judged, "--save", tmp_path / "a.html")
    assert (watched.code, watched.err) == (
        2,
        f"--watch and --save {tmp_path / 'a.html'}\nexpected a folder, for a page of each film\n",
    )
    gone = mtclip("query", tmp_path / "gone.png", "--bundle", judged, "--save", tmp_path / "a.html")
    assert gone.code == 1 and not (tmp_path / "a.html").exists()


def test_a_full_disk_is_one_line_and_leaves_the_page_of_before(
    mtclip, judged: Path, film: Path, tmp_path: Path, monkeypatch
) -> None:
    import errno

    from mtclip_edge import files

    (tmp_path / "a.html").write_text("before")

    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "_write", full)
    found = mtclip("query", film, "--bundle", judged, "--save", tmp_path / "a.html", "--format", "ids")
    assert (found.code, found.err) == (
        1,
        f"--save {tmp_path / 'a.html'}: cannot be written (No space left on device)\n",
    )
    assert len(found.out.splitlines()) == 5 and (tmp_path / "a.html").read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "bundle"]


def test_the_page_concludes_in_one_sentence_and_has_no_path_in_its_headings(result: QueryResult) -> None:
    page = answer_page([Answer(replace(result, value="/home/someone/films.zip!in/chest.png"))], HOW)
    said = Balanced(page)
    headings = [words for tag, words in said.said if tag in ("title", "h1", "h2")]
    assert headings[-1] == "chest.png" and not any("/" in words for words in headings)
    sentence = conclusion_words(result)
    assert sentence in said.text and sentence.startswith(f"Called {result.abnormal.call} (")
    label, count = counted_label(result)
    assert (
        f"{'all' if count == 3 else f'{count} of the'} 3 most similar prior reports are {label}" in sentence
    )
    assert page.index(sentence) < page.index("Most similar reports")
    assert page.index("<details") < page.index("/home/someone/films.zip!in/chest.png")


def test_a_film_of_a_report_stands_beside_it(result: QueryResult) -> None:
    first = result.reports[0].report_id
    webp = io.BytesIO()
    Image.new("L", (8, 8)).save(webp, "WEBP")
    page = answer_page([Answer(result, prior_films={first: webp.getvalue()})], HOW)
    assert page.count("<img") == 1 and f'alt="a film of report {first}" src="data:image/webp' in page
    assert answer_page([Answer(result)], HOW).count("<img") == 0


def test_findings_are_chips_and_shared_words_are_marked_where_they_are_affirmed(result: QueryResult) -> None:
    texts = ["Large effusion on the left.", "Effusion. No pneumothorax.", "No effusion. No pneumothorax."]
    assert shared_words(texts) == {"effusion"}
    assert marked("No effusion. <Effusion>", frozenset({"effusion"})) == (
        "No effusion. &lt;<mark>Effusion</mark>&gt;"
    )
    assert shared_words(texts[:1]) == frozenset()
    hits = tuple(replace(hit, finding_labels=("Lung", EVIL)) for hit in result.reports)
    page = answer_page([Answer(replace(result, hits=hits))], HOW)
    assert page.count('<li class="finding">') == len(hits) and ">Lung<" not in page
