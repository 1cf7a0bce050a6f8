"""Computes the three losses. Embeddings are unit vectors, float32 [batch, dim]; a row that a loss cannot use
is masked, not guessed.

Sources: CLIP, Radford et al. 2021 (section 2.3), with every twin of a report as a positive; supervised
contrastive, Khosla et al. 2020 (equation 2, the sum outside the logarithm); binary cross-entropy over normal
and abnormal.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def clip_loss(
    film: Tensor, text: Tensor, scale: Tensor, report: Tensor, further: Tensor | None = None
) -> Tensor:
    """Symmetric contrastive loss between films and their reports.

    ``scale`` is the inverse temperature; ``report`` int64 [batch] numbers the distinct reports, -1 for a row
    without text. All films of one distinct report are positives of all its rows: a twin is not a negative.
    ``further`` float32 [batch]: the logit of one more wrong report for each film alone, -inf where none.
    """
    has_text = report >= 0
    if int(has_text.sum()) < 2:
        return film.new_zeros(())
    film, text, report = film[has_text], text[has_text], report[has_text]
    positive = (report[:, None] == report[None, :]).float()
    target = positive / positive.sum(dim=1, keepdim=True)
    logits = scale * film @ text.T
    of_films = (
        _soft_cross_entropy(logits, target)
        if further is None
        else _beside_another(logits, target, further[has_text])
    )
    return (of_films + _soft_cross_entropy(logits.T, target)) / 2


def supervised_contrastive_loss(embedding: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Pull embeddings of one class together.

    ``label`` int64 [batch]: 0 normal, 1 abnormal, -1 unknown (left out).
    """
    labelled = label >= 0
    embedding, label = embedding[labelled], label[labelled]
    if len(label) < 2:
        return embedding.new_zeros(())
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    logits = (embedding @ embedding.T / temperature).masked_fill(itself, -torch.inf)
    positive = (label[:, None] == label[None, :]) & ~itself
    log_probability = F.log_softmax(logits, dim=1).masked_fill(~positive, 0.0)
    count = positive.sum(dim=1)
    return (
        -(log_probability.sum(dim=1)[count > 0] / count[count > 0]).mean()
        if bool((count > 0).any())
        else embedding.new_zeros(())
    )


def abnormal_loss(logit: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropy, abnormal = 1. ``label`` as above; unknown rows are left out."""
    labelled = label >= 0
    if not bool(labelled.any()):
        return logit.new_zeros(())
    return F.binary_cross_entropy_with_logits(logit[labelled], label[labelled].float())


def _beside_another(logits: Tensor, target: Tensor, further: Tensor) -> Tensor:
    """Soft cross-entropy with a further column that is never the target."""
    total = torch.cat([logits, further[:, None]], dim=1).logsumexp(dim=1)
    return (total - (target * logits).sum(dim=1)).mean()


def _soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(F.log_softmax(logits, dim=1) * target).sum(dim=1).mean()
