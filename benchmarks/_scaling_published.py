"""What Lin et al. (arXiv 2402.02314) print, against what Tamis computes from their curves: fits and AtS."""

import numpy as np
import polars as pl

from benchmarks._coverage_data import Report, Stopwatch
from benchmarks._scaling_data import BUDGETS, TABLES, Table, cut, full_losses, full_size, load, read, scores
from benchmarks._yardstick import most_seconds
from tamis.scaling import LawFit, accept_then_stop, fit_law
from tamis.scaling.laws import LAWS

RMSD = {("rectified", "flan"): 0.0065, ("rectified", "gigaword"): 0.0052}
VANILLA, VANILLA_WITHIN = {"flan": 0.0349, "gigaword": 0.0099}, 0.0005
PUBLISHED_WITHIN, LEAST_CURVES, FIT_SECONDS = 1e-5, 58, 40.0
CELL_WITHIN, ABLATION_WITHIN = 5e-4, 1e-4
ROUNDING = 1e-9  # cells are printed with so many digits that a difference can equal the limit
LITERAL = {
    "flan": (90.4, 71.3, 63.6, 61.0, 51.1, 50.4, 46.0),
    "gigaword": (98.9, 97.6, 96.9, 92.7, 91.7, 88.6, 90.3),
}


def fits(report: Report) -> None:
    """RMSD of natural-log losses of every law, against the published ones, and seconds of processor."""
    found: dict[str, dict[str, list[LawFit]]] = {}
    with Stopwatch() as watch:
        found["rectified"] = {name: _fitted("rectified", load(name)[0]) for name in TABLES}
    for law in LAWS:
        found.setdefault(law, {name: _fitted(law, load(name)[0]) for name in TABLES if law != "rectified"})
        for name in TABLES:
            _law(report, law, name, found[law][name])
    published = {
        (row["dataset"].lower(), row["model"]): row for row in read("published_rmsd").iter_rows(named=True)
    }
    at_most = sum(
        fit.rmsd <= published[name, model]["our_rmsd_under_log"] + PUBLISHED_WITHIN
        for name in TABLES
        for model, fit in zip(load(name)[0], found["rectified"][name], strict=True)
    )
    report.line(
        "fits_as_published",
        holds=at_most >= LEAST_CURVES,
        curves_at_most_published=at_most,
        curves=len(published),
        limit=LEAST_CURVES,
    )
    most = most_seconds(FIT_SECONDS, "core")
    report.line("fit_seconds", holds=watch.processor < most.here, seconds=watch.processor, **most.figures())


def _fitted(law: str, curves: Table) -> list[LawFit]:
    return [fit_law(law, sizes, losses) for sizes, losses in curves.values()]


def _law(report: Report, law: str, name: str, found: list[LawFit]) -> None:
    mean = float(np.mean([fit.rmsd for fit in found]))
    limit, holds = RMSD.get((law, name)), None
    if limit is not None:
        holds = mean <= limit
    if law == "vanilla":
        limit, holds = VANILLA[name], abs(mean - VANILLA[name]) <= VANILLA_WITHIN
    report.line(
        f"fit_{law}_{name}",
        holds=holds,
        mean_rmsd=mean,
        limit=limit,
        within=VANILLA_WITHIN if law == "vanilla" else None,
        converged=sum(fit.converged for fit in found),
        curves=len(found),
    )


def accept_then_stop_cells(report: Report) -> None:
    """Every published cell of AtS, every one of its ablation, and the literal variant."""
    tables = {name: load(name)[0] for name in TABLES}
    cells = read("published_different_law_for_selection").filter(pl.col("method") == "AtS")
    cells = cells.with_columns(k=pl.lit(3), delta=pl.lit(5))
    _cells(report, "ats_cells", tables, cells, CELL_WITHIN)
    _cells(report, "ats_ablation_cells", tables, read("published_ablation_study_hyper"), ABLATION_WITHIN)
    for name, expected in LITERAL.items():
        found = [100 * _score(tables[name], ratio, 3, 5, "literal")["pearson"] for ratio in BUDGETS]
        worst = float(np.abs(np.array(found) - expected).max())
        report.line(f"ats_literal_{name}", holds=worst <= 0.05 + 1e-6, worst_points=worst, limit_points=0.05)


def _cells(report: Report, name: str, tables: dict[str, Table], cells: pl.DataFrame, within: float) -> None:
    """Compare cells (dataset, ratio, k, delta, metric, value)."""
    found: dict[tuple[str, int, int, float], dict[str, float]] = {}
    worst: dict[str, float] = {}
    missed = 0
    for row in cells.iter_rows(named=True):
        key = (row["dataset"].lower(), row["ratio"], row["k"], row["delta"])
        if key not in found:
            found[key] = _score(tables[key[0]], *key[1:], "published")
        computed = found[key]["pearson" if row["metric"] == "PearCorr" else "rel_acc"]
        difference = abs(computed - row["value"])
        worst[row["metric"]] = max(worst.get(row["metric"], 0.0), difference)
        missed += difference > within + ROUNDING
    report.line(
        name, holds=missed == 0, cells=len(cells), missed=missed, limit=within, worst_difference=worst
    )


def _score(curves: Table, ratio: int, k: int, delta: float, variant: str) -> dict[str, float]:
    full = full_size(curves)
    used = cut(curves, full / ratio).values()
    found = [accept_then_stop(*curve, full, k=k, delta=delta, variant=variant).loss for curve in used]  # type: ignore[arg-type]
    return scores(np.array(found), full_losses(curves))
