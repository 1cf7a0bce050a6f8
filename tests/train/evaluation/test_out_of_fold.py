"""Recipes out of fold: what is finished is kept and used again, what is held out is never looked at."""

import csv
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.errors import RunUnusable, WrongOption
from mtclip_edge.evaluation.folds import Fold, fold_studies
from mtclip_edge.progress import silent
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.evaluation import out_of_fold
from mtclip_edge.train.evaluation.fold_store import FoldStore
from mtclip_edge.train.evaluation.further import Further, further
from mtclip_edge.train.evaluation.out_of_fold import FoldsRequest, cross_validate

DRAWN = "phantom:110@5"
BASE = {"epochs": 2, "batch_size": 32, "lr": 3e-3, "dropout": 0.1, "device": "cpu"}


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are not looked at here, and a thousand draws take most of the time."""
    monkeypatch.setattr(out_of_fold, "DRAWS", 20)


@pytest.fixture
def request_of(tiny_backbone: Path, tmp_path: Path):
    def make(*recipes: str, **more) -> FoldsRequest:
        base = {**BASE, "backbone": str(tiny_backbone)}
        return replace(FoldsRequest(DRAWN, 3, 0, recipes, base, out=tmp_path / "out"), **more)

    return make


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is trained from now on."""
    names: list[str] = []
    train = out_of_fold.fit_splits

    def counted(config, splits, where, *rest, **more):
        names.append(where)
        return train(config, splits, where, *rest, **more)

    monkeypatch.setattr(out_of_fold, "fit_splits", counted)
    return names


def figures(document: dict, number: int = 0) -> dict[tuple[str, str], dict]:
    return {(f["name"], f["subset"]): f for f in document["models"][number]["figures"]}


def test_every_film_but_those_of_test_is_judged_once(request_of, trained: list[str], tmp_path: Path) -> None:
    said: list[str] = []
    document = cross_validate(request_of("default", "clip=bce=0,supcon=0"), say=said.append)
    studies = [s for s in open_source(DRAWN).studies if s.films and s.split != "test"]
    films = sum(len(s.films) for s in studies)
    with (tmp_path / "out" / "films.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "default"]
    assert {row["part"] for row in rows} == {f"fold {number}, seed 0" for number in (1, 2, 3)}
    assert sorted(row["study_id"] for row in rows) == sorted(s.study_id for s in studies for _ in s.films)
    assert document["data"]["films"] == sum(part["films"] for part in document["folds"]["parts"]) == films
    assert document["data"]["split"] == "train and validation, out of fold"
    assert any(line.startswith("the test split is left out: ") for line in said)
    assert len(trained) == 6
    default, clip = (model["kind"] for model in document["models"])
    assert (default, clip) == ("recipe", "recipe")
    ours = figures(document)
    assert ours["auroc", "all"]["studies"] == sum(s.label != "unknown" for s in studies)
    assert ("auroc", "all") not in figures(document, 1)  # no head was trained
    rsum = sum(
        ours[f"recall@{k}.{way}", "all"]["value"]
        for k in (1, 5, 10)
        for way in ("film_to_report", "report_to_film")
    )
    assert ours["rsum", "all"]["value"] == pytest.approx(100 * rsum, rel=0.02)
    difference = document["differences"][0]
    assert (difference["model"], difference["against"]) == ("clip", "default")
    told = document["folds"]["recipes"][0]
    assert [t["fold"] for t in told["trainings"]] == [1, 2, 3]
    assert told["settings"]["text_side"] == "transformer"  # what the default comes to for this backbone


def test_what_is_finished_is_used_again_and_a_recipe_may_join(request_of, trained: list[str]) -> None:
    first = cross_validate(request_of("default"))
    again = cross_validate(request_of("default", "clip=bce=0,supcon=0"))
    assert [name.split(",")[0] for name in trained] == ["default"] * 3 + ["clip"] * 3
    assert again["models"][0] == first["models"][0]
    cross_validate(request_of("default", trainings=2))
    assert [name.rsplit(" ", 1)[1] for name in trained[6:]] == ["1", "1", "1"]


def test_the_first_folds_alone_are_some_of_all(request_of, trained: list[str]) -> None:
    part = cross_validate(request_of("default", first=2))
    assert [where.split(",")[1] for where in trained] == [" fold 1 of 3", " fold 2 of 3"]
    assert part["data"]["split"] == "train and validation, the first 2 of 3 folds, out of fold"
    assert [p["fold"] for p in part["folds"]["parts"]] == [1, 2]
    assert part["data"]["films"] == sum(p["films"] for p in part["folds"]["parts"])
    whole = cross_validate(request_of("default"))
    assert len(trained) == 3 and whole["data"]["films"] > part["data"]["films"]
    with pytest.raises(WrongOption, match="1 to 3"):
        cross_validate(request_of("default", first=4))


def test_the_same_seed_gives_the_same_figures(request_of, tmp_path: Path) -> None:
    one = cross_validate(request_of("default"))
    other = cross_validate(request_of("default", out=tmp_path / "elsewhere"))
    assert one["models"] == other["models"]


def test_another_setting_division_or_source_is_refused(request_of, monkeypatch: pytest.MonkeyPatch) -> None:
    cross_validate(request_of("default"))
    with pytest.raises(RunUnusable, match=r"default: trained with hidden 512, now 64\n.*another name"):
        cross_validate(request_of("default=hidden=64"))
    with pytest.raises(RunUnusable, match="holds folds of seed = 0, now 1"):
        cross_validate(request_of("default", seed=1))
    with pytest.raises(RunUnusable, match="holds folds of with_test = False, now True"):
        cross_validate(request_of("default", with_test=True))
    first, *rest = open_source(DRAWN).studies
    turned = replace(first, label={"normal": "abnormal", "abnormal": "normal"}[first.label])
    monkeypatch.setattr(
        out_of_fold, "open_source", lambda word: replace(open_source(word), studies=(turned, *rest))
    )
    with pytest.raises(RunUnusable, match="holds folds of other data"):
        cross_validate(request_of("default"))


def test_a_damaged_result_is_trained_again(request_of, trained: list[str]) -> None:
    made = cross_validate(request_of("default"))
    file = request_of().out / "default" / "fold-2-seed-0.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert cross_validate(request_of("default"))["models"] == made["models"]
    assert len(trained) == 4 and "fold 2 of 3" in trained[3]


def test_nothing_is_chosen_by_what_is_held_out(tiny_backbone: Path, request_of, tmp_path: Path) -> None:
    """Every label of the held films turned round: the same embeddings, logits, epoch and calibration."""
    studies = [s for s in open_source(DRAWN).studies if s.films]
    (fold, *_), _ = fold_studies(studies, {}, 3, 0)
    turned = {"normal": "abnormal", "abnormal": "normal", "unknown": "unknown"}
    other = replace(fold, held=tuple(replace(s, label=turned[s.label]) for s in fold.held))
    config = out_of_fold.read_recipes([], request_of().base)[0].config

    def judged(fold: Fold, name: str):
        store = FoldStore(tmp_path / name, (fold,), (fold,), 1, 1, name)
        recipe = out_of_fold.Recipe("default", config, {})
        return out_of_fold._train(recipe, fold, config, store, Further(), silent, silent)

    one, another = judged(fold, "one"), judged(other, "other")
    for part in ("film", "logit", "report"):
        np.testing.assert_array_equal(getattr(one.output, part), getattr(another.output, part))
    assert (one.best_epoch, one.output.calibration) == (another.best_epoch, another.output.calibration)
    assert one.summary(fold)["auroc"] == pytest.approx(1 - another.summary(other)["auroc"])


def test_further_sources_are_trained_on_and_never_judged(request_of, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: dict[str, set[str]] = {}
    train = out_of_fold.fit_splits

    def caught(config, splits, where, *rest, **more):
        trained[where] = {study.study_id for study in splits[0]}
        return train(config, splits, where, *rest, **more)

    monkeypatch.setattr(out_of_fold, "fit_splits", caught)
    document = cross_validate(request_of("default", "more=also=phantom:60@9"))
    one, more = document["models"]
    assert more["notes"][0] == "also phantom:60@9"
    assert [f["studies"] for f in one["figures"]] == [f["studies"] for f in more["figures"]]
    whole = [s for s in open_source("phantom:60@9").studies if s.films and s.split != "test"]
    for number in (1, 2, 3):
        alone, beside = (trained[f"{name}, fold {number} of 3, seed 0"] for name in ("default", "more"))
        assert alone <= beside and len(alone) < len(beside) <= len(alone) + len(whole)
    with pytest.raises(RunUnusable, match="of other data, settings or backbone"):
        cross_validate(request_of("default", "more=also=phantom:60@10"))


def test_further_studies_of_a_held_patient_are_left_out() -> None:
    studies = [s for s in open_source(DRAWN).studies if s.films and s.split != "test"]
    folds, _ = fold_studies(studies, {}, 3, 0)
    more = further([DRAWN], studies, False, silent)  # the same studies once more
    for fold in folds:
        assert {s.study_id for s in more.beside(fold)} == {s.study_id for s in fold.train}


def test_a_tower_is_trained_with_a_checkpoint_and_leaves_none(request_of) -> None:
    asked = request_of("tuned=unfreeze=1,epochs=1,heads_first=false", count=2)
    document = cross_validate(asked)
    assert document["models"][0]["figures"]
    names = {path.name for path in (asked.out / "tuned").iterdir()}
    assert names == {"fold-1-seed-0.safetensors", "fold-2-seed-0.safetensors"}


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tiny_backbone: Path, tmp_path: Path, mtclip) -> None:
    recipe = "default=epochs=2,batch_size=32,lr=0.003"
    words = ["eval", "--folds", "3", "--data", DRAWN, "--backbone", tiny_backbone, "--recipe", recipe]
    words += ["--device", "cpu", "--format", "json"]
    out, unbroken = tmp_path / "out", tmp_path / "unbroken"
    first = out / "default" / "fold-1-seed-0.safetensors"
    child = subprocess.Popen(
        [sys.executable, "-m", "mtclip_edge", *map(str, words), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 300
    while not first.is_file() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert first.is_file() and not (out / "metrics.json").exists()
    kept = first.stat().st_mtime_ns
    found, whole = mtclip(*words, "--out", out), mtclip(*words, "--out", unbroken)
    assert (found.code, whole.code) == (0, 0), found.err + whole.err
    assert first.stat().st_mtime_ns == kept
    resumed, once = json.loads(found.out), json.loads(whole.out)
    assert resumed["models"] == once["models"]
    assert json.loads((out / "metrics.json").read_text()) == resumed
    assert (out / "report.html").is_file()
