"""What is said of a training's epochs: each one, why the last one was the last, and by what one is chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

Entry = Mapping[str, Any]  # one epoch of a history


def figures_of(entry: Entry) -> dict[str, float]:
    """The figures that the selection score is the mean of, by name: those that could be computed."""
    result = entry["validation"]
    precision, forth, back = result["precision@10"], result["film_to_report"], result["report_to_film"]
    figures = {
        "AUROC": result["auroc"],
        "macro P@10": precision and precision["macro"],
        "R@10 film>report": forth and forth["recall@10"]["value"],
        "R@10 report>film": back and back["recall@10"]["value"],
    }
    return {name: value for name, value in figures.items() if value is not None}


def epoch_line(entry: Entry, epochs: int) -> str:
    losses = " ".join(f"{name} {value:.3f}" for name, value in entry["train"].items())
    shown = " ".join(f"{name} {value:.3f}" for name, value in figures_of(entry).items())
    return f"epoch {entry['epoch']}/{epochs}  {losses}  validation: {shown}  {entry['seconds']:.1f} s"


def ending_lines(history: Sequence[Entry], best_epoch: int, epochs: int, patience: int) -> list[str]:
    """Why a training stopped, and which epoch is kept, by which figure."""
    last = len(history)
    if last >= epochs:
        why = f"stopped after epoch {last}: the last of {epochs}"
    else:
        why = f"stopped after epoch {last} of {epochs}: none of the last {patience} was better (patience)"
    return [why, f"kept: {choice(history, best_epoch)}"]


def interrupted_line(history: Sequence[Entry], best_epoch: int, epochs: int, kept: bool) -> str:
    """``kept``: whether checkpoints are, so that it can go on."""
    now = f"stopped in epoch {len(history) + 1} of {epochs}: interrupted"
    if not history:
        return f"{now}; no epoch is finished"
    after = f"; --resume goes on after epoch {len(history)}" if kept else ""
    return f"{now}; best so far: {choice(history, best_epoch)}{after}"


def choice(history: Sequence[Entry], best_epoch: int) -> str:
    """The epoch that is best, and the figure that says so, in words with its value."""
    entry = history[best_epoch - 1]
    names = list(figures_of(entry))
    if not names:
        return f"epoch {best_epoch}, the last: validation has no figure to choose by"
    score = sum(figures_of(entry).values()) / len(names)
    of = "" if len(names) == 1 else f"mean of {', '.join(names[:-1])} and "
    return f"epoch {best_epoch}, the highest {of}{names[-1]} on validation: {score:.4f}"
