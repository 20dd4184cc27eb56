"""The solvers that the transport benchmark compares, and how their time, memory and answers are measured.

Each takes points x [N, d] and y [M, d] and gives the target potential g [M] under KL(P | a x b).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

EVALUATION_ROWS = 1_024
CERTIFIED_SHARE = 0.01


def run_tamis(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> np.ndarray:
    """The potential of `solve_potential`."""
    from tamis.transport import solve_potential

    options: dict[str, Any] = {"center": False, "normalize": False, "seed": flags.seed}
    return solve_potential(y, x, epsilon=flags.epsilon, tolerance=flags.tolerance, **options).g


def run_tamis_streamed(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> np.ndarray:
    """The same, rows read in every pass and nothing of size N x M kept."""
    from tamis.transport import solve_potential

    options: dict[str, Any] = {"center": False, "normalize": False, "seed": flags.seed, "memory": 0}
    return solve_potential(y, x, epsilon=flags.epsilon, tolerance=flags.tolerance, **options).g


def run_tamis_scores(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> np.ndarray:
    """The potential, and the scores of all rows with it."""
    from tamis.transport import solve_and_score

    options: dict[str, Any] = {"center": False, "normalize": False, "seed": flags.seed}
    return solve_and_score(y, x, epsilon=flags.epsilon, tolerance=flags.tolerance, **options)[0].g


def run_tamis_certified(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> np.ndarray:
    """The potential and scores at which at most 1 % of the top tenth is undecided, tightened until then."""
    from tamis.transport import estimated_top_k, solve_and_score

    options: dict[str, Any] = {"center": False, "normalize": False, "seed": flags.seed}
    k, tolerance, start = max(1, len(x) // 10), flags.tolerance, None
    while True:
        start, scores = solve_and_score(
            y, x, epsilon=flags.epsilon, tolerance=tolerance, warm_start=start, **options
        )
        found = estimated_top_k(start, scores, k)
        if found.counts["undecided"] <= CERTIFIED_SHARE * k or tolerance < 1e-6:
            return start.g
        # Undecided is what is nearer to the cut than twice the error, which falls with the marginal error.
        away_n = np.sort(np.abs(scores - found.threshold))
        wanted = away_n[int(CERTIFIED_SHARE * k)] / 2
        tolerance = 0.8 * start.marginal_error * min(1.0, wanted / start.error_estimate)


def run_pot_lazy(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> np.ndarray:
    """POT's Sinkhorn on costs computed batch by batch."""
    import ot

    result = ot.solve_sample(
        x,
        y,
        reg=flags.epsilon,
        lazy=True,
        batch_size=getattr(flags, "batch", 1_000),
        max_iter=getattr(flags, "iterations", 10_000),
        tol=flags.tolerance,
    )
    return flags.epsilon * (np.asarray(result.potentials[1]) + np.log(len(y)))


def fastest_batch(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> int:
    """The batch size with which one iteration of POT lazy takes least."""
    seconds = {}
    for batch in flags.batches:
        tried = argparse.Namespace(**{**vars(flags), "batch": batch, "iterations": 1})
        started = time.perf_counter()
        run_pot_lazy(x, y, tried)
        seconds[batch] = time.perf_counter() - started
    return min(seconds, key=lambda batch: seconds[batch])


def run_pot_dense(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> np.ndarray:
    """POT's Sinkhorn on the stored cost matrix, numpy."""
    import ot

    a, b = np.full(len(x), 1 / len(x), x.dtype), np.full(len(y), 1 / len(y), x.dtype)
    stop = flags.tolerance / len(y) ** 0.5
    log = ot.sinkhorn(
        a, b, ot.dist(x, y), flags.epsilon, stopThr=stop, numItermax=flags.most_iterations, log=True
    )[1]
    return flags.epsilon * (np.log(log["v"]) + np.log(len(y)))


def run_pot_torch(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> np.ndarray:
    """The same on torch tensors."""
    import ot
    import torch

    x_t, y_t = torch.from_numpy(x), torch.from_numpy(y)
    a, b = torch.full((len(x),), 1 / len(x)), torch.full((len(y),), 1 / len(y))
    stop = flags.tolerance / len(y) ** 0.5
    log = ot.sinkhorn(
        a, b, ot.dist(x_t, y_t), flags.epsilon, stopThr=stop, numItermax=flags.most_iterations, log=True
    )[1]
    return flags.epsilon * (log["v"].log().numpy() + np.log(len(y)))


def run_geomloss(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> np.ndarray:
    """geomloss' annealed loop on tensors; its cost is half of ours, and it has no stopping rule.

    Without pykeops costs are stored. At 6,000 x 500 it leaves a marginal error of .25 with `scaling` .5, .059
    with .95 and .019 with .98 (four times slower), so its answer is a draft: read it with its error.
    """
    import importlib.util

    import torch
    from geomloss import SamplesLoss

    blur = (flags.epsilon / 2) ** 0.5
    backend = "online" if importlib.util.find_spec("pykeops") else "tensorized"
    options = {"scaling": 0.95, "debias": False, "potentials": True, "backend": backend}
    loss = SamplesLoss("sinkhorn", p=2, blur=blur, **options)
    return 2 * loss(torch.from_numpy(x), torch.from_numpy(y))[1].reshape(-1).numpy()


def run_ott(x: np.ndarray, y: np.ndarray, flags: argparse.Namespace) -> np.ndarray:
    """ott-jax on a point cloud; its potential holds epsilon log b."""
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    geometry = pointcloud.PointCloud(x, y, epsilon=flags.epsilon)
    solver = sinkhorn.Sinkhorn(threshold=flags.tolerance, max_iterations=10_000)
    result = solver(linear_problem.LinearProblem(geometry))
    return np.asarray(result.g) + flags.epsilon * np.log(len(y))


SOLVERS: dict[str, Callable[[np.ndarray, np.ndarray, argparse.Namespace], np.ndarray]] = {
    "tamis": run_tamis,
    "tamis-scores": run_tamis_scores,
    "tamis-streamed": run_tamis_streamed,
    "tamis-certified": run_tamis_certified,
    "pot-torch": run_pot_torch,
    "pot-dense": run_pot_dense,
    "pot-lazy": run_pot_lazy,
    "geomloss": run_geomloss,
    "ott-jax": run_ott,
}


class PeakMemory:
    """Growth of the resident set over what it was at the start, MiB (Linux: the peak is reset first)."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self.before = memory_mib("VmRSS")

    def growth(self) -> float:
        """Peak since the start, less the resident set then."""
        return memory_mib("VmHWM") - self.before


def memory_mib(name: str) -> float:
    """Of this process, by its name in /proc/self/status: VmRSS now, VmHWM at its peak; MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def scores_of(x: np.ndarray, y: np.ndarray, epsilon: float, g: np.ndarray) -> tuple[np.ndarray, float]:
    """Scores [N] by the soft c-transform of g [M], and the L1 error of its column sums; float64."""
    f, sums, y64 = np.empty(len(x)), np.zeros(len(y)), y.astype(np.float64)
    bias = g - (y64**2).sum(1)
    for start in range(0, len(x), EVALUATION_ROWS):
        x64 = x[start : start + EVALUATION_ROWS].astype(np.float64)
        exponent = (2 * x64 @ y64.T + bias) / epsilon
        largest = exponent.max(1, keepdims=True)
        plan = np.exp(exponent - largest)
        total = plan.sum(1, keepdims=True)
        f[start : start + len(x64)] = (x64**2).sum(1) - epsilon * (largest + np.log(total / len(y)))[:, 0]
        sums += (plan / total).sum(0)
    return f, float(np.abs(sums / len(x) - 1 / len(y)).sum())


def overlap(first: np.ndarray, second: np.ndarray, share: float) -> float:
    """Share of the smallest scores that two methods have in common."""
    k = max(1, round(len(first) * share))
    return len(np.intersect1d(np.argpartition(first, k - 1)[:k], np.argpartition(second, k - 1)[:k])) / k
