"""Reads of a small table on a disk: JSON lines on stdout.

    python -m benchmarks.reads [--commits 40]

CPU and wall milliseconds of reading the table of attempts, which every step writes: of that many commits,
again without a commit in between, and after compaction. Ten seconds, with the start.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks._flags import at_least, begin
from tamis.records.attempts import begin as begin_attempt
from tamis.records.attempts import read_attempts
from tamis.store.tables import Store

TURNS = 20


def milliseconds(act: Callable[[], object], turns: int = TURNS) -> dict[str, float]:
    """Return CPU time of all threads and wall time of one turn."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(turns):
        act()
    spent = time.process_time() - cpu, time.perf_counter() - wall
    return dict(zip(("cpu_ms", "wall_ms"), (round(1_000 * one / turns, 2) for one in spent), strict=True))


def main() -> int:
    """Write the commits, read, compact, and print a line for each way to read."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--commits", type=at_least(1), default=40, help="writes of one row each")
    flags = begin(parser)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for number in range(flags.commits):
            begin_attempt(store, [("documents", f"shard {number}")])

        def read_files() -> None:
            store.read_afresh()
            read_attempts(store)

        def compact() -> None:
            store.open("attempts").optimize()

        ways = {"small files": (read_files, TURNS), "no commit since": (lambda: read_attempts(store), TURNS)}
        ways |= {"compacting them": (compact, 1), "one file": (read_files, TURNS)}
        for way, (act, turns) in ways.items():
            print(json.dumps({"way": way, "commits": flags.commits} | milliseconds(act, turns)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
