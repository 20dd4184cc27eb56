"""Work on many blocks by the threads of a process, for libraries that let go of the interpreter."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")
SPINS = "1000"


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


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], most: int | None = None
) -> Iterator[Result]:
    """Yield the result of each item, in order; no more are in hand than there are threads, and one.

    Items are taken in the caller's thread. With one thread this is `map`. most: threads that are used at
    most, where items take much memory.
    """
    if (count := min(threads(), most or threads())) == 1:
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


@contextmanager
def one_thread_a_product() -> Iterator[None]:
    """Have each product of matrices computed by the thread that asks for it, in the whole process.

    Threads of BLAS wait by spinning: where processors are busy, many small products take seven times as long.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


def ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """Yield the items; a thread makes the next one while the caller works on the last.

    With one thread they are made as they are taken.
    """
    if threads() == 1:
        yield from items
        return
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(next, source, end)
        while (item := made.result()) is not end:
            made = pool.submit(next, source, end)
            yield cast(Item, item)


class Behind(AbstractContextManager["Behind"]):
    """Pieces of work that a thread does, one after the other, while the caller goes on.

    An error of a piece is raised at the next call, else on leaving, which waits for the last piece. With one
    thread a piece is done where it is begun.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1) if threads() > 1 else None
        self._last: Future[Any] | None = None

    def do(self, work: Callable[..., object], *given: object) -> None:
        """Begin a piece of work once the one before has ended."""
        self._wait()
        if self._pool is None:
            work(*given)
        else:
            self._last = self._pool.submit(work, *given)

    def check(self) -> None:
        """Raise the error of a piece that has ended with one; do not wait."""
        if self._last is not None and self._last.done():
            self._wait()

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        if value is None:
            self._wait()
        elif self._last is not None and (lost := self._last.exception()) is not None:
            value.add_note(f"work in another thread failed, too: {type(lost).__name__}: {lost}")


def spin_briefly() -> None:
    """Set it for this process and its children, unless somebody has; before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
