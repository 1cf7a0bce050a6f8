"""The published protocols: who is asked, what is a hit, by hand; and the whole script on phantoms laid out like
MIMIC-CXR and CheXpert Plus.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import script
from judged_cases import study, unit
from phantom_layouts import chexpert_of_phantoms, mimic_of_phantoms

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.evaluation.bundle_models import Model
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.sources.source import open_source

pytestmark = pytest.mark.torch
PHANTOMS = "phantom:90@11"


@pytest.fixture(scope="module")
def reproduce():
    return script("retrieval/reproduce")


@pytest.fixture(scope="module")
def protocols(reproduce):
    return reproduce.protocols


def test_pairs_are_one_frontal_film_of_each_test_study_with_a_text(protocols, tmp_path: Path) -> None:
    reading = open_source(f"mimic-cxr:{mimic_of_phantoms(tmp_path, PHANTOMS)}")
    asked = protocols.asked("mimic-3041", reading.studies)
    test = [s for s in reading.studies if s.split == "test"]
    assert 5 < len(asked) == len(test) < len(reading.studies)
    assert all(len(s.films) == 1 and s.films[0].view == "PA" for s in asked)
    assert protocols.note("mimic-3041", asked).endswith(
        "published: 3041, so figures are not of the same films"
    )
    with pytest.raises(SourceUnusable, match="0 studies can be asked"):
        protocols.asked("openi", [s for s in reading.studies if s.split == "train"])


def test_classes_hold_studies_of_one_observation_alone(protocols) -> None:
    studies = [
        study("both", "a", "abnormal", findings=("Edema", "Cardiomegaly")),
        study("other", "b", "abnormal", findings=("Edema", "Pneumonia")),
        study("tube", "c", "abnormal", findings=("Edema", "Support Devices")),
        study("lateral", "d", "abnormal", findings=("Edema",), view="lateral"),
        *(study(f"e{i}", f"e {i}", "abnormal", findings=("Edema",)) for i in range(9)),
        *(study(f"p{i}", f"p {i}", "abnormal", findings=("Pleural Effusion",)) for i in range(3)),
    ]
    asked = protocols.asked("chexpert-5x200", studies, each=5)
    names = [s.study_id for s in asked]
    assert not {"both", "other", "lateral"} & set(names) and len(names) == 8
    assert [s.study_id for s in protocols.asked("chexpert-5x200", studies[::-1], each=5)] == names  # seeded
    assert "tube" in {s.study_id for s in protocols.asked("chexpert-5x200", studies, each=50)}
    assert "5 Edema, 3 Pleural Effusion" in protocols.note("chexpert-5x200", asked)


def test_a_pairs_recall_is_counted_by_hand_and_a_twin_is_wrong(protocols) -> None:
    cases = Cases.of([study(f"s{i}", f"text {i}" if i else "text 1", "normal") for i in range(4)])
    # Studies 0 and 1 share a text: two entries, of which neither stands alone before the other.
    vectors = unit(np.eye(len(cases.reports)).tolist())
    film = vectors[cases.own_report.argmax(axis=1)]
    found = protocols.pair_recalls(Model("m", "run", cases, ModelOutput(film, None, vectors)), "m")
    assert found.forth == (50.0, 100.0, 100.0) and found.back == (50.0, 100.0, 100.0)
    assert found.rsum == 500.0
    assert protocols.recall_row(found) == "| m | 50.0 | 100.0 | 100.0 | 50.0 | 100.0 | 100.0 | 500.0 |"
    turned = protocols.pair_recalls(Model("m", "run", cases, ModelOutput(-film, None, vectors)), "m")
    assert turned.forth[0] == 0.0 and turned.forth[1] == 100.0  # the last of four


def test_published_figures_are_those_of_the_issue_and_their_sum(protocols) -> None:
    first, second = protocols.PUBLISHED["mimic-3041"]
    assert first.rsum == pytest.approx(274.2)
    assert protocols.recall_row(second).endswith("| 26.1 | 54.8 | 68.5 | – | – | – | – |")
    assert protocols.chance_recalls(200).forth == (0.5, 2.5, 5.0)


def test_classes_by_hand(protocols) -> None:
    """Films that lie on their class: every figure is 1; dealt round the classes, every figure is 0."""
    names = ("Edema", "Pleural Effusion")
    studies = [study(f"s{i}", f"report {i}", "abnormal", findings=(names[i % 2],)) for i in range(12)]
    cases = Cases.of(studies, [*protocols.prompts(), *studies])
    axes = {name: i for i, name in enumerate(protocols.PROMPTS)}
    report = unit([np.eye(5)[axes[r.first.finding_labels[0]]].tolist() for r in cases.reports])
    film = unit([np.eye(5)[axes[s.finding_labels[0]]].tolist() for s in cases.studies])
    right = protocols.class_figures(Model("m", "run", cases, ModelOutput(film, None, report)))
    assert right["prompt > film P@5"] == 1.0 and right["film > report P@5"] == 1.0
    assert right["zero-shot accuracy"] == 1.0 and right["chance"] == 0.5
    # Six films a class, five reports of other patients: the first ten hold what is there of the other class.
    assert right["prompt > film P@10"] == pytest.approx(0.6)
    assert right["film > report P@10"] == pytest.approx(0.5)
    wrong = protocols.class_figures(Model("m", "run", cases, ModelOutput(film[[1, 0] * 6], None, report)))
    assert wrong["zero-shot accuracy"] == 0.0 and wrong["prompt > film P@5"] == 0.0
    assert wrong["film > report P@5"] == 0.0


def test_mimic_from_end_to_end(
    reproduce, tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data, kept = mimic_of_phantoms(tmp_path / "mimic", PHANTOMS), tmp_path / "kept.json"
    words = ["--protocol", "mimic-3041", "--data", f"mimic-cxr:{data}", "--biomedclip", str(tiny_backbone)]
    more = ["--out", str(tmp_path / "out"), "--seeds", "1", "--epochs", "2", "--json", str(kept)]
    reproduce.main([*words, *more])
    out = capsys.readouterr().out
    (rows,) = json.loads(kept.read_text(encoding="utf-8"))["figures"]["tables"]
    names = [row[""] for row in rows]
    assert names[:3] == [
        "published: BiomedCLIP fine-tuned",
        "published: the same with a patch bottleneck",
        "a random order",
    ]
    assert names[3:] == [
        *(f"{tiny_backbone.name} ({way})" for way in ("crop", "squash")),
        *(f"{name}, seed 0" for name in ("CLIP", "CLIP + BCE", "CLIP + SupCon", "CLIP + BCE + SupCon")),
    ]
    assert rows[0]["RSUM"] == 274.2 and all(0 <= row["RSUM"] <= 600 for row in rows[2:])
    assert "exposure: whether tiny-biomedclip has seen these films is unknown" in out
    assert (tmp_path / "out" / "films.csv").is_file() and (tmp_path / "out" / "mimic-3041.md").is_file()


def test_chexpert_from_end_to_end_with_a_run_of_ones_own(
    reproduce, tiny_backbone: Path, tiny_run: Path, tiny_bundle: Path, tmp_path: Path, capsys
) -> None:
    data = chexpert_of_phantoms(tmp_path / "chexpert", PHANTOMS)
    words = ["--protocol", "chexpert-5x200", "--data", f"chexpert-plus:{data}", "--clip", str(tiny_backbone)]
    reproduce.main(
        [*words, "--model", str(tiny_run), "--model", str(tiny_bundle), "--out", str(tmp_path / "out")]
    )
    out = capsys.readouterr().out
    assert "0 Atelectasis" in out and "published: 1000" in out
    rows = [line.strip("| ").split(" | ") for line in out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1:]] == [
        f"{tiny_backbone.name} (crop)",
        f"{tiny_backbone.name} (squash)",
        tiny_run.name,
        f"{tiny_bundle.name}, fp32",
    ]
    assert all(0 <= float(cell) <= 1 for row in rows[1:] for cell in row[1:])
    run, bundle = ([float(cell) for cell in row[1:]] for row in rows[3:])
    assert np.allclose(run, bundle, atol=0.05)  # the bundle is that run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected --clip and --biomedclip"),
        (["--protocol", "openi"], "nothing to ask"),
        (["--clip", "x", "--biomedclip", "y", "--model", "z"], "and no --model"),
    ],
)
def test_what_is_missing_is_said(
    reproduce, words: list[str], said: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=said):
        reproduce.main([*words, "--data", str(source), "--out", str(tmp_path / "out")])
