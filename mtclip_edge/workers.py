"""How many processors there are, and work done ahead on them: threads decode the next films while the
tower works on these.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")
MOST_WORKERS = 4  # more gains nothing: the tower is what all wait for


def threads() -> int:
    """The processors this process may use (an affinity or a container's limit counts, unlike
    os.cpu_count).
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batches(items: Iterable[Item], work: Callable[[Item], Done], size: int) -> Iterator[list[Done]]:
    """``work`` of each item, in order, in lists of ``size``; the last may be shorter.

    Two lists are in work at most while the caller has a third, so memory is bounded however many items there
    are. What ``work`` raises is raised here, at its place in the order.
    """
    source = iter(items)
    first = list(islice(source, 1))
    second = list(islice(source, 1))
    if not second:  # one film needs no threads
        if first:
            yield [work(first[0])]
        return
    with ThreadPoolExecutor(min(MOST_WORKERS, threads())) as pool:
        pending: deque[list[Future[Done]]] = deque()
        try:
            rest = chain(first, second, source)
            while chunk := list(islice(rest, size)):
                pending.append([pool.submit(work, item) for item in chunk])
                if len(pending) > 2:
                    yield [future.result() for future in pending.popleft()]
            while pending:
                yield [future.result() for future in pending.popleft()]
        finally:  # the caller stopped early: what has not begun never begins
            for future in (future for chunk in pending for future in chunk):
                future.cancel()


def ahead(items: Iterable[Item], work: Callable[[Item], Done]) -> Iterator[Done]:
    """``work`` of each item, in order, by a thread that has the next one in work while the caller looks
    at this one.
    """
    source = iter(items)
    first = list(islice(source, 1))
    second = list(islice(source, 1))
    if not second:  # one item needs no thread
        yield from map(work, first)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(work, first[0])
        for item in chain(second, source):
            following = pool.submit(work, item)
            yield waiting.result()
            waiting = following
        yield waiting.result()
