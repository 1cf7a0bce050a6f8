"""Filters find what a plain loop over the studies finds, and a word that means nothing is said."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import WrongOption
from mtclip_edge.index.filters import Filters
from mtclip_edge.indexing.build import rebuild
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study, distinct_reports, folded


@pytest.fixture(scope="module")
def studies(source: Path) -> list[Study]:
    """The drawn studies with dates, two sources, other views, and some films apart."""
    found = [s for s in open_source(str(source)).studies if s.report_id]
    random = np.random.default_rng(5)
    return [
        replace(
            study,
            date=f"20{random.integers(10, 14)}-{random.integers(1, 13):02d}-{random.integers(1, 29):02d}"
            if random.random() < 0.8
            else "",
            source=str(random.choice(["manifest:a", "manifest:b"])),
            films=tuple(
                replace(film, view=str(random.choice(["PA", "AP", "lateral"]))) for film in study.films
            ),
        )
        for study in found
    ]


@pytest.fixture(scope="module")
def filtered(tiny_bundle: Path, studies: list[Study], tmp_path_factory: pytest.TempPathFactory) -> Path:
    import shutil

    path = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("filtered") / "bundle"))
    rebuild(path, studies)
    return path


def spelt(view: str) -> str:
    return view.upper() if len(view) == 2 else view.lower()


def is_view(view: str, wanted: str) -> bool:
    """``--view frontal`` includes PA and AP."""
    return view == wanted or (wanted == "frontal" and view in ("PA", "AP"))


def passes(study: Study, f: Filters) -> bool:
    since, until = (f.since or "").ljust(4), f.until
    return (
        (f.view is None or any(is_view(film.view, spelt(f.view)) for film in study.films))
        and (f.finding is None or f.finding.lower() in [name.lower() for name in study.finding_labels])
        and (f.source is None or study.source == f.source)
        and (f.since is None or (study.date != "" and study.date[: len(since)] >= since))
        and (until is None or (study.date != "" and study.date[: len(until)] <= until))
        and study.patient_id not in f.exclude_patient
        and (f.match is None or f.match in affirmed_words(study.text))
        and (f.match_any is None or f.match_any in folded(study.text).split())
    )


def affirmed_words(text: str) -> list[str]:
    """Of a drawn report, whose denials are sentences of their own."""
    denial = re.compile(r"\b(no|without|not|free of|clear of)\b", re.IGNORECASE)
    return [
        word
        for sentence in text.split(".")
        for word in folded(denial.split(sentence)[0] if denial.search(sentence) else sentence).split()
    ]


CASES = [
    Filters(view="PA"),
    Filters(view="frontal"),
    Filters(view="LATERAL"),
    Filters(label="normal"),
    Filters(label="abnormal", view="AP"),
    Filters(finding="opacity"),
    Filters(source="manifest:b"),
    Filters(since="2012"),
    Filters(until="2011-06"),
    Filters(since="2011-03-05", until="2012-10-20"),
    Filters(exclude_patient=("p001", "p002", "p003")),
    Filters(match="opacity"),
    Filters(match_any="effusion"),
    Filters(match="opacity", match_any="heart"),
    Filters(match="opacity", view="PA", since="2011", source="manifest:a", exclude_patient=("p010",)),
]


@pytest.mark.parametrize("asked", CASES, ids=lambda f: "-".join(f.to_dict()))
def test_a_filter_finds_what_a_loop_finds(
    filtered: Path, studies: list[Study], film: Path, asked: Filters
) -> None:
    groups = {
        report.report_id: [s for s in report.studies if passes(s, asked)]
        for report in distinct_reports(studies)
        if asked.label is None or report.label == asked.label
    }
    expected = {key: [s.study_id for s in group] for key, group in groups.items() if group}
    with Retriever.open(filtered, filters=asked) as retriever:
        hits = retriever.query(film, k=1000).hits
        found = retriever.query_text("opacity in the left lung", k=1000)
    assert {hit.report_id: hit.studies for hit in hits} == {
        key: len(group) for key, group in expected.items()
    }
    assert all(list(hit.study_ids) == expected[hit.report_id][:10] for hit in hits)
    assert expected  # a case that nothing passes would test nothing
    films = {
        f.name
        for s in studies
        if passes(s, asked) and (asked.label is None or s.label == asked.label)
        for f in s.films
        if asked.view is None or is_view(f.view, spelt(asked.view))
    }
    assert {hit.film for hit in found.films} == films
    assert {hit.report_id for hit in found.reports} == expected.keys()
    assert found.to_dict()["query"]["filter"] == asked.to_dict()


def test_filtered_scores_are_those_without_a_filter(filtered: Path, film: Path) -> None:
    with (
        Retriever.open(filtered) as whole,
        Retriever.open(filtered, filters=Filters(label="abnormal")) as some,
    ):
        all_hits, hits = whole.query(film, k=1000).hits, some.query(film, k=3).hits
    assert [(h.report_id, h.score) for h in hits] == [
        (h.report_id, h.score) for h in all_hits if h.label == "abnormal"
    ][:3]
    assert [h.rank for h in hits] == [1, 2, 3]


def test_a_filter_holds_with_films_too(filtered: Path, film: Path) -> None:
    with Retriever.open(filtered, filters=Filters(label="normal"), fuse="0.5") as retriever:
        assert {hit.label for hit in retriever.query(film, k=50).hits} == {"normal"}


def test_nothing_passes(filtered: Path, film: Path) -> None:
    with Retriever.open(filtered, filters=Filters(since="2031")) as retriever:
        assert retriever.query(film).hits == ()
        assert retriever.notes.filter == "no report passes --since 2031: 103 of 133 studies have a date"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"view": "sideways"}, "view 'sideways'\nexpected one of PA, AP"),
        ({"label": "norml"}, "did you mean normal"),
        ({"since": "2012-13"}, "--since '2012-13'\nexpected YYYY, YYYY-MM or YYYY-MM-DD"),
        ({"until": "5 May"}, "--until '5 May'"),
        ({"until": "2012-05-01-02"}, "--until"),
        (
            {"finding": "opacitie"},
            "--finding 'opacitie': no study of this bundle has it\namong them are Opacity",
        ),
        ({"source": "manifest:c"}, "--source 'manifest:c': no study of this bundle has it"),
        ({"match": "a AND"}, "--match 'a AND': "),
        ({"match": '"open'}, "--match"),
        ({"match_any": "a OR"}, "--match-any 'a OR': "),
    ],
)
def test_a_word_that_means_nothing_is_said(filtered: Path, wrong: dict, message: str) -> None:
    with pytest.raises(WrongOption, match=message), Retriever.open(filtered, filters=Filters(**wrong)):
        pass


def test_words_are_found_by_their_stem_and_combined(filtered: Path, film: Path) -> None:
    def texts(words: str) -> set[str]:
        with Retriever.open(filtered, filters=Filters(match=words)) as retriever:
            return {hit.text.lower() for hit in retriever.query(film, k=1000).hits}

    assert texts("opacities") == texts("opacity")
    without = texts("left NOT effusion")
    assert without and all("left" in t and "effusion" not in affirmed_words(t) for t in without)
    assert texts("NOT effusion") == texts("NOT (effusion)") != set()
    assert not texts("NOT effusion") & texts("effusion")
    assert texts("opaci*") == texts("opacity")
    assert texts("effusion") < {t for t in texts("NOT zebra") if "effusion" in t}
    assert all("heart is normal" in t for t in texts('"heart is normal"'))
    assert texts("left OR right") == texts("left") | texts("right")


def test_the_command_line_has_every_filter(mtclip, filtered: Path, film: Path) -> None:
    import json

    words = [
        "--view",
        "PA",
        "--label",
        "abnormal",
        "--since",
        "2010",
        "--until",
        "2013",
        "--match",
        "opacity",
        "--match-any",
        "opac*",
        "--source",
        "manifest:a",
    ]
    words += ["--exclude-patient", "p000", "--exclude-patient", "p001", "--finding", "opacity"]
    found = mtclip("query", film, "--bundle", filtered, "--json", *words)
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert document["query"]["filter"] == {
        "view": "PA",
        "label": "abnormal",
        "finding": "opacity",
        "source": "manifest:a",
        "since": "2010",
        "until": "2013",
        "exclude_patient": ["p000", "p001"],
        "match": "opacity",
        "match_any": "opac*",
    }
    assert {hit["label"] for hit in document["hits"]} == {"abnormal"}
    assert "reports pass the filter" in document["bundle"]["search"]["why"]
    none = mtclip("query", film, "--bundle", filtered, "--json", "--since", "2031")
    assert (none.code, none.err) == (0, "no report passes --since 2031: 103 of 133 studies have a date\n")
    assert mtclip("query", film, "--bundle", filtered, "--finding", "xyz").code == 2


def test_the_manifest_reads_dates(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "study_id,report,date\n1,Clear.,2012-05-01\n2,Opacity.,20130601\n3,Effusion.,last May\n4,Mass.,\n"
    )
    reading = open_source(str(tmp_path / "m.csv"))
    assert [s.date for s in reading.studies] == ["2012-05-01", "2013-06-01", "", ""]
    assert [str(p) for p in reading.problems] == [
        "line 4: date 'last May', expected YYYY-MM-DD (date left out)"
    ]


@pytest.mark.own_files
def test_the_words_are_hashed_before_they_are_read(filtered: Path, film: Path, tmp_path: Path) -> None:
    import shutil

    from mtclip_edge.errors import ArtefactDamaged

    copy = Path(shutil.copytree(filtered, tmp_path / "copy"))
    terms = copy / Bundle.open(copy).index.terms
    terms.write_bytes(terms.read_bytes()[:-1] + b"\x01")
    with (
        pytest.raises(ArtefactDamaged, match=terms.name),
        Retriever.open(copy, filters=Filters(match="left")),
    ):
        pass
    with Retriever.open(copy) as retriever:
        assert retriever.query(film).hits
