"""Training: it learns, it uses what it says it uses, and a killed run ends with the weights of an unbroken one."""

import json
import os
import random as stdlib_random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mtclip_edge.errors import (
    ArtefactDamaged,
    ArtefactIncompatible,
    DeviceUnavailable,
    Refused,
    RunUnusable,
    SourceUnusable,
)
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import evaluate
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Film, Study
from mtclip_edge.train import loop, split_tensors, training
from mtclip_edge.train.projector import ProjectorShape
from mtclip_edge.train.run import RUN, load_run
from mtclip_edge.train.settings import TrainConfig

CPU = torch.device("cpu")
KINDS = 20  # times good and bad: 40 distinct reports


def table(rows: int, seed: int) -> split_tensors.Table:
    """Made features whose first number tells the label and whose next ones tell the report."""
    random = np.random.default_rng(seed)
    abnormal = random.integers(0, 2, rows)
    kind = random.integers(0, KINDS, rows)
    studies = [
        Study(
            f"{seed}-{i}",
            f"{seed}-{i}",
            (Film(Path(f"{i}.png"), f"{i}.png"),),
            report=f"kind {kind[i]} {'bad' if abnormal[i] else 'good'}",
        )
        for i in range(rows)
    ]
    studies = [
        Study(**{**vars(s), "label": "abnormal" if a else "normal"})
        for s, a in zip(studies, abnormal, strict=True)
    ]
    cases = Cases.of(studies)
    code = {r.report_id: i for i, r in enumerate(cases.reports)}
    report = torch.tensor([code[s.report_id] for s in cases.studies])
    words = [r.first.text.split() for r in cases.reports]
    text = torch.tensor(
        [[3.0 * (w[2] == "bad"), *(3.0 * (int(w[1]) == j) for j in range(KINDS)), 1.0] for w in words]
    )
    film = torch.tensor(random.normal(0, 1, (rows, 32)), dtype=torch.float32)
    film[:, 0] += 3.0 * torch.tensor(abnormal)
    film[torch.arange(rows), 1 + torch.tensor(kind)] += 3.0
    return split_tensors.Table(cases, film, text, report, torch.tensor(abnormal), ())


SHAPE = ProjectorShape(32, KINDS + 2, 32, 12, residual=False, dropout=0.2)


def fitted(folder: Path, **settings: object) -> training.Fit:
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainConfig(**{"epochs": 30, "batch_size": 64, "lr": 5e-3, "patience": 30, **settings})
    return training.Fit(config, SHAPE, 14.0, table(300, 1), table(100, 2), CPU).run(
        folder, False, lambda _: None
    )


def test_it_learns_labels_and_reports(tmp_path: Path) -> None:
    found = fitted(tmp_path).history[-1]["validation"]
    assert found["auroc"] > 0.9
    assert found["precision@10"]["macro"] > 0.8
    assert found["film_to_report"]["recall@1"]["lift"] > 4
    assert found["report_to_film"]["recall@1"]["lift"] > 4


@pytest.mark.parametrize("name", ["clip", "supcon", "bce"])
def test_each_loss_alone_falls_and_the_others_are_not_computed(tmp_path: Path, name: str) -> None:
    weights = {"clip": 0.0, "supcon": 0.0, "bce": 0.0, name: 1.0}
    history = fitted(tmp_path, epochs=12, **weights).history
    assert set(history[0]["train"]) == {name, "loss"}
    assert history[-1]["train"][name] < history[0]["train"][name] - 0.05
    assert (history[-1]["validation"]["auroc"] is None) == (name != "bce")


def test_each_loss_does_what_it_is_for(tmp_path: Path) -> None:
    """CLIP finds the report; SupCon the class; neither does the other's work as well."""
    clip = fitted(tmp_path / "c", supcon=0.0, bce=0.0).history[-1]["validation"]
    supcon = fitted(tmp_path / "s", supcon=1.0, bce=0.0, clip=0.0).history[-1]["validation"]
    assert supcon["precision@10"]["macro"] > clip["precision@10"]["macro"] + 0.05
    assert clip["film_to_report"]["recall@1"]["value"] > supcon["film_to_report"]["recall@1"]["value"] + 0.2


def test_the_best_validation_epoch_is_kept_and_patience_stops(tmp_path: Path) -> None:
    done = fitted(tmp_path, epochs=200, patience=4)
    assert len(done.history) < 200
    assert len(done.history) - done.best_epoch == 4
    assert done.best_score == max(entry["selection"] for entry in done.history)


def test_test_labels_are_never_looked_at(
    source: Path, tiny_backbone: Path, tiny_run: Path, tmp_path: Path
) -> None:
    """Another label on every test study gives the same weights, bit by bit."""
    import csv

    with source.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    test = {s.study_id for s in open_source(str(source)).split("test")}
    flip = {"normal": "abnormal", "abnormal": "normal", "": "normal"}
    for row in rows:
        row["image_path"] = row["image_path"] and str(source.parent / row["image_path"])
        if row["study_id"] in test:
            row["label"] = flip[row["label"]]
    with (tmp_path / "m.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    config = TrainConfig(**load_run(tiny_run).record.config.settings)
    training.train(config, [str(tmp_path / "m.csv")], tmp_path / "run")
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == (
        tiny_run / "weights.safetensors"
    ).read_bytes()


def test_a_seed_gives_the_same_weights_and_another_others(tmp_path: Path) -> None:
    a, b, c = (fitted(tmp_path / n, epochs=3, seed=s) for n, s in (("a", 1), ("b", 1), ("c", 2)))
    assert all(torch.equal(a.best[name], b.best[name]) for name in a.best)
    assert not all(torch.equal(a.best[name], c.best[name]) for name in a.best)


KILLABLE = """
import os, sys
sys.path.insert(0, {folder!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_training import CPU, SHAPE, training, table, TrainConfig
config = TrainConfig(epochs=24, batch_size=16, lr=5e-3, patience=24)
parts = (config, SHAPE, 14.0, table(400, 1), table(60, 2), CPU)
for out in map(str.strip, sys.stdin):
    if (child := os.fork()) == 0:
        training.Fit(*parts).run(Path(out), True, lambda _: None)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Killable:
    """A process that runs or resumes a training in each folder named to it, in a child of its own: torch is imported once."""

    def __enter__(self) -> "Killable":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        code = KILLABLE.format(folder=str(Path(__file__).parent))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, env=environment
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def run(self, out: Path, seconds: float | None = None) -> bool:
        """Train into ``out`` for ``seconds``, then SIGKILL; whether it had ended by then."""
        assert self.process.stdin is not None and self.process.stdout is not None
        out.mkdir(exist_ok=True)
        self.process.stdin.write(f"{out}\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)  # its parent waits: until then a child that ended keeps its number
        return int(self.process.stdout.readline()) == 0


@pytest.mark.slow
def test_a_run_killed_at_random_times_ends_with_the_weights_of_an_unbroken_one(
    tmp_path: Path, soak: bool
) -> None:
    """SIGKILL in mid-epoch and in mid-save: an epoch takes some tens of milliseconds here, of which saving is a part."""
    random, kills = stdlib_random.Random(5), 0  # noqa: S311
    with Killable() as killable:
        assert killable.run(tmp_path / "unbroken")
        for _ in range(60 if soak else 12):
            kills += not killable.run(tmp_path / "broken", random.uniform(0.05, 0.25))
        assert killable.run(tmp_path / "broken")
    assert kills >= 3
    a, b = (load_checkpoint(tmp_path / name) for name in ("unbroken", "broken"))
    assert a[1]["history"][-1]["epoch"] == 24
    assert set(a[0]) == set(b[0])
    assert all(torch.equal(a[0][name], b[0][name]) for name in a[0])
    assert [e["selection"] for e in a[1]["history"]] == [e["selection"] for e in b[1]["history"]]


def load_checkpoint(folder: Path) -> tuple:
    from mtclip_edge.train.run import load_tensors

    return load_tensors(folder / "checkpoint.safetensors")


def test_resume_refuses_another_configuration(tmp_path: Path) -> None:
    fitted(tmp_path, epochs=2)
    config = TrainConfig(epochs=2, batch_size=64, lr=1e-3, patience=30)
    with pytest.raises(RunUnusable, match="another configuration or other data"):
        training.Fit(config, SHAPE, 14.0, table(300, 1), table(100, 2), CPU).run(
            tmp_path, True, lambda _: None
        )


def test_a_run_is_never_overwritten(source: Path, tiny_run: Path, tiny_backbone: Path) -> None:
    config = TrainConfig(**load_run(tiny_run).record.config.settings)
    with pytest.raises(Refused, match="already holds a run"):
        training.train(config, [str(source)], tiny_run)
    said: list[str] = []
    training.train(config, [str(source)], tiny_run, resume=True, say=said.append)
    assert said == [f"{tiny_run}: already finished"]


def test_an_unfinished_run_is_named_as_such(tmp_path: Path, source: Path, tiny_backbone: Path) -> None:
    fitted(tmp_path / "r", epochs=1)
    with pytest.raises(RunUnusable, match="the run is not finished\nmtclip train --out"):
        load_run(tmp_path / "r")
    with pytest.raises(Refused, match="holds an unfinished run\nadd --resume"):
        training.train(TrainConfig(backbone=str(tiny_backbone)), [str(source)], tmp_path / "r")
    with pytest.raises(RunUnusable, match="not a run"):
        load_run(tmp_path / "gone")


def test_the_record_of_a_run(tiny_run: Path, source: Path) -> None:
    record = load_run(tiny_run).record
    assert record.data.sources == (f"manifest:{source}",)
    assert record.backbone.record.aligned and record.shape.residual
    assert record.notice.startswith("Research use only")
    log = [json.loads(line) for line in (tiny_run / "log.jsonl").read_text().splitlines()]
    assert len(log) == record.epochs_run
    assert log[record.best_epoch - 1]["validation"] == record.validation.to_dict()


def test_damaged_and_newer_runs(tiny_run: Path, tmp_path: Path) -> None:
    import shutil

    run = Path(shutil.copytree(tiny_run, tmp_path / "r"))
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(ArtefactIncompatible, match="run format 2"):
        load_run(run)
    (run / "run.json").write_text("{")
    with pytest.raises(ArtefactDamaged, match="not JSON"):
        load_run(run)
    (run / "run.json").write_text(json.dumps(record))
    weights = (run / "weights.safetensors").read_bytes()
    (run / "weights.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(ArtefactDamaged, match="weights.safetensors: not the weights that run.json names"):
        load_run(run)


def test_no_film_to_train_on(tmp_path: Path, tiny_backbone: Path) -> None:
    (tmp_path / "m.csv").write_text("study_id,report\n1,Clear.\n")
    with pytest.raises(SourceUnusable, match="no film of the train split can be read"):
        training.train(TrainConfig(backbone=str(tiny_backbone)), [str(tmp_path / "m.csv")], tmp_path / "run")


def test_cuda_is_asked_for_in_vain() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceUnavailable, match="torch finds no CUDA device"):
        split_tensors.choose_device("cuda")
    assert split_tensors.choose_device("auto")[1] == "torch finds no CUDA device"


def test_unknown_labels_and_missing_texts_are_trained_on_where_they_can_be(tmp_path: Path) -> None:
    """A row without text or label still moves the losses it belongs to, and never gives a NaN."""
    base = table(120, 1)
    label, report = base.label.clone(), base.report.clone()
    label[::3], report[1::3] = -1, -1
    mixed = split_tensors.Table(base.cases, base.film, base.text, report, label, ())
    config = TrainConfig(epochs=3, batch_size=32, lr=5e-3)
    done = training.Fit(config, SHAPE, 14.0, mixed, table(60, 2), CPU).run(tmp_path, False, lambda _: None)
    assert all(np.isfinite(v) for entry in done.history for v in entry["train"].values())
    nothing = split_tensors.Table(
        base.cases, base.film, base.text, torch.full_like(report, -1), torch.full_like(label, -1), ()
    )
    still = training.Fit(config, SHAPE, 14.0, nothing, table(60, 2), CPU)
    with torch.no_grad():
        assert {float(v) for v in still._losses(torch.arange(32), base.film[:32]).values()} == {0.0}


def test_a_batch_that_serves_no_loss_is_passed_over(tmp_path: Path) -> None:
    """97 films in batches of 32: the last batch is one film, which CLIP alone cannot use."""
    config = TrainConfig(epochs=2, batch_size=32, bce=0.0, supcon=0.0)
    done = training.Fit(config, SHAPE, 14.0, table(97, 1), table(60, 2), CPU).run(
        tmp_path, False, lambda _: None
    )
    assert len(done.history) == 2


def test_films_that_serve_no_loss_are_refused(tmp_path: Path, source: Path, tiny_backbone: Path) -> None:
    from mtclip_edge.sources.source import open_source as read

    names = [s.films[0].path for s in read(str(source)).split("train") if s.films][:4]
    rows = "".join(f"{i},{path},train\n" for i, path in enumerate(names))
    (tmp_path / "m.csv").write_text("study_id,image_path,split\n" + rows)
    with pytest.raises(SourceUnusable, match="no film of the train split serves a loss"):
        training.train(TrainConfig(backbone=str(tiny_backbone)), [str(tmp_path / "m.csv")], tmp_path / "run")


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    broken = table(100, 1)
    broken.film[3] = float("nan")
    config = TrainConfig(epochs=2, batch_size=32)
    with pytest.raises(RunUnusable, match="diverged in epoch 1.*\ntry a smaller --lr"):
        training.Fit(config, SHAPE, 14.0, broken, table(60, 2), CPU).run(tmp_path, False, lambda _: None)


def test_resume_of_a_finished_run_of_another_configuration(
    tiny_run: Path, source: Path, tiny_backbone: Path
) -> None:
    with pytest.raises(RunUnusable, match="a finished run with another epochs"):
        training.train(TrainConfig(backbone=str(tiny_backbone)), [str(source)], tiny_run, resume=True)


def test_embeddings_can_be_cut_because_the_space_is_turned() -> None:
    """The first half of the numbers finds nearly what all find, and more than any half did before."""
    from mtclip_edge.evaluation.model_on_cases import ModelOutput

    def recall(embedded: ModelOutput) -> float:
        return evaluate(table(100, 2).cases, embedded.film, None, embedded.report)["film_to_report"][
            "recall@5"
        ]["value"]

    config = TrainConfig(epochs=30, batch_size=64, lr=5e-3, patience=30)
    done = training.Fit(config, SHAPE, 14.0, table(300, 1), table(100, 2), CPU).run(
        None, False, lambda _: None
    )
    found = []
    for _ in range(2):
        done.space.load_state_dict(done.best)
        film, _, report = loop.embed(done.space, table(100, 2))
        found.append(ModelOutput(film, None, report))
        done.finish()
    assert recall(found[0]) == recall(found[1])
    assert recall(found[1].first(6)) > recall(found[0].first(6))


def test_the_averaged_weights_are_kept_and_survive_an_interruption(tmp_path: Path) -> None:
    config = TrainConfig(epochs=4, batch_size=64, lr=5e-3, patience=30, ema=0.9)
    parts = (config, SHAPE, 14.0, table(300, 1), table(100, 2), CPU)
    whole = training.Fit(*parts).run(None, False, lambda _: None)

    def stop(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise KeyboardInterrupt

    (tmp_path / "b").mkdir()
    with pytest.raises(KeyboardInterrupt):
        training.Fit(*parts).run(tmp_path / "b", False, stop)
    resumed = training.Fit(*parts).run(tmp_path / "b", True, lambda _: None)
    assert all(torch.equal(whole.best[name], resumed.best[name]) for name in whole.best)
    last = training.Fit(TrainConfig(**{**config.to_dict(), "ema": 0.0}), *parts[1:]).run(
        None, False, lambda _: None
    )
    assert not torch.equal(whole.best["film.out.weight"], last.best["film.out.weight"])


def test_calibration_is_fitted_on_validation_and_stored(tiny_run: Path) -> None:
    record = load_run(tiny_run).record
    assert record.calibration is None or record.calibration.films <= record.data.films["validation"]
    done = training.Fit(
        TrainConfig(epochs=3, batch_size=64, lr=5e-3), SHAPE, 14.0, table(300, 1), table(100, 2), CPU
    ).run(None, False, lambda _: None)
    found = done.finish()
    assert found.films == 100
    _, logit, _ = loop.embed(done.space, table(100, 2))
    assert (logit[table(100, 2).label.numpy() == 0] < found.threshold).mean() >= 0.9
    silent = training.Fit(TrainConfig(epochs=1, bce=0.0), SHAPE, 14.0, table(300, 1), table(100, 2), CPU).run(
        None, False, lambda _: None
    )
    assert silent.finish() is None


def test_a_run_of_before_the_text_side_could_be_chosen_is_the_same_run(
    tiny_run: Path, source: Path, tmp_path: Path
) -> None:
    import shutil

    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    record = json.loads((run / RUN).read_text())
    assert record["config"].pop("text_side") == "transformer"
    (run / RUN).write_text(json.dumps(record))
    resolved = TrainConfig(**load_run(tiny_run).record.config.settings)
    for side in ("transformer", "auto"):
        said: list[str] = []
        training.train(replace(resolved, text_side=side), [str(source)], run, resume=True, say=said.append)
        assert said == [f"{run}: already finished"]
    with pytest.raises(RunUnusable, match="another text_side"):
        training.train(replace(resolved, text_side="lexical"), [str(source)], run, resume=True)
