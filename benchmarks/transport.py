"""Time to score a pool against a target: Tamis and Python Optimal Transport (POT), on the same points.

Each method gets the same centred unit vectors and epsilon, and gives a score for every row. Stopping rule:
L1 error of one marginal under --tolerance (POT lazy tests that itself; POT dense tests an L2 norm, given
tolerance / sqrt(targets)). The error of what came out is measured again in float64, the same way for all.
One JSON line a method.

    python -m benchmarks.transport --rows 20000 --targets 1000 --dim 384
    python -m benchmarks.transport --reference pool.npy --target target.npy --methods tamis pot-lazy
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ot
import torch

from tamis.transport import solve_potential

Potentials = tuple[np.ndarray, np.ndarray]
EVALUATION_ROWS = 1_024


def clustered_vectors(count: int, dim: int, share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vectors [count, dim] around topic centres, cosine about .4 within a topic and 0 across."""
    centres = np.random.default_rng(0).normal(size=(len(share), dim))
    topics = rng.choice(len(share), size=count, p=share)
    return (centres[topics] + 1.25 * rng.normal(size=(count, dim))).astype(np.float32)


def read_vectors(path: Path | None, count: int, dim: int, share: np.ndarray, seed: int) -> np.ndarray:
    """The first `count` stored vectors with a direction, or synthetic ones."""
    if path is None:
        return clustered_vectors(count, dim, share, np.random.default_rng(seed))
    stored = np.load(path, mmap_mode="r")
    vectors = np.asarray(stored[: 2 * count], dtype=np.float32)
    return vectors[np.linalg.norm(vectors, axis=1) > 1e-3][:count]


def unit_vectors(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Rows less the centre, divided by their norm."""
    moved = vectors - centre.astype(np.float32)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def run_tamis(y: np.ndarray, x: np.ndarray, epsilon: float, tolerance: float) -> Potentials:
    """Solve, then score."""
    potential = solve_potential(y, x, epsilon=epsilon, tolerance=tolerance, center=False, normalize=False)
    return potential.gradient(x), potential.g


def run_pot_lazy(y: np.ndarray, x: np.ndarray, epsilon: float, tolerance: float) -> Potentials:
    """POT's Sinkhorn on costs computed batch by batch."""
    u, v = ot.bregman.empirical_sinkhorn(
        x, y, epsilon, isLazy=True, batchSize=4_096, stopThr=tolerance, numIterMax=10_000
    )
    return epsilon * (u + np.log(len(x))), epsilon * (v + np.log(len(y)))


def run_pot_dense(y: np.ndarray, x: np.ndarray, epsilon: float, tolerance: float) -> Potentials:
    """POT's Sinkhorn on the stored cost matrix, numpy."""
    a, b = np.full(len(x), 1 / len(x), np.float32), np.full(len(y), 1 / len(y), np.float32)
    log = ot.sinkhorn(
        a, b, ot.dist(x, y), epsilon, stopThr=tolerance / len(y) ** 0.5, numItermax=10_000, log=True
    )[1]
    return epsilon * (np.log(log["u"]) + np.log(len(x))), epsilon * (np.log(log["v"]) + np.log(len(y)))


def run_pot_torch(y: np.ndarray, x: np.ndarray, epsilon: float, tolerance: float) -> Potentials:
    """The same on torch tensors."""
    y_t, x_t = torch.from_numpy(y), torch.from_numpy(x)
    a, b = torch.full((len(x),), 1 / len(x)), torch.full((len(y),), 1 / len(y))
    log = ot.sinkhorn(
        a, b, ot.dist(x_t, y_t), epsilon, stopThr=tolerance / len(y) ** 0.5, numItermax=10_000, log=True
    )[1]
    return (
        epsilon * (log["u"].log().numpy() + np.log(len(x))),
        epsilon * (log["v"].log().numpy() + np.log(len(y))),
    )


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, float, float], Potentials]] = {
    "tamis": run_tamis,
    "pot-dense": run_pot_dense,
    "pot-torch": run_pot_torch,
    "pot-lazy": run_pot_lazy,
}


def column_error(y: np.ndarray, x: np.ndarray, epsilon: float, g: np.ndarray) -> float:
    """L1 error of the column sums of the plan that g gives, in float64."""
    sums = np.zeros(len(y))
    y64 = y.astype(np.float64)
    for start in range(0, len(x), EVALUATION_ROWS):
        x64 = x[start : start + EVALUATION_ROWS].astype(np.float64)
        cost = (x64**2).sum(1)[:, None] + (y64**2).sum(1) - 2 * x64 @ y64.T
        exponent = (g - cost) / epsilon
        plan = np.exp(exponent - exponent.max(1, keepdims=True))
        sums += (plan / plan.sum(1, keepdims=True)).sum(0)
    return float(np.abs(sums / len(x) - 1 / len(y)).sum())


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the top 10 % (smallest scores) that two methods have in common."""
    k = max(1, len(first) // 10)
    return len(np.intersect1d(np.argsort(first)[:k], np.argsort(second)[:k])) / k


def arguments() -> argparse.Namespace:
    """Flags of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--targets", type=int, default=1_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--relative-epsilon", type=float, default=0.03)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument(
        "--reference", type=Path, help="stored vectors [N, d], .npy; otherwise synthetic topics"
    )
    parser.add_argument("--target", type=Path, help="stored vectors [M, d], .npy")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--repeats", type=int, default=3, help="runs of Tamis; the fastest counts")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Run every method and print a JSON line for each."""
    flags = arguments()
    warnings.simplefilter("ignore")
    topics = np.arange(1, 31) ** -1.0
    pool_share, target_share = topics / topics.sum(), np.roll(topics, 5) / topics.sum()
    pool = read_vectors(flags.reference, flags.rows, flags.dim, pool_share, flags.seed)
    examples = read_vectors(flags.target, flags.targets, flags.dim, target_share, flags.seed + 1)
    centre = pool.mean(0, dtype=np.float64)
    x, y = unit_vectors(pool, centre), unit_vectors(examples, centre)
    epsilon = flags.relative_epsilon * float(
        2 - 2 * x.mean(0, dtype=np.float64) @ y.mean(0, dtype=np.float64)
    )
    solve_potential(y, x[:100], max_passes=2)
    scores = {}
    for name in flags.methods:
        seconds = []
        for _ in range(flags.repeats if name == "tamis" else 1):
            started = time.perf_counter()
            f, g = METHODS[name](y, x, epsilon, flags.tolerance)
            seconds.append(time.perf_counter() - started)
        scores[name] = f
        line = {
            "benchmark": "transport",
            "method": name,
            "rows": len(x),
            "targets": len(y),
            "dim": x.shape[1],
            "vectors": str(flags.reference.name) if flags.reference else "synthetic",
            "relative_epsilon": flags.relative_epsilon,
            "tolerance": flags.tolerance,
            "threads": torch.get_num_threads(),
            "pot": ot.__version__,
            "seconds": round(min(seconds), 3),
            "marginal_error": column_error(y, x, epsilon, np.asarray(g, dtype=np.float64)),
            "top_10_percent_overlap": overlap(f, scores[flags.methods[0]]),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
