"""What a backbone's publisher allows is told wherever something made from it is: run, export, bundle, card, info."""

import json
import shutil
from pathlib import Path

import pytest

from mtclip_edge.export.pack import export
from mtclip_edge.train.backbones.licence import Licence, of_card


@pytest.mark.parametrize(
    ("name", "terms", "restriction"),
    [
        ("mit", None, None),
        ("apache-2.0", None, None),
        (None, None, None),
        ("cc-by-4.0", None, None),
        ("cc-by-nc-4.0", None, "non-commercial use only"),
        ("CC BY-NC-ND 4.0", None, "non-commercial use only"),
        ("other (msrla)", None, "research use only"),
        ("mit", "its model card: for research; any deployed use is out of scope", "research use only"),
        ("other (health-ai-developer-foundations)", None, "its publisher's own terms of use"),
        ("other", None, "its publisher's own terms of use"),
        ("mit", "gated: its publisher's terms must be accepted", "its publisher's own terms of use"),
    ],
)
def test_what_a_licence_restricts(name: str | None, terms: str | None, restriction: str | None) -> None:
    assert Licence(name, terms).restriction == restriction


def test_a_model_cards_front_matter(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    assert of_card(card) == Licence(None, None)
    card.write_text(
        "---\nlicense: other\nlicense_name: health-ai-developer-foundations\nlicense_link: https://example.org/terms\n---\n"
    )
    assert of_card(card, gated=True) == Licence(
        "other (health-ai-developer-foundations)",
        "https://example.org/terms; gated: its publisher's terms must be accepted",
    )
    card.write_text('---\nlicense: "mit\\e[31m"\n---\n')
    assert of_card(card) == Licence("mit\\x1b[31m", None)
    card.write_text("# No front matter\n")
    assert of_card(card) == Licence(None, None)
    card.write_bytes(b"---\nlicense: \xff\n---\n")
    assert of_card(card) == Licence(None, None)


@pytest.mark.usefixtures("known_graphs")
def test_a_restriction_is_told_on_export_and_kept(tiny_run: Path, tmp_path: Path, mtclip) -> None:
    run, bundle = Path(shutil.copytree(tiny_run, tmp_path / "run")), tmp_path / "bundle"
    record = json.loads((run / "run.json").read_text())
    assert record["backbone"].items() >= {"licence": None, "terms": None, "restriction": None}.items()
    licence = Licence("cc-by-nc-4.0", "cite the paper")
    record["backbone"] |= licence.to_dict()
    (run / "run.json").write_text(json.dumps(record))
    told = "backbone tiny-biomedclip: non-commercial use only (cc-by-nc-4.0; cite the paper)"
    said: list[str] = []
    export(run, bundle, precision=["fp32"], say=said.append)
    assert said.count(told) == 1
    assert json.loads((bundle / "manifest.json").read_text())["backbone"].items() >= licence.to_dict().items()
    card = next(bundle.glob("MODEL_CARD*")).read_text()
    assert "tiny-biomedclip, licence: cc-by-nc-4.0" in card and f"- {told}" in card
    for artefact in (run, bundle):
        assert " ".join(told.split()[:4]) in " ".join(mtclip("info", artefact).out.split())


@pytest.mark.usefixtures("known_graphs")
def test_a_run_of_before_has_no_terms(tiny_run: Path, tmp_path: Path, mtclip) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    record = json.loads((run / "run.json").read_text())
    del record["backbone"]["terms"], record["backbone"]["restriction"]
    (run / "run.json").write_text(json.dumps(record))
    said: list[str] = []
    export(run, tmp_path / "bundle", precision=["fp32"], say=said.append)
    assert not [line for line in said if line.startswith("backbone ")]
    assert "licence: not stated" in mtclip("info", tmp_path / "bundle").out
