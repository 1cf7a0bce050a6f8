"""Every measurement that wants a GPU, in one call of a few minutes that may be repeated until all is done.

    python benchmarks/speed/gpu_hour.py --data SOURCE --out DIR [--minutes 9] [--device cuda] [--backbone
    compact]

Fine-tunes with the defaults (three seeds), with CLIP loss alone and with fewer blocks. When the time is up it
stops after an epoch; the next call resumes there. gpu_hour.json then has, for each finished run, its figures
on the test split and its seconds for an epoch.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mtclip_edge.evaluation.bundle_models import Task
from mtclip_edge.files import private_dir, write_bytes
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.evaluation.models import run_model
from mtclip_edge.train.run import load_run, read_log
from mtclip_edge.train.settings import TUNED, TrainConfig
from mtclip_edge.train.training import train

JOBS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "clip-alone": {"bce": 0.0, "supcon": 0.0},
    "last-4-blocks": {"unfreeze": "4"},
    "defaults-seed-1": {"seed": 1},
    "defaults-seed-2": {"seed": 2},
}


class TimeIsUp(Exception):
    pass


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default="compact")
    parser.add_argument("--epochs", type=int, default=TUNED["epochs"])
    options = parser.parse_args(words)
    deadline = time.monotonic() + 60 * options.minutes
    private_dir(options.out)
    common = {
        **TUNED,
        "unfreeze": "all",
        "device": options.device,
        "backbone": options.backbone,
        "epochs": options.epochs,
    }
    try:
        for name, settings in JOBS.items():
            train(
                TrainConfig(**{**common, **settings}),
                [options.data],
                options.out / name,
                resume=True,
                say=until(deadline),
            )
    except TimeIsUp:
        print("time is up: call it again to go on")
    document = {
        name: measured(options.out / name, options.data, options.device)
        for name in JOBS
        if (options.out / name / "run.json").is_file()
    }
    write_bytes(options.out / "gpu_hour.json", (json.dumps(document, indent=1) + "\n").encode())
    print(json.dumps(document, indent=1))


def until(deadline: float) -> Any:
    """A Say that prints, and stops the training after the epoch in which the time ran out: its checkpoint
    is written by then.
    """

    def say(line: str) -> None:
        print(line, flush=True)
        if line.startswith("epoch ") and time.monotonic() > deadline:
            raise TimeIsUp

    return say


def measured(run: Path, data: str, device: str) -> dict[str, Any]:
    record, epochs = load_run(run).record, read_log(run)
    return {
        "device": record.device and asdict(record.device),
        "torch": record.made_by["torch"],
        "seconds_an_epoch": round(sum(line["seconds"] for line in epochs) / len(epochs), 2),
        "epochs": len(epochs),
        "best_epoch": record.best_epoch,
        "test": run_model(run, Task.of(open_source(data).split("test"), device=device)).summary(),
    }


if __name__ == "__main__":
    main()
