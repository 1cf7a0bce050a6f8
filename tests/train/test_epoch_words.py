"""Why a training stopped, and by which figure an epoch was chosen."""

from typing import Any

import pytest

from mtclip_edge.evaluation.figures import selection_score
from mtclip_edge.train.epoch_words import choice, ending_lines, interrupted_line


def entry(epoch: int, auroc: float | None, recall: float | None = 0.25) -> dict[str, Any]:
    way = {"recall@10": {"value": recall}} if recall is not None else None
    result = {"auroc": auroc, "precision@10": None, "film_to_report": way, "report_to_film": way}
    return {"epoch": epoch, "train": {}, "validation": result, "seconds": 0.1}


HISTORY = [entry(1, 0.5), entry(2, 0.8), entry(3, 0.7)]


def test_patience_and_the_last_epoch_are_told_apart() -> None:
    assert ending_lines(HISTORY, 2, 3, 12)[0] == "stopped after epoch 3: the last of 3"
    assert ending_lines(HISTORY, 2, 40, 1)[0] == (
        "stopped after epoch 3 of 40: none of the last 1 was better (patience)"
    )


def test_the_choice_names_the_figures_and_has_the_score() -> None:
    score = selection_score(HISTORY[1]["validation"])
    assert choice(HISTORY, 2) == (
        f"epoch 2, the highest mean of AUROC, R@10 film>report and R@10 report>film on validation: {score:.4f}"
    )
    assert choice([entry(1, 0.8, None)], 1) == "epoch 1, the highest AUROC on validation: 0.8000"
    assert choice([entry(1, None, None)], 1) == "epoch 1, the last: validation has no figure to choose by"


@pytest.mark.parametrize(
    ("history", "kept", "said"),
    [
        ([], True, "stopped in epoch 1 of 40: interrupted; no epoch is finished"),
        (
            HISTORY[:1],
            False,
            "stopped in epoch 2 of 40: interrupted; best so far: epoch 1, the highest mean of",
        ),
        (HISTORY[:1], True, "; --resume goes on after epoch 1"),
    ],
)
def test_an_interruption_tells_what_is_left(history: list[dict[str, Any]], kept: bool, said: str) -> None:
    line = interrupted_line(history, 1, 40, kept)
    assert said in line
    assert ("--resume" in line) == (kept and bool(history))
