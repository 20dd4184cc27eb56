"""Work on many blocks by the threads of a process, for libraries that let go of the interpreter."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def threads() -> int:
    """Return how many threads a process may compute on: OMP_NUM_THREADS, else the processors it may use."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdigit() and int(stated):
        return int(stated)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_slices(work: Callable[[slice], Result], count: int, least: int = 1_024) -> list[Result]:
    """Return the results of work on slices of so many rows, in order: one a thread, of at least `least` rows.

    In fewer rows the interpreter, which threads share, takes what they gain.
    """
    parts = max(1, min(threads(), count // least))
    ends = [count * part // parts for part in range(parts + 1)]
    return list(in_threads(work, [slice(start, end) for start, end in itertools.pairwise(ends)]))


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield the result of each item, in order; no more are in hand than there are threads, and one.

    Items are taken in the caller's thread. With one thread this is `map`.
    """
    if (count := threads()) == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(count) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
