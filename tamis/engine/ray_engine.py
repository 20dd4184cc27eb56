"""Work on a Ray cluster: a pool of workers, two blocks on the way to each, results in order.

Ray Core places the workers, moves the bytes and tells which worker was lost (`ray_pool`); what was on a lost
worker is done again by another, so a node that dies costs its blocks and nothing else. State is pickled once
and loaded once by each worker: models pickle as a recipe of how to load them again.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import chain, count
from typing import Any

from tamis.base.progress import Advance, ignore
from tamis.engine.current import note
from tamis.engine.errors import UnlikeWorkerError, WorkersLostError, last_line
from tamis.engine.local import Block, Result, State
from tamis.engine.ray_cluster import connect
from tamis.engine.ray_pool import Pool, Seat, workers_of
from tamis.engine.ray_worker import Outcome
from tamis.settings.sections import EngineSection

IN_FLIGHT = 2
"""Blocks on the way to a worker: the next is there when one is done."""
HELD = 4
"""Blocks a worker on the way or done and not yet handed on: more would fill the memory behind a slow one."""
PARTS_PER_WORKER = 4
WAIT_SECONDS = 0.5


class RayEngine:
    """The engine `[engine] kind = "ray"`; joins or starts the cluster at the first `map`."""

    def __init__(self, section: EngineSection) -> None:
        self.section = section
        self._pool: Pool | None = None
        self._state: tuple[str, Any] = ("", None)
        self._unfinished = 0

    @property
    def parts(self) -> int:
        """Four a worker, so that none waits long for the last."""
        return PARTS_PER_WORKER * len(self._workers().seats)

    def map(
        self,
        work: Callable[[State, Block, Advance], Result],
        state: State,
        blocks: Iterable[Block],
        advance: Advance = ignore,
    ) -> Iterator[tuple[Block, Result]]:
        """As `Engine.map`; progress moves on when a block is done.

        Raises what the work raises, `WorkersLostError`, `NoWorkersError`, `UnlikeWorkerError`,
        `ClusterUnreachableError`, `MissingPackageError`.
        """
        source = iter(blocks)
        first = next(source, None)
        if first is None:  # nothing to do starts no cluster
            return
        pool = self._workers()
        run = _Run(pool, work, *self._sent(state), retries=self.section.retries)
        self._unfinished += 1
        try:
            for block, outcome in run.outcomes(chain([first], source)):
                advance(outcome.advanced)
                yield block, outcome.result
        finally:
            self._unfinished -= 1
            # Given up in the middle: nobody wants what the workers are at, unless others work there by now.
            if run.outstanding and self._pool is pool:
                self.close()

    def rest(self) -> None:
        """Let go of the state; where others may use the cluster or its accelerators, of the workers too."""
        self._state = ("", None)
        if self._pool is not None:
            shared = self.section.address is not None or self.section.gpus_per_worker
            if shared or self._unfinished:
                self.close()
            else:
                self._pool.forget()

    def close(self) -> None:
        """End the workers; the next `map` starts others."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _workers(self) -> Pool:
        if self._pool is None:
            section = self.section
            wanted = None if section.workers is None else section.workers * section.cpus_per_worker
            ray = connect(section.address, wanted)
            self._pool = Pool(ray, section, workers_of(ray, section))
        return self._pool

    def _sent(self, state: Any) -> tuple[str, Any]:
        """The state in the cluster under a name made of its bytes; the same bytes are sent once."""
        import ray
        from ray import cloudpickle

        content = cloudpickle.dumps(state)
        key = hashlib.sha256(content).hexdigest()
        if key != self._state[0]:
            self._state = key, ray.put(content)
        return self._state


class _Run:
    """One `map`: which block is on which seat, which are done, and which have to be done again."""

    def __init__(self, pool: Pool, work: Callable[..., Any], key: str, content: Any, *, retries: int) -> None:
        import ray

        self._ray, self._pool, self._work = ray, pool, work
        self._key, self._holder, self._retries = key, [content], retries
        self._blocks: dict[int, Any] = {}  # on the way, or done and not handed on
        self._tries: dict[int, int] = {}
        self._again: deque[int] = deque()
        self._done: dict[int, Outcome] = {}
        self._calls: dict[Future[Outcome], tuple[Seat, int]] = {}  # in the order in which they were sent

    @property
    def outstanding(self) -> bool:
        """Whether workers are at something."""
        return bool(self._calls)

    def outcomes(self, source: Iterator[Any]) -> Iterator[tuple[Any, Outcome]]:
        """Blocks and what came of them, in order; raises the error of a block in its turn."""
        fresh = enumerate(source)
        for number in count():
            while number not in self._done:
                if not self._fill(fresh) and not self._blocks:
                    return
                self._settle()
            self._tries.pop(number, None)
            block, outcome = self._blocks.pop(number), self._done.pop(number)
            self._fill(fresh)  # before the caller takes its time
            if outcome.error is not None:
                raise outcome.error.error()
            yield block, outcome

    def _fill(self, fresh: Iterator[tuple[int, Any]]) -> bool:
        """Send blocks while there is room; false when there are none left to send."""
        self._pool.look()
        while seat := self._free_seat():
            number = self._next(fresh)
            if number is None:
                return False
            call = seat.actor.run.remote(self._work, self._key, self._holder, self._blocks[number])
            self._calls[call.future()] = seat, number
        return True

    def _next(self, fresh: Iterator[tuple[int, Any]]) -> int | None:
        if self._again:
            return self._again.popleft()
        number, block = next(fresh, (None, None))
        if number is not None:
            self._blocks[number] = block
        return number

    def _free_seat(self) -> Seat | None:
        if not self._again and len(self._blocks) >= HELD * len(self._pool.seats):
            return None
        busy = Counter(id(seat) for seat, _ in self._calls.values())
        free = (seat for seat in self._pool.ready if busy[id(seat)] < IN_FLIGHT)
        return min(free, key=lambda seat: busy[id(seat)], default=None)

    def _settle(self) -> None:
        """Wait for a call or for a worker.

        On futures of Python's: Ray's own waiting swallows what a signal's handler raises, and with it the
        wish to cancel a run.
        """
        waited: list[Future[Any]] = [
            *self._calls,
            *(seat.called for seat in self._pool.seats if not seat.ready),
        ]
        done, _ = wait(waited, timeout=WAIT_SECONDS, return_when=FIRST_COMPLETED)
        for call in done:
            if call in self._calls:
                self._take(call)

    def _take(self, call: Future[Outcome]) -> None:
        seat, number = self._calls[call]
        errors = self._ray.exceptions
        try:
            outcome = call.result()
        except (errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError) as error:
            self._lose(seat, _cause(error))
            return
        except errors.RayTaskError as error:  # not the work: the worker could not even read what it was sent
            problem = f"cannot read the work sent by this process ({last_line(error)})"
            raise UnlikeWorkerError(problem) from error
        if outcome.error is not None and outcome.error.out_of_memory:
            self._lose(seat, "out of memory")
            return
        del self._calls[call]
        self._done[number] = outcome

    def _lose(self, seat: Seat, cause: str) -> None:
        """Another worker, and its blocks again; the one it was at counts as tried."""
        lost = [call for call, (other, _) in self._calls.items() if other is seat]
        numbers = [self._calls.pop(call)[1] for call in lost]
        tries = self._tries[numbers[0]] = self._tries.get(numbers[0], 0) + 1
        name = getattr(self._work, "__qualname__", "work").strip("_").replace("_", " ")
        note(
            f"a worker of the Ray cluster was lost during {name} ({cause}); other workers will repeat "
            f"its unfinished blocks of data ({len(numbers)})"
        )
        self._again.extend(numbers)
        self._pool.replace(seat)
        if tries > self._retries:
            raise WorkersLostError(name, tries, cause)


def _cause(error: Exception) -> str:
    text = str(error)
    if "running low on memory" in text or isinstance(error, MemoryError):
        return "Ray killed the worker because the node ran low on memory"
    if "node died" in text.lower() or "node was terminated" in text.lower() or "NODE_DIED" in text:
        return "the node of the worker is gone"
    if "SYSTEM_ERROR" in text or "unexpectedly" in text:
        return "the worker process was killed, probably because memory ran out"
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
