"""Workers of a cluster: as many as were asked for, those lost replaced, wherever there is room for them.

Ray places them and says when one is gone. Its own restarts are not used: a call to a worker that waits for a
place waits with it, while here another worker takes the block at once.
"""

import contextlib
import os
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from tamis.engine.current import note
from tamis.engine.errors import NoWorkersError, UnlikeWorkerError, last_line
from tamis.engine.ray_worker import Worker, likeness
from tamis.settings.sections import EngineSection

PATIENCE_SECONDS = 180.0
INHERITED = (
    "DO_NOT_TRACK",
    "GOMP_SPINCOUNT",
    "HF_HUB_DISABLE_TELEMETRY",
    "HF_HUB_OFFLINE",
    "OMP_WAIT_POLICY",
    "TOKENIZERS_PARALLELISM",
    "TRANSFORMERS_VERBOSITY",
)
"""What each process of the platform runs under; nothing secret is among it."""


@dataclass(eq=False)
class Seat:
    """A place in the pool: the worker on it, and the call that is answered once it is there."""

    actor: Any
    called: Future[tuple[str, int]]
    ready: bool = False


class Pool:
    """Seats with workers."""

    def __init__(self, ray: Any, section: EngineSection, count: int) -> None:
        self._ray, self._section = ray, section
        self._seen = time.monotonic()
        self._failed_starts = 0
        self.seats = [self._seated() for _ in range(count)]

    @property
    def ready(self) -> list[Seat]:
        """Seats whose worker is there."""
        return [seat for seat in self.seats if seat.ready]

    def look(self) -> None:
        """Take note of workers that have come. Raises `NoWorkersError` when there are none for long."""
        for seat in self.seats:
            if not seat.ready and seat.called.done():
                self._arrive(seat)
        if self.ready:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > PATIENCE_SECONDS:
            gpus, free = self._section.gpus_per_worker, self._ray.available_resources()
            wanted = f"{self._section.cpus_per_worker} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            offered = f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs free"
            raise NoWorkersError(wanted, offered, PATIENCE_SECONDS)

    def replace(self, seat: Seat) -> None:
        """Another worker in the place of one that was lost."""
        with contextlib.suppress(Exception):
            self._ray.kill(seat.actor, no_restart=True)
        fresh = self._seated()
        seat.actor, seat.called, seat.ready = fresh.actor, fresh.called, False

    def forget(self) -> None:
        """Have every worker let go of its state."""
        for seat in self.ready:
            seat.actor.forget.remote()

    def close(self) -> None:
        """End all workers."""
        for seat in self.seats:
            with contextlib.suppress(Exception):
                self._ray.kill(seat.actor, no_restart=True)
        self.seats = []

    def _arrive(self, seat: Seat) -> None:
        try:
            theirs, process = seat.called.result()
        except self._ray.exceptions.RayActorError as error:
            self._failed_starts += 1
            if self._failed_starts > self._section.retries:
                raise UnlikeWorkerError(f"did not start ({last_line(error)})") from error
            self.replace(seat)
            return
        if theirs != likeness():
            raise UnlikeWorkerError(f"has {theirs}, but this process has {likeness()}")
        self._failed_starts = 0
        seat.ready = True
        note(f"worker {process} of the Ray cluster is ready ({len(self.ready)} of {len(self.seats)} workers)")

    def _seated(self) -> Seat:
        section = self._section
        remote = self._ray.remote(
            num_cpus=section.cpus_per_worker,
            num_gpus=section.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(Worker)
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        actor = remote.remote(inherited, section.cpus_per_worker)
        return Seat(actor=actor, called=actor.likeness.remote().future())


def workers_of(ray: Any, section: EngineSection) -> int:
    """How many workers to start: as configured, or as many as the cluster has room for, at least one."""
    if section.workers is not None:
        return section.workers
    offered = ray.cluster_resources()
    room = [offered.get("CPU", 0.0) / section.cpus_per_worker]
    if section.gpus_per_worker:
        room.append(offered.get("GPU", 0.0) / section.gpus_per_worker)
    return max(1, int(min(room)))
