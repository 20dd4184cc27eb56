"""Parallel efficiency: the same stages by one Ray worker of one processor, then by 2, 4, 8 and 16.

Efficiency of w workers is the time of one over w times theirs. It counts as a figure from four processors on;
with two, what this process does besides the workers is much of one of them, and lines are shown alone.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._coverage_data import Stopwatch
from benchmarks._scale_ray import Line, stages_of, start_workers, stored
from tamis.engine import engine_of, using
from tamis.settings.sections import EngineSection

LIMIT = 0.8
COUNTS = (1, 2, 4, 8, 16)
JUDGED_FROM = 4  # processors


def efficiency(folder: Path, documents: int, sentences: int, line: Line) -> bool:
    """A line a number of workers; whether the largest number is at the limit, where that is judged."""
    processors = len(os.sched_getaffinity(0))
    counts = [count for count in COUNTS if count <= processors]
    store, ids = stored(folder, documents)
    stages = stages_of(store, ids, folder, sentences)
    alone, found = 0.0, 1.0
    for count in counts:
        seconds = _seconds_with(count, stages)
        total = sum(seconds.values())
        alone = alone or total
        found = alone / (count * total)
        line("cores", workers=count, seconds=total, efficiency=found, stages=seconds)
    judged = processors >= JUDGED_FROM
    line("cores_limit", processors=processors, holds=found >= LIMIT if judged else None, limit=LIMIT)
    return found >= LIMIT or not judged


def _seconds_with(count: int, stages: list[tuple[str, int, Callable[[], Any]]]) -> dict[str, float]:
    import ray  # an extra; the other parts run without it

    engine = engine_of(EngineSection(kind="ray", workers=count))
    seconds = {}
    with using(engine):
        start_workers(engine, count)
        for name, _rows, stage in stages:
            with Stopwatch() as watch:
                stage()
            seconds[name] = round(watch.wall, 2)
    engine.close()
    ray.shutdown()  # the next number of workers has a cluster of its own size
    return seconds
