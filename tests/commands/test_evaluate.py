"""``mtclip eval``: what it judges, what it writes, and what it refuses."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mtclip_edge.errors import ExtraMissing
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import LABELS


def figures(model: dict) -> dict[tuple[str, str], dict]:
    return {(f["name"], f["subset"]): f for f in model["figures"]}


@pytest.fixture(scope="module")
def judged(
    tiny_run: Path, tiny_bundle: Path, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """One evaluation of run and bundle, as a process of its own, with what it wrote."""
    folder = tmp_path_factory.mktemp("judged") / "out"
    words = ["eval", tiny_run, tiny_bundle, "--data", source, "--format", "json", "--out", folder]
    done = subprocess.run(
        [sys.executable, "-m", "mtclip_edge", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(document=json.loads(done.stdout), err=done.stderr, folder=folder)


def test_eval_of_run_and_bundle_agree(judged: SimpleNamespace) -> None:
    run, bundle = judged.document["models"]
    assert (judged.document["schema"], run["kind"], bundle["kind"]) == ("mtclip.eval/1", "run", "bundle")
    assert (judged.document["data"]["split"], bundle["precision"]) == ("test", "fp32")
    # Differences in the seventh digit let two reports of nearly the same vector change places: one film in 46 is 0.022.
    ours, theirs = figures(run), figures(bundle)
    assert ours.keys() == theirs.keys()
    for key, figure in ours.items():
        if not figure["anecdote"] and not key[0].startswith("median_rank"):
            one = 100 if key[0] == "rsum" else 1  # a sum of shares in percent
            assert figure["value"] == pytest.approx(theirs[key]["value"], abs=0.05 * one), key
    assert ours["auroc", "all"]["value"] > 0.85
    difference = {(f["name"], f["subset"]): f for f in judged.document["differences"][0]["figures"]}
    assert difference["auroc", "all"]["low"] <= 0 <= difference["auroc", "all"]["high"]
    assert any(note.startswith("HNSW finds 1.0") for note in bundle["notes"])


def test_eval_writes_metrics_and_a_page_of_its_own(judged: SimpleNamespace) -> None:
    assert json.loads((judged.folder / "metrics.json").read_text()) == judged.document
    page = (judged.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4  # clusters, training, reliability, risk and coverage
    assert "data:image/png;base64," in page
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert {p.stat().st_mode & 0o777 for p in judged.folder.iterdir()} == {0o600}
    assert {p.name for p in judged.folder.iterdir()} == {
        "metrics.json",
        "report.html",
        "films.csv",
        "reports.csv",
    }


def test_a_row_a_film_stands_beside_the_figures(judged: SimpleNamespace, source: Path) -> None:
    with (judged.folder / "films.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ids = {s.study_id for s in open_source(str(source)).split("test") if s.films}
    for model in judged.document["models"]:
        mine = [r for r in rows if (r["model"], r["precision"]) == (model["name"], model["precision"] or "")]
        assert {row["study_id"] for row in mine} == ids
        sick, well = (
            [float(r["logit"]) for r in mine if r["label"] == label] for label in ("abnormal", "normal")
        )
        ordered = np.mean([(a > b) + (a == b) / 2 for a in sick for b in well])
        assert ordered == pytest.approx(figures(model)["auroc", "all"]["value"], abs=1e-6)
        assert {r["probability"] for r in mine} == {""}  # too few validation films to calibrate it
        precision = {}
        for label in ("abnormal", "normal"):
            told = [[r[f"label_{k}"] for k in range(1, 11)] for r in mine if r["label"] == label]
            precision[label] = np.mean([[one == label for one in labels] for labels in told])
            value = figures(model)[f"precision@10.{label}", "all"]["value"]
            assert precision[label] == pytest.approx(value, abs=1e-9)


def test_eval_as_a_table(mtclip, tiny_bundle: Path, source: Path, judged: SimpleNamespace) -> None:
    there = {p.name for p in tiny_bundle.iterdir()}
    found = mtclip("eval", tiny_bundle, "--data", source)
    rows: dict[str, list[str]] = {}
    for line in found.out.splitlines():
        name, *cells = re.split(r"\s{2,}", line.rstrip())
        rows.setdefault(name, cells)  # a figure of all studies stands before the same of some
    bundle = figures(judged.document["models"][1])
    auroc, recall = bundle["auroc", "all"], bundle["recall@10.film_to_report", "all"]
    assert rows["AUROC"] == [
        "0.500",
        f"{auroc['control']['value']:.3f}",
        f"{auroc['value']:.3f} [{auroc['low']:.3f}, {auroc['high']:.3f}]",
    ]
    bounds = f"[{recall['low']:.3f}, {recall['high']:.3f}]"
    assert rows["Recall@10, film to report"] == [
        f"{recall['chance']:.3f}",
        f"{recall['control']['value']:.3f}",
        f"{recall['value']:.3f} {bounds} ×{recall['lift']:.1f}",
    ]
    assert "exposure: whether" in found.out  # a backbone of random weights is in no table
    assert "Research use only" in found.out
    assert {p.name for p in tiny_bundle.iterdir()} == there  # a bundle is never written to


def test_the_control_is_near_chance_and_exposure_is_told(judged: SimpleNamespace) -> None:
    for model in judged.document["models"]:
        assert all(figure["control"] is not None for figure in model["figures"])
        told = figures(model)
        for name in ("auroc", "precision@10.macro"):
            control = told[name, "all"]["control"]
            assert control["low"] - 0.05 < 0.5 < control["high"] + 0.05
            assert control["value"] < told[name, "all"]["value"] - 0.1
        assert model["exposure"]["verdict"] == "unknown"
    assert judged.err.count("exposure: whether") == 1
    assert judged.document["control"]["seed"] == 0


def test_several_models_are_readable_in_a_narrow_terminal(judged: SimpleNamespace) -> None:
    import io

    from rich.console import Console

    from mtclip_edge.display.evaluation_table import print_eval

    shown = {}
    for width in (80, 140):
        out = io.StringIO()
        print_eval(judged.document, Console(file=out, width=width, highlight=False, markup=False))
        shown[width] = next(line for line in out.getvalue().splitlines() if line.startswith("AUROC"))
    values = [figures(model)["auroc", "all"]["value"] for model in judged.document["models"]]
    assert re.split(r"\s{2,}", shown[80].rstrip()) == [
        "AUROC",
        "0.500",
        f"{figures(judged.document['models'][0])['auroc', 'all']['control']['value']:.3f}",
        *(f"{value:.3f}" for value in values),
    ]
    assert shown[140].count("[") == 2


def leaking(source: Path, folder: Path) -> Path:
    """The same studies, with a train patient's film in the test split too."""
    with source.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    split = {s.study_id: s.split for s in open_source(str(source)).studies}
    for row in rows:
        row["image_path"], row["split"] = (
            row["image_path"] and str(source.parent / row["image_path"]),
            split[row["study_id"]],
        )
    train, test = (
        next(r for r in rows if r["split"] == name and r["image_path"]) for name in ("train", "test")
    )
    train["patient_id"], train["image_path"] = test["patient_id"], test["image_path"]
    path = folder / "leak.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_leak_is_an_error_and_allowed_it_is_marked(
    mtclip, tiny_bundle: Path, source: Path, tmp_path: Path
) -> None:
    path = leaking(source, tmp_path)
    found = mtclip("eval", tiny_bundle, "--data", path)
    assert (found.code, found.out) == (1, "")
    assert "1 patients are in the splits train and test" in found.err
    assert "--allow-leaks" in found.err
    allowed = mtclip("eval", tiny_bundle, "--data", path, "--allow-leaks", "--out", tmp_path / "o")
    assert allowed.code == 0
    assert allowed.out.startswith("LEAK: 1 patients")
    assert len(json.loads((tmp_path / "o" / "metrics.json").read_text())["leaks"]) == 2
    assert "1 identical films" in (tmp_path / "o" / "report.html").read_text()


def test_a_run_judged_on_its_own_train_films_is_a_leak(mtclip, tiny_run: Path, source: Path) -> None:
    found = mtclip("eval", tiny_run, "--data", source, "--split", "train")
    assert found.code == 1
    assert "was trained on" in found.err


def test_films_without_reports_search_the_runs(
    mtclip, tiny_run: Path, tiny_bundle: Path, source: Path, tmp_path: Path
) -> None:
    of = {
        label: [
            s.films[0].path for s in open_source(str(source)).split("test") if s.films and s.label == label
        ]
        for label in LABELS
    }
    films = [*of["abnormal"][:3], *of["normal"][:3]]
    lines = "".join(f"x{i},{path},{'abnormal' if i < 3 else 'normal'},test\n" for i, path in enumerate(films))
    (tmp_path / "m.csv").write_text(f"study_id,image_path,label,split\n{lines}")
    found = mtclip(
        "eval", tiny_run, "--data", tmp_path / "m.csv", "--format", "json", "--out", tmp_path / "o"
    )
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert document["data"]["searched"].startswith("the train reports of")
    assert document["data"]["reports"] > 10
    assert figures(document["models"][0])["precision@10.macro", "all"]["value"] > 0.6
    assert not any(name.startswith("recall") for name, _ in figures(document["models"][0]))
    alone = json.loads(mtclip("eval", tiny_bundle, "--data", tmp_path / "m.csv", "--format", "json").out)
    assert {name.split("@")[0] for name, _ in figures(alone["models"][0])} <= {
        "risk.all",
        "aurc.head",
        "auroc",
        "auprc",
        "ece",
        "ece.calibrated",
        "sensitivity",
        "specificity",
    }
    named = json.loads(
        mtclip("eval", tiny_bundle, "--data", tmp_path / "m.csv", "--reports", source, "--format", "json").out
    )
    assert named["data"]["searched"] == str(source)


@pytest.mark.parametrize("kind", ["tiny_backbone", "clip_backbone"])
def test_a_backbone_by_itself_is_a_baseline_in_both_geometries(
    mtclip, source: Path, kind: str, request
) -> None:
    found = mtclip("eval", "--backbone", request.getfixturevalue(kind), "--data", source, "--format", "json")
    assert found.code == 0, found.err
    crop, squash = json.loads(found.out)["models"]
    assert crop["kind"] == "backbone"
    assert crop["name"].endswith("(crop)")
    for model in (crop, squash):  # random weights: within four times the interval's half width of chance
        figure = figures(model)["precision@10.macro", "all"]
        assert abs(figure["value"] - 0.5) < 4 * (figure["high"] - figure["low"]) / 2
        assert "auroc" in {name for name, _ in figures(model)}


def test_the_ablation_compares_each_combination_of_losses_with_clip_alone(
    mtclip, source: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    found = mtclip(
        "eval",
        "--ablate",
        "--seeds",
        "2",
        "--backbone",
        tiny_backbone,
        "--data",
        source,
        "--format",
        "json",
        "--out",
        tmp_path / "o",
    )
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert [m["name"] for m in document["models"]] == [
        "CLIP",
        "CLIP + BCE",
        "CLIP + SupCon",
        "CLIP + BCE + SupCon",
    ]
    assert [d["against"] for d in document["differences"]] == ["CLIP"] * 3
    assert ["auroc" in {name for name, _ in figures(m)} for m in document["models"]] == [
        False,
        True,
        False,
        True,
    ]
    assert any("standard deviation over seeds" in note for note in document["models"][0]["notes"])
    assert (tmp_path / "o" / "report.html").is_file()


@pytest.mark.torch
def test_an_interval_of_the_ablation_holds_the_spread_over_trainings() -> None:
    """Two trainings that differ: an interval over patients alone would not know."""
    from mtclip_edge.evaluation.bootstrap import Bootstrapped, Figure
    from mtclip_edge.train.evaluation.ablation import _averaged

    runs = [[Bootstrapped(Figure("auroc", "all", value), np.full(1000, value))] for value in (0.6, 0.8)]
    found = _averaged("x", runs).drawn[0].figure
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.6, 0.8))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to evaluate"),
        (("--ablate", "--seeds", "0"), "--seeds 0"),
        (("--ablate", "x"), "--ablate trains its own models"),
    ],
)
def test_eval_of_nothing_in_particular(mtclip, source: Path, words: tuple[str, ...], said: str) -> None:
    found = mtclip("eval", *words, "--data", source)
    assert (found.code, found.out) == (2, "")
    assert said in found.err


def test_eval_of_a_split_that_is_empty(mtclip, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("study_id,report\n1,Clear.\n")
    found = mtclip("eval", tiny_bundle, "--data", tmp_path / "m.csv")
    assert (found.code, found.out) == (1, "")
    assert "no film in the split test\nuse --split all" in found.err


def test_a_run_without_torch_is_told_before_anything_is_read(
    mtclip, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ExtraMissing("torch is not installed: this command needs it")

    monkeypatch.setattr("mtclip_edge.train.evaluation.evaluate.need_torch", missing)
    for words in ([tiny_run], ["--backbone", "compact"]):
        refused = mtclip("eval", *words, "--data", tmp_path / "gone.csv")
        assert (refused.code, refused.err) == (1, "torch is not installed: this command needs it\n")


def films_of(source: Path, folder: Path, label: str, count: int, told: str | None = None) -> Path:
    """A manifest of some films of one label, perhaps called otherwise."""
    studies = [s for s in open_source(str(source)).split("test") if s.films and s.label == label][:count]
    lines = "".join(
        f"{s.study_id},{s.films[0].path},{s.text.replace(',', ' ')},{told or label},test\n" for s in studies
    )
    path = folder / f"{label}.csv"
    path.write_text(f"study_id,image_path,report,label,split\n{lines}", encoding="utf-8")
    return path


def test_films_of_one_label_say_what_they_cannot_tell(
    mtclip, tiny_bundle: Path, source: Path, tmp_path: Path
) -> None:
    found = mtclip(
        "eval", tiny_bundle, "--data", films_of(source, tmp_path, "normal", 4), "--out", tmp_path / "o"
    )
    assert found.code == 0, found.err
    said = " ".join(found.out.split())
    assert "Every labelled film is normal: AUROC, sensitivity, specificity and macro P@K need both" in said
    assert "4 studies are an anecdote" in said
    assert "Every labelled film is normal" in (tmp_path / "o" / "report.html").read_text(encoding="utf-8")


def test_one_film_is_judged_and_called_an_anecdote(
    mtclip, tiny_bundle: Path, source: Path, tmp_path: Path
) -> None:
    data = films_of(source, tmp_path, "abnormal", 1)
    found = mtclip("eval", tiny_bundle, "--data", data)
    assert found.code == 0, found.err
    assert "1 study is an anecdote" in found.out
    (model,) = json.loads(mtclip("eval", tiny_bundle, "--data", data, "--format", "json").out)["models"]
    rank = figures(model)["median_rank.film_to_report", "all"]
    assert (rank["value"], rank["chance"]) == (1, 1)  # of one report a random order ranks it first too


def test_labels_of_other_words_stop_before_anything_is_judged(
    mtclip, tiny_bundle: Path, source: Path, tmp_path: Path
) -> None:
    data = films_of(source, tmp_path, "abnormal", 4, told="sick")
    found = mtclip("eval", tiny_bundle, "--data", data)
    assert (found.code, found.out) == (1, "")
    assert "4 of" in found.err and "rows are bad" in found.err and "--allow-bad-rows" in found.err
    allowed = mtclip("eval", tiny_bundle, "--data", data, "--allow-bad-rows")
    assert allowed.code == 0
    assert "No film has a label" in allowed.out
    mapped = mtclip("eval", tiny_bundle, "--data", data, "--map", "label:sick=abnormal")
    assert mapped.code == 0 and "Every labelled film is abnormal" in mapped.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nowhere",), 1, "nowhere: no such directory"),
        (("{bundle}", "--split", "tset"), 2, "did you mean test?"),
        (("{bundle}", "--out", "{file}"), 2, "is no folder"),
        (("{bundle}", "--out", "{bundle}"), 1, "is a bundle, which eval does not write to"),
    ],
)
def test_what_is_wrong_is_said_before_a_source_is_read(
    mtclip, tiny_bundle: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "file").write_text("x")
    there = {p.name for p in tiny_bundle.iterdir()}
    named = [word.format(bundle=tiny_bundle, file=tmp_path / "file") for word in words]
    found = mtclip("eval", *named, "--data", tmp_path / "no-such-source.csv")
    assert (found.code, found.out) == (code, "")
    assert said in found.err and "no-such-source" not in found.err
    assert {p.name for p in tiny_bundle.iterdir()} == there


@pytest.mark.torch  # what recipes may hold is what training knows
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "default"], "--recipe is for --folds"),
        (["--folds", "5", "--ablate"], "two ways"),
        (["--folds", "5", "--split", "test"], "expected --split all, which takes the test split in"),
        (["--folds", "5", "--reports", "phantom:9@1"], "--folds trains its own models"),
        (["--folds", "1"], "--folds 1\nexpected 2 or more"),
        (["--folds", "5", "--seeds", "0"], "--seeds 0"),
        (["--folds", "5", "--recipe", "a=drop=1"], "did you mean dropout"),
    ],
)
def test_folds_that_cannot_be_made(mtclip, tmp_path: Path, words: list[str], message: str) -> None:
    found = mtclip("eval", "--data", "phantom:9@1", "--out", tmp_path / "out", *words)
    assert (found.code, found.out) == (2, "")
    assert message in found.err
    assert not (tmp_path / "out").exists()
