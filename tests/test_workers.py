"""Work done ahead: in order, bounded, and stopped when nobody wants it any more."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from mtclip_edge.workers import ahead, batches, threads


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 30])
def test_all_in_order(count: int) -> None:
    def work(n: int) -> int:
        time.sleep(0.002 * (n % 3))
        return n * n

    found = list(batches(range(count), work, 4))
    assert [n for batch in found for n in batch] == [n * n for n in range(count)]
    assert all(len(batch) == 4 for batch in found[:-1])


def test_one_item_needs_no_thread() -> None:
    assert list(batches([1], lambda _: threading.current_thread(), 8)) == [[threading.main_thread()]]


def test_memory_is_bounded_however_slow_the_caller_is() -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    found = batches(endless(), lambda n: n, 4)
    for _ in range(5):
        next(found)
        time.sleep(0.02)
    assert taken <= 5 * 4 + 2 * 4
    found.close()


def test_work_goes_on_while_the_caller_is_busy() -> None:
    done: list[int] = []
    found = batches(range(12), lambda n: done.append(n), 4)
    next(found)
    time.sleep(0.2)
    assert len(done) == 12


def test_an_error_comes_at_its_place() -> None:
    def work(n: int) -> int:
        if n == 5:
            raise ValueError("five")
        return n

    found = batches(range(12), work, 4)
    assert next(found) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="five"):
        next(found)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_one_ahead_is_in_order_too(count: int) -> None:
    assert list(ahead(range(count), lambda n: n * n)) == [n * n for n in range(count)]


def test_a_lone_item_needs_no_thread_ahead() -> None:
    assert list(ahead([1], lambda _: threading.current_thread())) == [threading.main_thread()]


def test_one_is_ahead_and_no_more() -> None:
    done: list[int] = []
    found = ahead(range(9), done.append)
    for seen in range(3):
        next(found)
        time.sleep(0.05)
        assert done == list(range(seen + 2))
    found.close()


def test_an_error_ahead_comes_at_its_place() -> None:
    found = ahead([1, 0, 2], lambda n: 2 // n)
    assert next(found) == 2
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_threads_follow_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert threads() == 1
