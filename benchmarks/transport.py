"""Time, memory and accuracy of transport solvers on the same real vectors, as JSON lines.

    python -m benchmarks.transport                         # figure a: Tamis and its rivals on the CPU
    python -m benchmarks.transport --figure table          # figure b: 1,000,000 vectors from a Lance table
    python -m benchmarks.transport --figure gpu            # figure c: 1,000,000 x 10,000 on CUDA
    python -m benchmarks.transport --figure certified      # figure d: until the top tenth is certain
    python -m benchmarks.transport --figure debiased       # figure e: got-d-debiased next to got-d

Every solver runs in a process of its own and gets the same centred unit vectors (MiniLM, d = 384, see
_transport_data.py) and epsilon; the fastest of --repeats runs counts. Its marginal error and scores are
measured again from the potential g it returns, in float64, the same way for all; overlaps are with the
answer converged to 1e-6. Peak memory: growth over the resident set before the call. POT on stored costs
tests an L2 norm every ten iterations: it gets the tolerance / sqrt(targets). POT lazy tries --batches for one
iteration each and runs with the fastest. "tamis-scores" returns the scores of all rows too. Solvers that are
not installed are named with the command that installs them. Claims of figure a: with a plan that is kept,
with or without scores, the fastest of the other solvers takes 1.3 times as long, POT lazy 20 times; streamed
("tamis-streamed"), those that store all costs take 10 times the memory. Figure d: the time until at most 1 %
of the top tenth is undecided by the estimated error, at 50,000 x 2,000 and 200,000 x 5,000 (where vectors are
fewer: resampled with noise), next to the rivals' times to the same marginal error. Figure e: CPU seconds of
the graph's stages of got-d, and of those that got-d-debiased adds, on --debiased-rows made-up vectors of the
static encoder's width (claim: at most 1.5 times got-d's at a million). Every ratio line says what is wanted
and whether it is reached; exit code 1 when a claim is missed.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._flags import begin
from benchmarks._transport_claims import STORES_COSTS, missed, ratios
from benchmarks._transport_data import cache_folder, resampled, unit_vectors, vectors
from benchmarks._transport_large import build_table, debiased, gpu, table, work_table
from benchmarks._transport_solvers import SOLVERS, PeakMemory, fastest_batch, overlap, scores_of

INSTALLS = {"geomloss": "pip install geomloss", "ott": "pip install ott-jax"}
FIGURES = ("cpu", "table", "gpu", "certified", "debiased")
CERTIFIED = "tamis-certified"
CERTIFIED_ITERATIONS = 1_000
"""Of rivals, in figure d: in float32 they may never reach the error."""
STORED, STORED_TARGETS = 50_000, 2_000
ALONE = [name for name in SOLVERS if name != CERTIFIED]
NEEDS = {"geomloss": "geomloss", "ott-jax": "ott"}


def work(flags: argparse.Namespace) -> None:
    """In a process of its own: run one solver on stored points; writes g, prints seconds and memory."""
    import torch

    warnings.simplefilter("ignore")
    x, y = np.load(flags.folder / "x.npy"), np.load(flags.folder / "y.npy")
    SOLVERS[flags.worker](x[:1_000].copy(), y[:100].copy(), flags)
    if flags.worker == "pot-lazy":
        flags.batch = fastest_batch(x, y, flags)
    seconds, peaks = [], []
    for _ in range(flags.repeats):
        memory = PeakMemory()
        started = time.perf_counter()
        g = SOLVERS[flags.worker](x, y, flags)
        seconds.append(time.perf_counter() - started)
        peaks.append(memory.growth())
    np.save(flags.folder / f"{flags.worker}.npy", g)
    line = {"seconds": round(min(seconds), 3), "all_seconds": [round(value, 3) for value in seconds]}
    batch = {"batch": flags.batch} if hasattr(flags, "batch") else {}
    print(
        json.dumps(
            {**line, "peak_memory_mib": round(max(peaks)), "threads": torch.get_num_threads(), **batch}
        )
    )


def compare(flags: argparse.Namespace, cache: Path) -> list[str]:
    """Figure a: every installed solver on the same points; returns what was claimed and missed."""
    folder = _points(flags, cache)
    x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
    epsilon = float(np.load(folder / "epsilon.npy"))
    truth = _converged(x, y, epsilon, folder)
    lines: dict[str, dict[str, Any]] = {}
    for name in flags.solvers:
        head = {"benchmark": "transport", "figure": "cpu", "solver": name}
        package = NEEDS.get(name, "ot" if name.startswith("pot") else "tamis")
        if importlib.util.find_spec(package) is None:
            print(json.dumps({**head, "skipped": "not installed", "install": INSTALLS[package]}), flush=True)
            continue
        measured = _in_process(name, flags, folder, epsilon)
        f, error = scores_of(x, y, epsilon, np.load(folder / f"{name}.npy").astype(np.float64))
        lines[name] = {
            **head,
            "N": len(x),
            "M": len(y),
            "d": x.shape[1],
            "relative_epsilon": flags.relative_epsilon,
            "tolerance": flags.tolerance,
            **measured,
            "marginal_error": float(f"{error:.3g}"),
            "top_1_percent_overlap": round(overlap(f, truth, 0.01), 4),
            "top_10_percent_overlap": round(overlap(f, truth, 0.1), 4),
        }
        print(json.dumps(lines[name]), flush=True)
    return _ratios(lines)


def _ratios(lines: dict[str, dict[str, Any]]) -> list[str]:
    found = ratios(lines)
    for ratio in found:
        print(json.dumps({"benchmark": "transport", "figure": "cpu", **ratio}), flush=True)
    return [text for text in map(missed, found) if text]


def certified(flags: argparse.Namespace, cache: Path) -> None:
    """Figure d: until a top tenth is certain, and what rivals take to the same marginal error."""
    for rows, targets in ((50_000, 2_000), (200_000, 5_000)):
        sized = argparse.Namespace(
            **{**vars(flags), "rows": rows, "targets": targets, "most_iterations": CERTIFIED_ITERATIONS}
        )
        folder = _points(sized, cache)
        x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
        epsilon = float(np.load(folder / "epsilon.npy"))
        for name in (CERTIFIED, *(solver for solver in flags.solvers if solver in STORES_COSTS)):
            head = {"benchmark": "transport", "figure": "certified", "solver": name, "N": rows, "M": targets}
            if importlib.util.find_spec(NEEDS.get(name, "ot")) is None:
                print(json.dumps({**head, "skipped": "not installed"}), flush=True)
                continue
            measured = _in_process(name, sized, folder, epsilon)
            error = scores_of(x, y, epsilon, np.load(folder / f"{name}.npy").astype(np.float64))[1]
            if name == CERTIFIED:
                sized.tolerance = error
            print(json.dumps({**head, **measured, "marginal_error": float(f"{error:.3g}")}), flush=True)


def _points(flags: argparse.Namespace, cache: Path) -> Path:
    """Folder with x [N, d], y [M, d] and epsilon, ready for every solver."""
    name = f"points-{flags.encoder}-{flags.rows}-{flags.targets}-{flags.relative_epsilon}"
    folder = cache / name
    if not (folder / "epsilon.npy").exists():
        folder.mkdir(exist_ok=True)
        pool = _resampled(vectors(flags.encoder, "pool", min(flags.rows, STORED), cache), flags.rows)
        centre = pool.mean(0, dtype=np.float64)
        x = unit_vectors(pool, centre)
        target = vectors(flags.encoder, "target", min(flags.targets, STORED_TARGETS), cache)
        y = unit_vectors(_resampled(target, flags.targets), centre)
        mean_cost = 2 - 2 * float(x.mean(0, dtype=np.float64) @ y.mean(0, dtype=np.float64))
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", y)
        np.save(folder / "epsilon.npy", flags.relative_epsilon * mean_cost)
    return folder


def _resampled(vectors_nd: np.ndarray, count: int) -> np.ndarray:
    """So many vectors: the given ones, or more of them by drawing again with noise of .3 of their length."""
    return (
        vectors_nd
        if count == len(vectors_nd)
        else resampled(vectors_nd, count, 0.3, np.random.default_rng(0))
    )


def _converged(x: np.ndarray, y: np.ndarray, epsilon: float, folder: Path) -> np.ndarray:
    path = folder / "converged.npy"
    if not path.exists():
        from tamis.transport import solve_potential

        potential = solve_potential(
            y, x, epsilon=epsilon, tolerance=1e-6, max_passes=2_000, center=False, normalize=False
        )
        f, error = scores_of(x, y, epsilon, potential.potential)
        assert error < 2e-6, f"the converged answer has a marginal error of {error:.2g}"
        np.save(path, f)
    return np.load(path)


def _in_process(name: str, flags: argparse.Namespace, folder: Path, epsilon: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.transport", "--worker", name, "--folder", str(folder)]
    command += ["--epsilon", str(epsilon), "--tolerance", str(flags.tolerance), "--seed", str(flags.seed)]
    repeats = flags.lazy_repeats if name == "pot-lazy" else flags.repeats
    command += ["--most-iterations", str(flags.most_iterations)]
    command += ["--repeats", str(repeats), "--batches", *map(str, flags.batches)]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    if output.returncode:
        sys.exit(f"{name} failed:\n{output.stderr}")
    return dict(json.loads(output.stdout.splitlines()[-1]))


def arguments() -> argparse.Namespace:
    """Flags of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", nargs="+", choices=FIGURES, default=FIGURES)
    parser.add_argument("--encoder", choices=["minilm", "static"], default="minilm")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--targets", type=int, default=2_000)
    parser.add_argument("--table-rows", type=int, default=1_000_000)
    parser.add_argument("--table-targets", type=int, default=1_000)
    parser.add_argument("--debiased-rows", type=int, default=100_000)
    parser.add_argument("--gpu-targets", type=int, default=10_000)
    parser.add_argument("--relative-epsilon", type=float, default=0.03)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--solvers", nargs="+", choices=ALONE, default=ALONE)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lazy-repeats", type=int, default=3)
    parser.add_argument("--batches", nargs="+", type=int, default=[1_000, 5_000, 25_000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-iterations", type=int, default=10_000, help="of rivals that store all costs")
    parser.add_argument("--cache", type=Path, help="folder for embeddings, tables and converged answers")
    for name in ("--worker", "--folder", "--epsilon"):
        kind: Callable[[str], Any] = {"--folder": Path, "--epsilon": float}.get(name, str)
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    return begin(parser)


def main() -> None:
    """Print the figures asked for, or do the work of one process."""
    flags = arguments()
    if flags.worker == "build":
        return build_table(flags)
    if flags.worker and flags.worker.startswith("table"):
        return work_table(flags)
    if flags.worker:
        return work(flags)
    cache = cache_folder(flags.cache)
    figures: tuple[Callable[..., list[str] | None], ...] = (compare, table, gpu, certified, debiased)
    run = dict(zip(FIGURES, figures, strict=True))
    failed = [text for name in flags.figure for text in run[name](flags, cache) or ()]
    if failed:
        sys.exit("\n".join(f"claim missed: {text}" for text in failed))
    return None


if __name__ == "__main__":
    main()
