"""The three losses against formulas written out by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtclip_edge.train.losses import abnormal_loss, clip_loss, supervised_contrastive_loss


def unit(rows: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_clip_without_twins_is_open_clips() -> None:
    from open_clip import ClipLoss

    film, text, scale = unit(6), unit(6, seed=1), torch.tensor(12.0)
    ours = clip_loss(film, text, scale, torch.arange(6))
    assert ours.item() == pytest.approx(ClipLoss()(film, text, scale).item(), abs=1e-6)


def test_twins_are_positives_by_hand() -> None:
    film, text, scale = unit(3), unit(3, seed=1), 5.0
    text[1] = text[0]  # rows 0 and 1 have the same report
    logits = (scale * film @ text.T).numpy().astype(float)

    def direction(rows: np.ndarray) -> float:
        total = 0.0
        for i, row in enumerate(rows):
            positives = [0, 1] if i < 2 else [2]
            total -= sum(row[j] - math.log(np.exp(row).sum()) for j in positives) / len(positives)
        return total / 3

    expected = (direction(logits) + direction(logits.T)) / 2
    assert clip_loss(film, text, torch.tensor(scale), torch.tensor([4, 4, 9])).item() == pytest.approx(
        expected, abs=1e-5
    )


def test_rows_without_text_take_no_part_in_clip() -> None:
    film, text = unit(5), unit(5, seed=1)
    report = torch.tensor([0, -1, 1, 2, -1])
    keep = report >= 0
    assert clip_loss(film, text, torch.tensor(3.0), report).item() == pytest.approx(
        clip_loss(film[keep], text[keep], torch.tensor(3.0), report[keep]).item()
    )
    assert clip_loss(film, text, torch.tensor(3.0), torch.full((5,), -1)).item() == 0.0


def test_supcon_by_hand() -> None:
    """Khosla et al. 2020, equation 2: the mean over positives stands outside the logarithm."""
    z, label, tau = unit(5), [0, 0, 1, 1, 1], 0.2
    sims = (z @ z.T / tau).numpy().astype(float)
    total = 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        denominator = math.log(sum(math.exp(sims[i, j]) for j in others))
        positives = [j for j in others if label[j] == label[i]]
        total -= sum(sims[i, j] - denominator for j in positives) / len(positives)
    assert supervised_contrastive_loss(z, torch.tensor(label), tau).item() == pytest.approx(
        total / 5, abs=1e-5
    )


def test_supcon_leaves_unknown_labels_out() -> None:
    z, label = unit(6), torch.tensor([0, 1, -1, 0, 1, -1])
    keep = label >= 0
    assert supervised_contrastive_loss(z, label, 0.1).item() == pytest.approx(
        supervised_contrastive_loss(z[keep], label[keep], 0.1).item()
    )
    assert supervised_contrastive_loss(z, torch.full((6,), -1), 0.1).item() == 0.0


def test_a_class_of_one_has_no_positive_and_no_nan() -> None:
    z = unit(3).requires_grad_()
    loss = supervised_contrastive_loss(z, torch.tensor([0, 0, 1]), 0.1)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()
    assert supervised_contrastive_loss(unit(2), torch.tensor([0, 1]), 0.1).item() == 0.0


def test_bce_by_hand_and_unknown_left_out() -> None:
    logit = torch.tensor([2.0, -1.0, 100.0])
    expected = (-math.log(1 / (1 + math.exp(-2))) - math.log(1 - 1 / (1 + math.exp(1)))) / 2
    assert abnormal_loss(logit, torch.tensor([1, 0, -1])).item() == pytest.approx(expected, abs=1e-6)
    assert abnormal_loss(logit, torch.tensor([-1, -1, -1])).item() == 0.0


@pytest.mark.parametrize("name", ["clip", "supcon", "bce"])
def test_a_step_down_the_gradient_does_what_the_loss_is_for(name: str) -> None:
    """Clip: own pairs come together. SupCon: classes come together. BCE: abnormal logits rise above normal ones."""
    film, text = unit(8).requires_grad_(), unit(8, seed=1).requires_grad_()
    logit = torch.zeros(8, requires_grad=True)
    label, report = torch.tensor([0, 1] * 4), torch.arange(8)
    losses = {
        "clip": lambda: clip_loss(film, text, torch.tensor(5.0), report),
        "supcon": lambda: supervised_contrastive_loss(film, label, 0.5),
        "bce": lambda: abnormal_loss(logit, label),
    }
    same = label[:, None] == label[None, :]
    measure = {
        "clip": lambda: (film @ text.T).diag().mean() - (film @ text.T).mean(),
        "supcon": lambda: (film @ film.T)[same].mean() - (film @ film.T)[~same].mean(),
        "bce": lambda: logit[label == 1].mean() - logit[label == 0].mean(),
    }
    before = measure[name]().item()
    losses[name]().backward()
    with torch.no_grad():
        for tensor in (film, text, logit):
            if tensor.grad is not None:
                tensor -= 0.05 * tensor.grad
    assert measure[name]().item() > before
