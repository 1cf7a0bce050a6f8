"""The order of an epoch: every row once, or both classes alike."""

import pytest
import torch

from mtclip_edge.train.split_tensors import epoch_order

LABEL = torch.tensor([0] * 30 + [1] * 90 + [-1] * 12)


def test_unbalanced_is_every_row_once() -> None:
    assert sorted(epoch_order(LABEL, False).tolist()) == list(range(132))


def test_balanced_batches_hold_both_classes_in_like_numbers() -> None:
    torch.manual_seed(0)
    order = epoch_order(LABEL, True)
    assert len(order) == len(LABEL)
    for batch in order.split(22):
        normal, abnormal = (LABEL[batch] == 0).sum(), (LABEL[batch] == 1).sum()
        assert abs(int(normal) - int(abnormal)) <= 2
        assert 1 <= int((LABEL[batch] == -1).sum()) <= 3


def test_balanced_uses_every_row_of_the_smaller_class_before_any_again() -> None:
    torch.manual_seed(0)
    counts = torch.bincount(epoch_order(LABEL, True), minlength=132)
    assert set(counts[:30].tolist()) == {2}  # 60 places for 30 rows
    assert set(counts[30:120].tolist()) == {0, 1}  # 60 places for 90 rows
    assert set(counts[120:].tolist()) == {1}


def test_another_epoch_leaves_out_others() -> None:
    torch.manual_seed(0)
    one, two = (set(epoch_order(LABEL, True).tolist()) for _ in range(2))
    assert one != two


@pytest.mark.parametrize("label", [[0] * 7, [1] * 7, [-1] * 7])
def test_one_class_alone_is_taken_as_it_is(label: list[int]) -> None:
    assert sorted(epoch_order(torch.tensor(label), True).tolist()) == list(range(7))
