"""Fits, predictions and the budgeted search on the public fine-tuning curves: JSON lines on stdout.

    python -m benchmarks.scaling --subsets 50 --seed 0

Curves: Lin et al. (arXiv 2402.02314), found through TAMIS_BENCH_DATA (default ../shared/data beside the
checkout). Rivals run on the same data, noise and subsets: Accept-then-Stop as published, SubTuning, and
classic successive halving by plain loss. One core, about 6 minutes; --only picks parts. Costs of the search
are counted twice: every example at one price, and at the price of the model's parameters.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from tamis.scaling import BudgetedSearch, accept_then_stop, audit_curves, fit_law, predict_full_loss
from tamis.scaling.measurements import Floats
from tamis.scaling.methods import METHODS

TABLES = ("flan", "gigaword")
BUDGETS = (8, 16, 32, 64, 128, 256, 512)
MODELS, NOISE = 20, 0.005
Table = dict[str, tuple[Floats, Floats]]
Losses = dict[tuple[str, float], float]


def report(name: str, **values: object) -> None:
    """One line of results."""
    print(json.dumps({"benchmark": "scaling", "part": name, **values}), flush=True)


def data_folder() -> Path:
    """Where the public curves are; exits with a reason when they are absent."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("TAMIS_BENCH_DATA", default)) / "scaling_laws"
    if not (folder / "flan.csv").is_file():
        sys.exit(f"no public curves at {folder}; set TAMIS_BENCH_DATA to the folder that holds scaling_laws/")
    return folder


def load(name: str) -> tuple[Table, dict[str, float]]:
    """Curves with D = 0 left out, and parameters per model."""
    frame = pl.read_csv(data_folder() / f"{name}.csv").filter(pl.col("D") > 0).sort("model", "D")
    curves = {
        str(key[0]): (rows["D"].to_numpy().astype(float), rows["loss"].to_numpy())
        for key, rows in frame.group_by("model", maintain_order=True)
    }
    return curves, dict(frame.select("model", pl.col("n_params").cast(pl.Float64)).unique().iter_rows())


def scores(predicted: Floats, truth: Floats) -> dict[str, float]:
    """Pearson, Spearman, RelAcc and regret of choosing the smallest prediction."""
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (predicted, truth)]
    chosen = truth[int(np.argmin(predicted))]
    return {
        "pearson": float(np.corrcoef(predicted, truth)[0, 1]),
        "spearman": float(np.corrcoef(ranks[0], ranks[1])[0, 1]),
        "rel_acc": float((truth.max() - chosen) / np.ptp(truth)),
        "regret_percent": float(100 * (chosen / truth.min() - 1)),
    }


def bench_fits() -> None:
    """Mean RMSD of natural-log losses and seconds a fit."""
    for law in ("rectified", "vanilla", "power3", "shifted", "rectified5"):
        for name in TABLES:
            curves, _ = load(name)
            started = time.process_time()
            fits = [fit_law(law, sizes.tolist(), losses.tolist()) for sizes, losses in curves.values()]
            report(
                "fit",
                law=law,
                table=name,
                mean_rmsd=float(np.mean([fit.rmsd for fit in fits])),
                converged=sum(fit.converged for fit in fits),
                curves=len(fits),
                cpu_seconds=time.process_time() - started,
            )


def bench_predictions() -> None:
    """Every method at every budget: the largest subset is 1 / budget of the full size."""
    for name in TABLES:
        curves, _ = load(name)
        full = max(float(sizes[-1]) for sizes, _ in curves.values())
        truth = np.array([losses[-1] for _, losses in curves.values()])
        for method in METHODS:
            if method == "zeroshot":
                continue
            lines = []
            for budget in BUDGETS:
                cut = {m: (d[d <= full / budget], v[d <= full / budget]) for m, (d, v) in curves.items()}
                found = predict_full_loss(cut, full, method)  # type: ignore[arg-type]
                predicted = np.array([one.loss for one in found.values()])
                inside = [
                    one.low <= loss <= one.high for one, loss in zip(found.values(), truth, strict=True)
                ]
                lines.append(scores(predicted, truth) | {"covered": float(np.mean(inside))})
                report("prediction", table=name, method=method, budget=f"1/{budget}", **lines[-1])
            means = {key: float(np.mean([line[key] for line in lines])) for key in lines[0]}
            report("prediction_mean", table=name, method=method, **means)


def noisy_subsets(
    subsets: int, seed: int
) -> Iterator[tuple[str, list[str], Table, Losses, dict[str, float]]]:
    """Random 20-model subsets with 0.5 % noise on every measured loss; the truth has none."""
    for name in TABLES:
        curves, parameters = load(name)
        rng = np.random.default_rng(seed)
        for _ in range(subsets):
            models = [str(model) for model in rng.choice(list(curves), MODELS, replace=False)]
            seen = {
                (model, float(size)): float(loss * np.exp(NOISE * rng.normal()))
                for model in models
                for size, loss in zip(*curves[model], strict=True)
            }
            yield name, models, curves, seen, {model: parameters[model] for model in models}


def by_budgeted_search(
    models: list[str], sizes: Floats, seen: Losses, costs: dict[str, float], share: float
) -> tuple[str, float]:
    """Tamis: the choice, and the share of the full cost spent."""
    search = BudgetedSearch(models, sizes.tolist(), costs, share)
    while runs := search.ask():
        for model, size in runs:
            search.tell(model, size, seen[model, size])
    return str(search.choice), search.spent_share


def by_accept_then_stop(
    models: list[str], sizes: Floats, seen: Losses, costs: dict[str, float], share: float
) -> tuple[str, float]:
    """Accept-then-Stop at the largest gamma = 1/2^i whose upper-bound cost fits."""
    full = sizes[-1]
    usable = sizes[np.cumsum(sizes) <= share * full * (1 + 1e-9)]
    cut = usable if len(usable) else sizes[:1]
    losses = {m: accept_then_stop(cut, [seen[m, d] for d in cut], full).loss for m in models}
    return min(losses, key=lambda model: losses[model]), float(cut.sum() / full)


def by_plain_halving(
    models: list[str], sizes: Floats, seen: Losses, costs: dict[str, float], share: float
) -> tuple[str, float]:
    """Successive halving by the loss itself: keep the better half, double the data."""
    total, alive = sum(costs.values()) * sizes[-1], list(models)

    def cost(start: int) -> float:
        spent, left = 0.0, len(models)
        for size in sizes[start:]:
            spent += left * size * float(np.mean(list(costs.values())))
            left //= 2
            if left < 2:
                break
        return spent / total

    start = next((i for i in range(len(sizes) - 1, -1, -1) if cost(i) <= share), 0)
    spent = 0.0
    for size in sizes[start:]:
        spent += sum(costs[model] for model in alive) * size
        alive = sorted(alive, key=lambda model: seen[model, size])[: max(1, len(alive) // 2)]
        if len(alive) == 1:
            break
    return alive[0], spent / total


CASES = (("tamis", 0.07), ("tamis", 0.3), ("ats", 0.25), ("halving", 0.07), ("halving", 0.3))
SEARCHES = {"tamis": by_budgeted_search, "ats": by_accept_then_stop, "halving": by_plain_halving}


def bench_search(subsets: int, seed: int) -> None:
    """Regret and RelAcc of each search at several budgets, over the same subsets."""
    for priced in ("examples", "parameters"):
        for label, share in CASES:
            rows = list(search_rows(label, share, priced, subsets, seed))
            values = np.array([row[1:] for row in rows])
            report(
                "search",
                method=label,
                priced_by=priced,
                budget_share=share,
                mean_spent_share=float(values[:, 2].mean()),
                rel_acc=float(values[:, 0].mean()),
                regret_percent=float(values[:, 1].mean()),
                regret_standard_error=float(values[:, 1].std() / np.sqrt(len(values))),
                runs=len(values),
                by_table={
                    name: float(np.mean([row[2] for row in rows if row[0] == name])) for name in TABLES
                },
            )


def search_rows(
    label: str, share: float, priced: str, subsets: int, seed: int
) -> Iterator[tuple[str, float, float, float]]:
    """(table, RelAcc, regret in per cent, share of the cost spent) of one search on every subset."""
    for name, models, curves, seen, parameters in noisy_subsets(subsets, seed):
        costs = parameters if priced == "parameters" else dict.fromkeys(models, 1.0)
        truth = np.array([curves[model][1][-1] for model in models])
        choice, spent = SEARCHES[label](models, curves[models[0]][0], seen, costs, share)
        chosen = curves[choice][1][-1]
        yield name, (truth.max() - chosen) / np.ptp(truth), 100 * (chosen / truth.min() - 1), spent


def bench_coverage(seed: int) -> None:
    """Share of true losses inside the 90 % interval, on curves of the rectified law with noise."""
    for noise in (0.003, 0.01):
        for sizes, octaves in ((14, 1), (14, 3), (10, 2), (7, 3)):
            for method in ("best", "ats"):
                rng, inside = np.random.default_rng(seed), []
                for _ in range(10):
                    curves, target, truth = rectified_table(rng, sizes, octaves, noise)
                    found = predict_full_loss(curves, target, "best" if method == "best" else "ats")
                    inside += [one.low <= truth[model] <= one.high for model, one in found.items()]
                report(
                    "coverage",
                    method=method,
                    sizes=sizes,
                    octaves_ahead=octaves,
                    noise=noise,
                    covered=float(np.mean(inside)),
                )


def rectified_table(
    rng: np.random.Generator, sizes: int, octaves: int, noise: float
) -> tuple[Table, float, dict[str, float]]:
    """20 random rectified laws with noise, the target size and the noise-free losses there."""
    grid: Floats = 200 * 2.0 ** np.arange(sizes, dtype=np.float64)
    target = float(grid[-1] * 2**octaves)
    curves: Table = {}
    truth: dict[str, float] = {}
    for place in range(MODELS):
        beta, floor, drop = rng.uniform(0.25, 0.9), rng.uniform(0.3, 1.5), rng.uniform(1, 4)
        delay = 10 ** rng.uniform(2.3, 5)
        clean = floor + drop / (1 + (np.append(grid, target) / delay) ** beta)
        curves[f"m{place}"] = (grid, np.asarray(clean[:-1] * np.exp(noise * rng.normal(size=sizes))))
        truth[f"m{place}"] = float(clean[-1])
    return curves, target, truth


def bench_defects() -> None:
    """What the audit finds in the public tables."""
    for name in TABLES:
        for found in audit_curves(load(name)[0]):
            report("defect", table=name, model=found.model, kind=found.kind, detail=found.detail)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subsets", type=int, default=50, help="random subsets a table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=["fits", "predictions", "search", "coverage", "defects"])
    arguments = parser.parse_args()
    parts = {
        "fits": bench_fits,
        "predictions": bench_predictions,
        "search": lambda: bench_search(arguments.subsets, arguments.seed),
        "coverage": lambda: bench_coverage(arguments.seed),
        "defects": bench_defects,
    }
    for part in arguments.only:
        parts[part]()


if __name__ == "__main__":
    main()
