"""Fits, predictions and the budgeted search on the public fine-tuning curves: JSON lines on stdout.

    python -m benchmarks.scaling --subsets 50 --seed 0

Curves: Lin et al. (arXiv 2402.02314), found through TAMIS_BENCH_DATA (default ../shared/data next to the
checkout). Rivals run on the same data, noise and subsets: Accept-then-Stop as published, SubTuning, and
classic successive halving by plain loss. Costs of the search are counted twice: every example at one price,
and at the price of the model's parameters. A line with a limit says whether it `holds`; exits 1 when one
does not. One core, two minutes; --only picks parts.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks._coverage_data import Report
from benchmarks._flags import begin
from benchmarks._scaling_data import (
    BUDGETS,
    TABLES,
    cut,
    full_losses,
    full_size,
    load,
    noisy_subsets,
    rectified_table,
    scores,
)
from benchmarks._scaling_published import accept_then_stop_cells, fits
from benchmarks._scaling_searches import SEARCHES
from tamis.scaling import audit_curves, model_size_scores, predict_full_loss
from tamis.scaling.measurements import Floats
from tamis.scaling.methods import METHODS

LEAST_PEARSON = {"flan": 0.68, "gigaword": 0.925}
LEAST_ACCURACY = 0.936
RESAMPLES = 1_000
CASES = (("tamis", 0.07), ("tamis", 0.3), ("ats", 0.25), ("halving", 0.07), ("halving", 0.3))
SEARCH_LIMITS = {0.07: (0.975, 1.0, 0.7), 0.3: (0.992, 0.25, 0.15)}
LEAST_R2, OCTAVE = 0.9975, (409_600, 819_200)
COVERED, LEAST_CONFORMAL = (0.82, 0.98), 0.85
SYNTHETIC = ((14, 1), (14, 3), (10, 2), (7, 3))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    subsets: int
    seed: int


def predictions(report: Report, options: Options) -> None:
    """Every method at every budget: the largest subset is 1 / budget of the full size."""
    found = {name: {method: _predictions(report, name, method) for method in METHODS} for name in TABLES}
    for name in TABLES:
        curves, parameters = load(name)
        ours = model_size_scores(parameters)
        report.line(f"modelsize_{name}", **scores(np.array([ours[m] for m in curves]), full_losses(curves)))
    accuracy = {
        method: float(np.mean([[cell["rel_acc"] for cell in found[name][method][1]] for name in TABLES]))
        for method in ("best", "ats")
    }
    report.line(
        "best_rel_acc",
        holds=accuracy["best"] >= LEAST_ACCURACY,
        limit=LEAST_ACCURACY,
        rel_acc=accuracy["best"],
        rel_acc_of_ats=accuracy["ats"],
    )
    gains = np.mean(
        [
            _resampled_gain(name, found[name]["best"][0], found[name]["ats"][0], options.seed)
            for name in TABLES
        ],
        axis=0,
    )
    low = float(np.quantile(gains, 0.05))
    report.line("best_gain_over_ats", holds=low > 0, quantile_5=low, mean=float(gains.mean()), limit=0.0)


def _predictions(report: Report, name: str, method: str) -> tuple[list[Floats], list[dict[str, float]]]:
    """Predicted losses [m] and scores of each budget; reports them and their mean."""
    curves, _ = load(name)
    full, truth = full_size(curves), full_losses(curves)
    predicted, cells = [], []
    for budget in BUDGETS if method != "zeroshot" else ():
        found = list(predict_full_loss(cut(curves, full / budget), full, method).values())  # type: ignore[arg-type]
        inside = [one.low <= loss <= one.high for one, loss in zip(found, truth, strict=True)]
        predicted.append(np.array([one.loss for one in found]))
        cells.append(scores(predicted[-1], truth) | {"covered": float(np.mean(inside))})
        conformal = method == "best" and budget in (8, 16)
        report.line(
            f"{method}_{name}_1/{budget}",
            holds=cells[-1]["covered"] >= LEAST_CONFORMAL if conformal else None,
            **cells[-1],
            **({"limit_covered": LEAST_CONFORMAL} if conformal else {}),
        )
    if cells:
        means = {key: float(np.mean([cell[key] for cell in cells])) for key in cells[0]}
        limit = LEAST_PEARSON[name] if method == "best" else None
        holds = None if limit is None else means["pearson"] >= limit
        report.line(f"{method}_{name}_mean", holds=holds, **means, limit_pearson=limit)
    return predicted, cells


def _resampled_gain(name: str, ours: list[Floats], theirs: list[Floats], seed: int) -> Floats:
    """Gain [r] of mean PearCorr over the budgets on resampled models, both methods on the same ones."""
    truth, rng = full_losses(load(name)[0]), np.random.default_rng(seed)
    chosen = rng.integers(0, len(truth), (RESAMPLES, len(truth)))
    return _correlations(ours, truth, chosen) - _correlations(theirs, truth, chosen)


def _correlations(predicted: list[Floats], truth: Floats, chosen: np.ndarray) -> Floats:
    """PearCorr [r], averaged over budgets, of models [r, m]."""
    x, y = np.stack([one[chosen] for one in predicted]), truth[chosen][None]
    x, y = x - x.mean(axis=2, keepdims=True), y - y.mean(axis=2, keepdims=True)
    found: Floats = ((x * y).sum(2) / np.sqrt((x**2).sum(2) * (y**2).sum(2))).mean(axis=0)
    return found


def searches(report: Report, options: Options) -> None:
    """Regret and RelAcc of each search at several budgets, over the same subsets."""
    subsets = list(noisy_subsets(options.subsets, options.seed))
    for priced in ("examples", "parameters"):
        for label, share in CASES:
            rows = []
            for subset in subsets:
                costs = subset.parameters if priced == "parameters" else dict.fromkeys(subset.models, 1.0)
                choice, spent = SEARCHES[label](subset, costs, share)
                truth, chosen = np.array(list(subset.truth.values())), subset.truth[choice]
                rows.append([(truth.max() - chosen) / np.ptp(truth), 100 * (chosen / truth.min() - 1), spent])
            _search(report, f"search_{label}_{share:g}_by_{priced}", np.array(rows), options, label, share)


def _search(report: Report, name: str, rows: Floats, options: Options, label: str, share: float) -> None:
    accuracy, regret, spent = (float(value) for value in rows.mean(axis=0))
    least, most, stretch = SEARCH_LIMITS.get(share, (0.0, 0.0, 0.0)) if label == "tamis" else (0.0, 0.0, 0.0)
    limits = {"limit_rel_acc": least, "limit_regret_percent": most, "stretch": stretch} if least else {}
    report.line(
        name,
        holds=accuracy >= least and regret <= most and rows[:, 2].max() <= share * (1 + 1e-6)
        if least
        else None,
        rel_acc=accuracy,
        regret_percent=regret,
        standard_error=float(rows[:, 1].std() / np.sqrt(len(rows))),
        **limits,
        mean_spent_share=spent,
        flan_regret=float(rows[: options.subsets, 1].mean()),
        gigaword_regret=float(rows[options.subsets :, 1].mean()),
        runs=len(rows),
    )


def octave_ahead(report: Report, _options: Options) -> None:
    """Pooled R2 of log losses predicted one octave beyond the data, and of the losses themselves."""
    for method in ("best", "ats", "rectified"):
        predicted, measured = [], []
        for name in TABLES:
            curves, _ = load(name)
            found = predict_full_loss(cut(curves, OCTAVE[0]), OCTAVE[1], method)  # type: ignore[arg-type]
            predicted += [one.loss for one in found.values()]
            measured += full_losses(cut(curves, OCTAVE[1])).tolist()
        losses, logs = _r2(predicted, measured), _r2(np.log(predicted), np.log(measured))
        holds = min(losses, logs) >= LEAST_R2 if method == "best" else None
        report.line(f"octave_ahead_{method}", holds=holds, r2=losses, r2_of_logs=logs, limit=LEAST_R2)


def _r2(predicted: Floats | list[float], measured: Floats | list[float]) -> float:
    truth = np.asarray(measured)
    return float(1 - ((np.asarray(predicted) - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def coverage(report: Report, options: Options) -> None:
    """Share of true losses inside the 90 % interval, on curves of the rectified law with noise."""
    for method in ("best", "ats"):
        found = []
        for noise, (sizes, octaves) in product((0.003, 0.01), SYNTHETIC):
            rng, inside = np.random.default_rng(options.seed), []
            for _ in range(10):
                curves, target, truth = rectified_table(rng, sizes, octaves, noise)
                ours = predict_full_loss(curves, target, method).values()  # type: ignore[arg-type]
                inside += [one.low <= loss <= one.high for one, loss in zip(ours, truth, strict=True)]
            found.append(float(np.mean(inside)))
            name = f"coverage_{method}_{sizes}_sizes_{octaves}_octaves_noise_{noise:g}"
            report.line(name, covered=found[-1], within=COVERED[0] <= found[-1] <= COVERED[1])
        mean = float(np.mean(found))
        holds = COVERED[0] <= mean <= COVERED[1] if method == "best" else None
        report.line(f"coverage_{method}", holds=holds, covered=mean, limits=COVERED)


def defects(report: Report, _options: Options) -> None:
    """What the audit finds in the public tables."""
    for name in TABLES:
        for found in audit_curves(load(name)[0]):
            report.line("defect", table=name, model=found.model, kind=found.kind, detail=found.detail)


PARTS: dict[str, Callable[[Report, Options], None]] = {
    "fits": lambda report, _options: fits(report),
    "ats": lambda report, _options: accept_then_stop_cells(report),
    "predictions": predictions,
    "search": searches,
    "octave": octave_ahead,
    "coverage": coverage,
    "defects": defects,
}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subsets", type=int, default=50, help="random subsets a table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    arguments = begin(parser)
    report, options = Report(), Options(subsets=arguments.subsets, seed=arguments.seed)
    for part in arguments.only:
        PARTS[part](report, options)
    sys.exit(f"missed: {', '.join(report.failed)}" if report.failed else 0)


if __name__ == "__main__":
    main()
