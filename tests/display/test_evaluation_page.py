"""The page of an evaluation stands alone, escapes whatever comes from data, and never shows a number that was not computed."""

import re
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from balanced_html import EVIL, Balanced

from mtclip_edge.display.evaluation_page import Example, ExampleHit, Picture, page
from mtclip_edge.display.figure_names import FINDINGS, GROUPS, OTHER, group, row_title, title
from mtclip_edge.evaluation.bootstrap import Figure
from mtclip_edge.studies import Film, Study

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><defs><path id="{0}-m" d="M0 0"/></defs><use href="#{0}-m"/></svg>'
PNG = b"\x89PNG\r\n\x1a\n not really"


def figure(
    name: str, value: float | None, subset: str = "all", studies: int = 100, **more: Any
) -> dict[str, Any]:
    return Figure(
        name,
        subset,
        value,
        **({"low": value and value - 0.1, "high": value and value + 0.1} | more),
        studies=studies,
    ).to_dict()


def model(name: str, *figures: dict[str, Any], precision: str | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "run",
        "precision": precision,
        "notes": [f"note of {name}"],
        "figures": list(figures),
    }


def document(*models: dict[str, Any], **more: Any) -> dict[str, Any]:
    data = {
        "source": "manifest:made.csv",
        "split": "test",
        "searched": None,
        "films": 1234,
        "studies": 1200,
        "patients": 900,
        "reports": 800,
    }
    return {
        "schema": "mtclip.eval/1",
        "notice": "Research use only.",
        "data": data
        | {
            "labels": {"normal": 500, "abnormal": 700, "unknown": 34},
            "majority": "abnormal",
        },
        "intervals": {"draws": 1000, "seed": 7, "unit": "patient"},
        "leaks": [],
        "models": list(models),
        "differences": [],
    } | more


def example(**more: Any) -> Example:
    hits = (
        ExampleHit(1, 0.91234, "abnormal", "An effusion.", False),
        ExampleHit(2, 0.5, "normal", "Clear.", True),
    )
    return Example(
        **(
            {
                "name": "a.png",
                "image_png": PNG,
                "label": "normal",
                "own_text": "Clear.",
                "verdict": "wrong",
                "why": "w",
                "hits": hits,
            }
            | more
        )
    )


def rows(text: str) -> list[list[str]]:
    """What each row of each table says, cell by cell."""
    found = []
    for line in re.findall(r"<tr[^>]*>(.*?)</tr>", text, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL)
        found.append([unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in cells])
    return found


def headings(text: str) -> list[str]:
    return [unescape(found) for found in re.findall(r"<h2>(.*?)</h2>", text)]


@pytest.fixture
def full() -> str:
    a = model(
        "one",
        figure("auroc", 0.8, chance=0.5, ceiling=1.0),
        figure("recall@10.film_to_report", 0.51, chance=0.1, ceiling=0.9),
    )
    b = model("two", figure("auroc", None), figure("finding@10.mass", 0.2, studies=3), precision="int8")
    different = [{"model": "two (int8)", "against": "one", "figures": [figure("auroc", -0.05)]}]
    pictures = [
        Picture("First", SVG.format("a"), "caption one"),
        Picture("Second", SVG.format("b"), "caption two"),
    ]
    return page(
        document(a, b, differences=different, leaks=["3 patients"]),
        pictures,
        [example(), example(verdict="right", image_png=None)],
    )


def test_the_page_is_well_formed(full: str) -> None:
    found = Balanced(full)
    assert full.startswith("<!DOCTYPE html>") and found.tags[:2] == ["html", "head"]
    assert found.tags.count("table") == 4 and found.tags.count("article") == 2
    for svg in re.findall(r"<svg.*?</svg>", full, re.DOTALL):
        ET.fromstring(svg)  # noqa: S314 - our own


def test_the_parser_of_this_test_sees_a_tag_left_open() -> None:
    for broken in ("<p><b>x</p></b>", "<div>", "</p>"):
        with pytest.raises(AssertionError):
            Balanced(broken)


def test_nothing_is_fetched_and_nothing_runs(full: str) -> None:
    found = Balanced(full)
    assert set(re.findall(r"https?://[^\"'<\s)]+", full)) == {"http://www.w3.org/2000/svg"}
    assert found.links and all(link.startswith(("data:image/png;base64,", "#")) for link in found.links)
    assert not found.handlers and not set(found.tags) & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    }
    assert "url(" not in full and "@import" not in full
    assert "default-src 'none'" in full


def test_light_dark_phone_and_print(full: str) -> None:
    for query in ("prefers-color-scheme: dark", "max-width", "@media print"):
        assert query in full
    assert 'name="viewport"' in full


@pytest.mark.parametrize(
    "where",
    [
        "notice",
        "source",
        "split",
        "searched",
        "label",
        "leak",
        "model",
        "precision",
        "kind",
        "note",
        "finding",
        "view",
        "against",
        "unit",
    ],
)
def test_whatever_comes_from_a_document_is_escaped(where: str) -> None:
    evil = {where: EVIL}
    one = model(
        evil.get("model", "one"),
        figure(f"finding@10.{evil.get('finding', 'mass')}", 0.5),
        figure("auroc", 0.5, f"view {EVIL}"),
    )
    one |= {
        "precision": evil.get("precision"),
        "kind": evil.get("kind", "run"),
        "notes": [evil.get("note", "n")],
    }
    made = document(one, notice=evil.get("notice", "n"), leaks=[evil.get("leak", "l")])
    made["data"] |= {
        "source": evil.get("source", "s"),
        "split": evil.get("split", "t"),
        "searched": evil.get("searched"),
    }
    made["data"]["labels"] = {"normal": 1, "abnormal": 1, evil.get("label", "normal"): 1}
    made["intervals"]["unit"] = evil.get("unit", "patient")
    made["differences"] = [
        {"model": evil.get("model", "one"), "against": evil.get("against", "two"), "figures": one["figures"]}
    ]
    _assert_escaped(page(made))


@pytest.mark.parametrize("where", ["name", "label", "own_text", "verdict", "why"])
def test_whatever_comes_from_an_example_is_escaped(where: str) -> None:
    text = page(document(), (), [example(**{where: EVIL})])
    if where == "verdict":  # one of two words, whatever it says
        assert EVIL not in Balanced(text).text and "wrong" in text
    else:
        _assert_escaped(text)


def test_hits_and_pictures_are_escaped() -> None:
    _assert_escaped(page(document(), (), [example(hits=(ExampleHit(1, 0.5, EVIL, "t", True),))]))
    _assert_escaped(page(document(), (), [example(hits=(ExampleHit(1, 0.5, "normal", EVIL, False),))]))
    _assert_escaped(page(document(), [Picture(EVIL, SVG.format("a"), "c")]))
    _assert_escaped(page(document(), [Picture("t", SVG.format("a"), EVIL)]))


def _assert_escaped(text: str) -> None:
    found = Balanced(text)
    assert "script" not in found.tags and not found.handlers
    assert " ".join(EVIL.split()) in found.text  # as text, unchanged


def test_what_html_or_utf8_cannot_hold_is_replaced() -> None:
    text = page(document(), (), [example(own_text="a\x00b\ud800c\x1b[31m\nd", name="e\udce9.png")])
    assert text.encode("utf-8")
    assert "a\ufffdb\ufffdc\ufffd[31m\nd" in text and "e\ufffd.png" in text


def test_the_leak_box_stands_only_with_leaks_and_above_every_figure(full: str) -> None:
    one = model("one", figure("auroc", 0.8))
    assert (
        '<section class="leaks"' not in page(document(one))
        and "Leak" not in Balanced(page(document(one))).text
    )
    text = page(document(one, leaks=["3 patients are in both", "2 films"]))
    box = text.index('<section class="leaks"')
    assert box < text.index("3 patients are in both") < text.index("2 films") < text.index("<table>")


def test_a_backbone_that_saw_the_films_is_told_in_bold() -> None:
    for verdict, loud in (("seen", True), ("unknown", False)):
        told = {"exposure": {"backbone": "b", "verdict": verdict, "why": "b <saw> these"}}
        shown = page(document(model("one", figure("auroc", 0.5)) | told))
        assert ("<strong>exposure: b &lt;saw&gt; these</strong>" in shown) == loud
        assert "exposure: b &lt;saw&gt; these" in shown


def test_prevalence_stands_beside_sensitivity_and_the_control_beside_chance() -> None:
    control = Figure("sensitivity", "all", 0.123)
    shown = rows(
        page(
            document(model("one", figure("sensitivity", 0.4, chance=0.2, prevalence=0.364, control=control)))
        )
    )
    assert ["Sensitivity, prevalence 0.364", "100", "0.200", "0.123", ""] in [row[:5] for row in shown]


def test_an_anecdote_is_the_same_wherever_it_is_told() -> None:
    from mtclip_edge.display import figure_names
    from mtclip_edge.evaluation import bootstrap

    assert figure_names.ANECDOTE == bootstrap.ANECDOTE


def test_the_terminal_tells_them_too(capsys: pytest.CaptureFixture) -> None:
    from rich.console import Console

    from mtclip_edge.display.evaluation_table import print_eval

    control = Figure("sensitivity", "all", 0.123)
    one = model(
        "one",
        *(figure(name, 0.4, prevalence=0.364, control=control) for name in ("sensitivity", "specificity")),
    )
    told = {"exposure": {"backbone": "b", "verdict": "seen", "why": "b saw these"}}
    print_eval(document(one | told), Console(width=140, highlight=False, markup=False))
    out = capsys.readouterr().out
    assert out.startswith("EXPOSURE: b saw these")
    for name in ("Sensitivity", "Specificity"):
        (line,) = [line for line in out.splitlines() if line.startswith(f"{name}, prevalence 0.364")]
        assert line.split()[3] == "0.123"
    assert "dealt to reports and labels at random" in out


def test_the_counts_stand_at_the_top() -> None:
    said = Balanced(page(document())).text
    for part in (
        "1,234 (500 normal, 700 abnormal, 34 unknown)",
        "1,200 of 900 patients",
        "800 distinct reports",
        "1,000 bootstrap draws",
        "seed 7",
    ):
        assert part in said
    assert "the reports of these studies themselves" in said
    other = document()
    other["data"]["searched"] = "openi:train"
    assert "800 distinct reports: openi:train" in Balanced(page(other)).text


def test_the_notice_opens_and_closes_the_page(full: str) -> None:
    assert full.count("Research use only.") == 2
    assert full.index("Research use only.") < full.index("<h2>") and full.rindex(
        "Research use only."
    ) > full.rindex("</section>")


def test_a_row_gives_value_interval_and_lift() -> None:
    one = model(
        "one",
        figure("recall@10.film_to_report", 0.51, low=0.41, high=0.62, chance=0.1, ceiling=0.9, studies=1500),
    )
    assert rows(page(document(one))) == [
        ["figure", "studies", "chance", "control", "ceiling", "one"],
        ["Recall@10, film to report", "1,500", "0.100", "", "0.900", "0.510 [0.410, 0.620] ×5.1"],
    ]


def test_a_median_rank_is_a_whole_number_without_lift() -> None:
    one = model(
        "one", figure("median_rank.film_to_report", 12.0, low=9.0, high=15.0, chance=200.4, ceiling=1.0)
    )
    assert rows(page(document(one)))[1] == [
        "Median rank, film to report",
        "100",
        "200",
        "",
        "1",
        "12 [9, 15]",
    ]


def test_null_is_not_computed_and_never_a_number() -> None:
    one = model(
        "one", figure("auroc", None, low=None, high=None, chance=0.5), figure("ece", 0.1, low=None, high=None)
    )
    two = model("two", figure("auroc", 0.0, low=0.0, high=0.0))
    found = {cells[0]: cells[1:] for cells in rows(page(document(one, two)))}
    assert found["AUROC"] == ["100", "0.500", "", "", "not computed", "0.000 [0.000, 0.000]"]
    assert found["ECE"] == [
        "100",
        "",
        "",
        "",
        "0.100",
        "not computed",
    ]  # the second model has no such figure; nothing bounds the first's
    assert (
        "None" not in Balanced(page(document(one, two))).text
        and "nan" not in page(document(one, two)).lower()
    )


def test_headings_stand_in_order_and_only_where_there_are_figures() -> None:
    one = model(
        "one",
        figure("finding@10.mass", 0.3),
        figure("auroc", 0.7, "view PA"),
        figure("auroc", 0.7),
        figure("precision@10.macro", 0.6),
        figure("recall@1.report_to_film", 0.1, "fresh"),
        figure("recall@1.report_to_film", 0.1, "abnormal"),
        figure("recall@1.report_to_film", 0.1),
        figure("recall@10.report_to_film", 0.1, "first 64"),
    )
    assert headings(page(document(one)))[2:] == [
        "Both directions",
        "Both directions, abnormal studies alone",
        "Both directions, without texts that stand verbatim in train",
        "Clinical relevance",
        "The abnormal head",
        "Embeddings cut to their first numbers",
        "By view",
        "Per finding",
    ]
    assert headings(page(document(model("one", figure("auroc", 0.7)))))[2:] == ["The abnormal head"]


def test_clinical_relevance_says_what_a_constant_answer_has() -> None:
    sentence = "A constant answer has a macro precision of 0.5."
    assert sentence in page(document(model("one", figure("precision@10.macro", 0.6))))
    assert sentence not in page(document(model("one", figure("auroc", 0.6))))


def test_findings_go_by_studies_and_anecdotes_are_marked() -> None:
    names = {"rare": 3, "common": 90, "nineteen": 19, "twenty": 20}
    text = page(
        document(
            model("one", *(figure(f"finding@10.{name}", 0.3, studies=count) for name, count in names.items()))
        )
    )
    assert [cells[0] for cells in rows(text)[1:]] == [
        "common",
        "twenty",
        "nineteen anecdote",
        "rare anecdote",
    ]
    assert text.count('<tr class="anecdote">') == 2
    assert re.search(r'<tr class="anecdote"><th scope="row">rare ', text) and re.search(
        r'<tr><th scope="row">twenty<', text
    )


def test_views_are_told_apart() -> None:
    text = page(document(model("one", figure("auroc", 0.7, "view PA"), figure("auroc", 0.6, "view AP"))))
    assert [cells[0] for cells in rows(text)[1:]] == ["AUROC, view PA", "AUROC, view AP"]


def test_precisions_of_one_bundle_are_told_apart() -> None:
    figures = [figure("auroc", 0.7)]
    text = page(document(model("b", *figures, precision="fp32"), model("b", *figures, precision="int8")))
    assert rows(text)[0][5:] == ["b (fp32)", "b (int8)"]
    assert "note of b" in text


@pytest.mark.parametrize(
    ("low", "high", "bold"),
    [
        (0.01, 0.2, True),
        (-0.2, -0.01, True),
        (-0.1, 0.2, False),
        (0.0, 0.2, False),
        (-0.2, 0.0, False),
        (None, None, False),
    ],
)
def test_a_difference_is_bold_where_its_interval_excludes_0(
    low: float | None, high: float | None, bold: bool
) -> None:
    compared = {"model": "b", "against": "a", "figures": [figure("auroc", 0.1, low=low, high=high)]}
    text = page(document(differences=[compared]))
    assert ('<tr class="sure">' in text) == bold
    assert "b less a" in headings(text)
    cells = rows(text)[-1]
    assert cells[2].startswith("+0.100") and ("[" in cells[2]) == (low is not None)


def test_a_difference_of_few_studies_is_bold_and_an_anecdote() -> None:
    compared = {"model": "b", "against": "a", "figures": [figure("finding@10.mass", 0.3, studies=4)]}
    assert '<tr class="sure anecdote">' in page(document(differences=[compared]))


def test_a_difference_that_rounds_to_0_has_no_minus() -> None:
    compared = {"model": "b", "against": "a", "figures": [figure("auroc", -0.00001, low=-0.1, high=0.1)]}
    assert rows(page(document(differences=[compared])))[-1][2] == "+0.000 [-0.100, +0.100]"


def test_examples_show_the_film_its_report_and_the_hits() -> None:
    text = page(document(), (), [example(), example(verdict="right", image_png=None, hits=())])
    assert Balanced(text).links == ["data:image/png;base64,iVBORw0KGgogbm90IHJlYWxseQ=="]
    wrong, right = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert 'class="example wrong"' in wrong and 'class="example right"' in right
    assert "the film cannot be shown" in right and "the film cannot be shown" not in wrong
    other, own = re.findall(r"<li.*?</li>", wrong, re.DOTALL)
    assert (
        'value="1"' in other
        and '<span class="chip abnormal">abnormal</span>' in other
        and "0.912" in other
        and "its own report" not in other
    )
    assert (
        'value="2"' in own
        and '<span class="chip normal">normal</span>' in own
        and "its own report" in own
        and "is-own" in own
    )
    assert "Example queries" not in headings(page(document()))


def test_a_strange_label_gets_no_class_of_its_own() -> None:
    assert '<span class="chip unknown">huge</span>' in page(document(), (), [example(label="huge")])


def test_two_pictures_stand_in_order_with_ids_of_their_own(full: str) -> None:
    assert headings(full)[-3:] == ["First", "Second", "Example queries"]
    found = Balanced(full).ids
    assert sorted(found) == ["a-m", "b-m"]
    assert full.index("caption one") < full.index("caption two")


def test_pictures_of_the_training_side_share_a_page() -> None:
    plots = pytest.importorskip("mtclip_edge.train.evaluation.plots")
    import numpy as np

    cloud = plots.Cloud(np.zeros((3, 2)), np.array([0, 1, -1]), np.array(["<script>", "a & b", ""]))
    history = [{"epoch": 1, "train": {"loss": 1.0}, "validation": {"auroc": 0.5}, "selection": 0.5}]
    drawn = (
        plots.clusters({"films": cloud}),
        plots.loss_curves(history),
        plots.reliability(np.array([0, 1]), np.array([0.2, 0.7]), None),
    )
    text = page(document(), [Picture(str(i), svg, "") for i, svg in enumerate(drawn)])
    found = Balanced(text)
    assert len(found.ids) == len(set(found.ids)) > 3
    assert "script" not in found.tags and "style" not in found.tags[found.tags.index("body") :]
    assert set(re.findall(r"https?://[^\"'<\s)]+", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_a_judged_evaluation_becomes_a_page_with_every_figure() -> None:
    import numpy as np

    from mtclip_edge.evaluation.cases import Cases
    from mtclip_edge.evaluation.figures import Judged
    from mtclip_edge.evaluation.model_on_cases import ModelOutput

    random = np.random.default_rng(3)
    cases = Cases.of([study(number) for number in range(60)])

    def unit(count: int) -> np.ndarray:
        vectors = random.normal(size=(count, 8)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    judged = Judged(
        cases,
        ModelOutput(unit(60), random.normal(size=60), unit(len(cases.reports))),
        frozenset({cases.reports[0].report_id}),
    )
    figures = [drawn.figure.to_dict() for drawn in judged.draw(20)]
    text = page(document(model("random", *figures)))
    Balanced(text)
    assert OTHER not in headings(text)
    assert len([cells for cells in rows(text) if cells[0] != "figure"]) == len(figures) > 40


def study(number: int) -> Study:
    """Every other one abnormal, a third AP, twenty texts twice, two findings."""
    film = Film(Path(f"{number}.png"), f"{number}.png", ("PA", "AP")[number % 3 == 0])
    names = ("mass", "nodule. big")[: 1 + number % 4 // 2] if number % 2 else ()
    label = ("normal", "abnormal")[number % 2]
    return Study(
        f"s{number}",
        f"p{number}",
        (film,),
        report=f"Report {number % 40}.",
        label=label,
        finding_labels=names,
    )


@pytest.mark.parametrize(
    ("name", "subset", "called", "heading"),
    [
        ("auroc", "all", "AUROC", "The abnormal head"),
        ("ece.calibrated", "all", "ECE, calibrated", "The abnormal head"),
        ("auprc", "view AP", "AUPRC", "By view"),
        ("precision@10.macro", "all", "P@10, macro", "Clinical relevance"),
        ("precision@10.normal", "view PA", "P@10, normal films", "By view"),
        ("precision@10.macro", "first 64", "P@10, macro", "Embeddings cut to their first numbers"),
        ("map@10", "all", "mAP@10", "Clinical relevance"),
        ("ndcg@10", "all", "nDCG@10", "Clinical relevance"),
        ("recall@5.film_to_report", "all", "Recall@5, film to report", "Both directions"),
        (
            "recall@5.report_to_film",
            "abnormal",
            "Recall@5, report to film",
            "Both directions, abnormal studies alone",
        ),
        (
            "balance_gap@10",
            "fresh",
            "Balance gap@10",
            "Both directions, without texts that stand verbatim in train",
        ),
        ("median_rank.film_to_report", "all", "Median rank, film to report", "Both directions"),
        ("finding@10.Pleural Effusion", "all", "Pleural Effusion", "Per finding"),
        ("finding@10.a.b@c", "all", "a.b@c", "Per finding"),
        ("invented", "all", "invented", "Other"),
        ("recall@5.film_to_moon", "all", "recall@5.film_to_moon", "Both directions"),
        ("recall@5.film_to_report", "mars", "Recall@5, film to report", "Other"),
    ],
)
def test_names_for_a_person(name: str, subset: str, called: str, heading: str) -> None:
    assert (title(name), group(name, subset)) == (called, heading)
    assert heading in GROUPS
    assert row_title(name, subset) == (
        f"{called}, {subset}"
        if heading in ("By view", "Embeddings cut to their first numbers", "Other")
        else called
    )
    assert len(called) <= 30 or heading == FINDINGS
