"""How often the true error of the scores is larger than the error that a potential estimates, as JSON lines.

    python -m benchmarks.transport_estimate                # 1,000 cases, minutes
    python -m benchmarks.transport_estimate --cases 60

A case: a pool of 300 documents and a target of 40, of one of six shapes; epsilon drawn between .003 and .1 of
the mean cost; even masses, in every second case random ones; the solve stopped at a marginal error between
.0001 and .1; the truth a solve to 1e-9 in double precision. A miss: the largest error of a score, up to a
constant, exceeds `error_estimate`. A line for each shape and one for all; cases whose truth is not reached
are left out and counted. Seeds begin at 1,000,000: no case is one that the safety was chosen on.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks._flags import at_least, begin
from tamis.transport import solve_potential

POOL, TARGET, DIMENSIONS = 300, 40, 6
FIRST_SEED = 1_000_000
EXACT, MOST_PASSES = 1e-9, 20_000
ROUNDING = 1e-6
Points = tuple[np.ndarray, np.ndarray]


def report(part: str, **values: object) -> None:
    """Print one line of results."""
    print(json.dumps({"benchmark": "transport_estimate", "part": part, **values}), flush=True)


def _around(rng: np.random.Generator, centres: np.ndarray, count: int, width: float) -> np.ndarray:
    return centres[rng.integers(len(centres), size=count)] + width * rng.normal(
        size=(count, centres.shape[1])
    )


def clustered(rng: np.random.Generator) -> Points:
    """Pool and target of the same five overlapping clusters."""
    centres = rng.normal(size=(5, DIMENSIONS))
    return _around(rng, centres, POOL, 0.5), _around(rng, centres, TARGET, 0.5)


def separated(rng: np.random.Generator) -> Points:
    """Clusters that exchange hardly any mass."""
    centres = 3 * rng.normal(size=(5, DIMENSIONS))
    return _around(rng, centres, POOL, 0.2), _around(rng, centres, TARGET, 0.2)


def narrow(rng: np.random.Generator) -> Points:
    """A target of one cluster among six of the pool."""
    centres = rng.normal(size=(6, DIMENSIONS))
    return _around(rng, centres, POOL, 0.4), _around(rng, centres[:1], TARGET, 0.4)


def even(rng: np.random.Generator) -> Points:
    """No clusters at all."""
    return rng.normal(size=(POOL, DIMENSIONS)), rng.normal(size=(TARGET, DIMENSIONS))


def flat(rng: np.random.Generator) -> Points:
    """Nearly two dimensions, as of templated texts."""
    plane = rng.normal(size=(2, DIMENSIONS))
    sides = [
        rng.normal(size=(n, 2)) @ plane + 0.05 * rng.normal(size=(n, DIMENSIONS)) for n in (POOL, TARGET)
    ]
    return sides[0], sides[1]


def heavy(rng: np.random.Generator) -> Points:
    """Heavy tails, and a target point in seven far from the pool."""
    pool, target = rng.standard_t(2, size=(POOL, DIMENSIONS)), rng.standard_t(2, size=(TARGET, DIMENSIONS))
    target[::7] += 4
    return pool, target


POOLS: dict[str, Callable[[np.random.Generator], Points]] = {
    "clustered": clustered,
    "separated": separated,
    "narrow": narrow,
    "even": even,
    "flat": flat,
    "heavy": heavy,
}


def ratio(shape: str, seed: int) -> float | None:
    """Return the true error of one case over the estimated one, None where the truth is not reached."""
    rng = np.random.default_rng(seed)
    pool, target = POOLS[shape](rng)
    epsilon = float(np.exp(rng.uniform(np.log(0.003), np.log(0.1))))
    tolerance = float(np.exp(rng.uniform(np.log(1e-4), np.log(0.1))))
    masses: dict[str, Any] = {"relative_epsilon": epsilon}
    if seed % 2:
        masses["target_weights"] = rng.dirichlet(np.ones(TARGET))
        masses["reference_weights"] = rng.dirichlet(np.ones(POOL))
    rough = solve_potential(target, pool, tolerance=tolerance, **masses)
    truth = solve_potential(target, pool, tolerance=EXACT, max_passes=MOST_PASSES, warm_start=rough, **masses)
    if not truth.converged:
        return None
    error = float(np.ptp(rough.gradient(pool) - truth.gradient(pool))) / 2
    return max(0.0, error - ROUNDING) / max(rough.error_estimate, ROUNDING)


def summary(part: str, ratios: list[float | None]) -> None:
    """Print the misses of these cases, and how far they miss."""
    known = np.array([value for value in ratios if value is not None])
    misses = int((known > 1).sum())
    report(
        part,
        cases=len(known),
        left_out=len(ratios) - len(known),
        misses=misses,
        share=round(misses / max(len(known), 1), 4),
        largest_ratio=round(float(known.max(initial=0)), 2),
        median_ratio=round(float(np.median(known)) if len(known) else 0.0, 4),
    )


def main() -> None:
    """Measure all six shapes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=at_least(6), default=1_000, help="shared evenly by the six shapes")
    flags = begin(parser)
    found: dict[str, list[float | None]] = {shape: [] for shape in POOLS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few target points, and solves that stop early, are the point
        for number in range(flags.cases):
            shape = list(POOLS)[number % len(POOLS)]
            found[shape].append(ratio(shape, FIRST_SEED + number // len(POOLS)))
    for shape, ratios in found.items():
        summary(shape, ratios)
    summary("all", [value for ratios in found.values() for value in ratios])


if __name__ == "__main__":
    main()
