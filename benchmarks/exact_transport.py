"""Exact transport by POT: what a coupling costs, and how near a potential comes to it; JSON lines.

    python -m benchmarks.exact_transport

- coupling: 5,000 documents with 1,000 examples, in a process of its own. Wanted: under 20 s, and a resident
  set under 1 GB, torch included.
- lazy: 2,000 documents with 500 examples, by the solver that stores all costs and by the one that computes
  them as it goes, by turns.
- agreement: a potential of the whole pool, with the epsilon that projects have by default, next to the exact
  solution of draws from it: rank correlation of the scores, values. Wanted: .95 or more in each draw.

Vectors are those of the static encoder (see _transport_data.py); the target is of questions in science.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._flags import at_least, begin
from benchmarks._transport_data import cache_folder, vectors
from benchmarks._transport_solvers import memory_mib
from tamis.transport import exact, solve_potential

MOST_SECONDS, MOST_MIB, LEAST_AGREEMENT = 20.0, 1_000.0, 0.95
COUPLED, LAZY = (5_000, 1_000), (2_000, 500)


def timed(x_nd: np.ndarray, y_md: np.ndarray, cells: int) -> tuple[float, exact.ExactCoupling]:
    """Seconds and the coupling, with costs kept up to so many cells."""
    kept, exact.DENSE_CELLS = exact.DENSE_CELLS, cells
    try:
        started = time.perf_counter()
        found = exact.exact_coupling(x_nd, y_md, center=x_nd.mean(0))
        return time.perf_counter() - started, found
    finally:
        exact.DENSE_CELLS = kept


def couple(flags: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """In a process of its own: one coupling, its time and the largest resident set of the process."""
    n, m = COUPLED
    x_nd, y_md = vectors("static", "pool", n, cache), vectors("static", "target", m, cache)
    seconds, found = timed(x_nd, y_md, exact.DENSE_CELLS)
    return {"seconds": round(seconds, 2), "peak_mib": round(memory_mib("VmHWM")), "pairs": len(found.mass_k)}


def coupling(flags: argparse.Namespace, cache: Path) -> list[dict[str, Any]]:
    """What one coupling of the largest size that the product asks for takes."""
    command = [sys.executable, "-m", "benchmarks.exact_transport", "--worker", "couple"]
    command += ["--cache", str(cache)]
    line = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    reached = line["seconds"] < MOST_SECONDS and line["peak_mib"] < MOST_MIB
    wanted = f"under {MOST_SECONDS:.0f} s and {MOST_MIB:.0f} MiB"
    return [{"documents": COUPLED[0], "examples": COUPLED[1], **line, "wanted": wanted, "reached": reached}]


def lazy(flags: argparse.Namespace, cache: Path) -> list[dict[str, Any]]:
    """The same plan by both solvers of POT."""
    n, m = LAZY
    x_nd, y_md = vectors("static", "pool", n, cache), vectors("static", "target", m, cache)
    stored, one = timed(x_nd, y_md, exact.DENSE_CELLS)
    computed, other = timed(x_nd, y_md, 0)
    assert abs(one.value - other.value) < 1e-9
    line = {"documents": n, "examples": m, "stored_s": round(stored, 2), "computed_s": round(computed, 2)}
    return [{**line, "times": round(computed / stored, 1)}]


def agreement(flags: argparse.Namespace, cache: Path) -> list[dict[str, Any]]:
    """A potential of the pool against draws of it that are solved exactly."""
    x_nd = vectors("static", "pool", flags.documents, cache)
    y_md = vectors("static", "target", flags.examples, cache)
    potential = solve_potential(y_md, x_nd)
    lines = []
    for draw in range(flags.draws):
        drawn = np.random.default_rng(draw).choice(len(x_nd), flags.sample, replace=False)
        check = exact.check_exactly(potential, x_nd[np.sort(drawn)], seed=draw)
        line = {"documents": len(x_nd), "examples": len(y_md), "sample": check.rows, "draw": draw}
        line["rank_agreement"] = round(check.rank_agreement, 4)
        line["value_above_exact"] = round(check.difference, 3)
        lines.append({**line, "wanted": LEAST_AGREEMENT, "reached": check.rank_agreement >= LEAST_AGREEMENT})
    return lines


FIGURES = {"coupling": coupling, "lazy": lazy, "agreement": agreement}


def main() -> None:
    """Print the figures asked for; exits 1 where one is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", nargs="+", choices=list(FIGURES), default=list(FIGURES))
    parser.add_argument("--documents", type=at_least(2_000), default=40_000)
    parser.add_argument("--examples", type=at_least(50), default=500)
    parser.add_argument("--sample", type=at_least(100), default=2_000)
    parser.add_argument("--draws", type=at_least(1), default=2)
    parser.add_argument("--cache", type=Path, help="folder for embeddings")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    flags = begin(parser)
    cache = cache_folder(flags.cache)
    if flags.worker:
        print(json.dumps(couple(flags, cache)))
        return
    reached = True
    for name in flags.figure:
        for line in FIGURES[name](flags, cache):
            print(json.dumps({"benchmark": "exact_transport", "figure": name, **line}), flush=True)
            reached &= line.get("reached", True)
    sys.exit(not reached)


if __name__ == "__main__":
    main()
