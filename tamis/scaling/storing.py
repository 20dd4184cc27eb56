"""Scaling from the store: loss curves of the finished trials, what they cost, and the choice."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import Any

import polars as pl

from tamis.base.errors import PermanentError
from tamis.project import Project
from tamis.scaling import audit_curves, predict_full_loss
from tamis.scaling.analysis import Study, build_scaling_report
from tamis.scaling.choice import best_model
from tamis.scaling.costs import NOTHING, Cost, FailedRun, ModelCosts
from tamis.scaling.report_values import BITS_PER_BYTE, NATS_PER_EXAMPLE, ScalingReport
from tamis.scaling.searched import Search
from tamis.settings.references import named
from tamis.store.schemas import schema_of
from tamis.store.tables import Store
from tamis.training.failures import failures_of
from tamis.training.planned import planned_trials
from tamis.training.stage import TRIALS

Curves = dict[str, tuple[list[int], list[float]]]
Costs = Mapping[str, ModelCosts]
Searches = Mapping[str, Search]
COSTS = ("size", "flops", "seconds", "evaluation_flops", "evaluation_seconds")


class NoPredictionError(PermanentError):
    """No curve is good enough to predict from; says how many sizes were measured of each."""

    def __init__(self, measured: dict[str, int]) -> None:
        self.measured = measured
        found = ", ".join(f"{model}: {count}" for model, count in sorted(measured.items()))
        super().__init__(
            f"no loss curve gives a prediction (number of sizes measured by model: {found}); add more values "
            "to sizes in [scaling] of tamis.toml"
        )


def curves_table(store: Store, names: Sequence[str]) -> tuple[pl.DataFrame, list[dict[str, str]]]:
    """Rows of `loss_curves` by the named trials, zero-shot as size 0, and the defects found in the curves."""
    trials = (
        store.read(TRIALS.name, schema_of(TRIALS.name).names)
        .filter(pl.col("trial").is_in(list(names)))
        .sort("data", "model", "size")
    )
    # A classifier has no bits per byte, and no loss before it is trained.
    measured = _losses(trials, pl.col("size"), pl.coalesce("held_out_bits_per_byte", "held_out_loss"))
    first = trials.group_by("data", "model", maintain_order=True).first()
    zero_shot = _losses(first, pl.lit(0, dtype=pl.Int64), pl.col("zero_shot_bits_per_byte"))
    frame = pl.concat([measured, zero_shot.drop_nulls("loss")]).sort("target", "model", "size")
    defects = [
        {"target": target, "model": defect.model, "kind": defect.kind, "detail": defect.detail}
        for target, rows in by_target(frame).items()
        for defect in audit_curves(curves_of(rows))
    ]
    return frame, defects


def _losses(trials: pl.DataFrame, size: pl.Expr, loss: pl.Expr) -> pl.DataFrame:
    return trials.select(
        pl.col("data").alias("target"), "model", size.alias("size"), loss.alias("loss"), "trial"
    )


def by_target(curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Rows of `loss_curves` of each target, by name."""
    return {
        str(target[0]): rows for target, rows in curves.sort("target").group_by("target", maintain_order=True)
    }


def curves_of(frame: pl.DataFrame) -> Curves:
    return {
        str(model[0]): (rows["size"].to_list(), rows["loss"].to_list())
        for model, rows in frame.sort("model", "size").group_by("model", maintain_order=True)
    }


def target_size(project: Project, target: str) -> int:
    """The size to predict at: as configured, or the whole training set of the target."""
    size = project.settings.scaling.predict_at
    return named(project.settings.target, target).train if size is None else size


def costs_of_models(store: Store, names: pl.Series) -> dict[str, ModelCosts]:
    """Costs of the named trials, per model: training an example, evaluating a run, and all in all."""
    trials = store.read(TRIALS.name, schema_of(TRIALS.name).names)
    trials = trials.filter(pl.col("trial").is_in(names.unique().implode()))
    sums = trials.group_by("model").agg(pl.len().alias("runs"), pl.col(*COSTS).fill_null(0).sum())
    return {str(row["model"]): _costs(row) for row in sums.sort("model").iter_rows(named=True)}


def _costs(sums: Mapping[str, Any]) -> ModelCosts:
    evaluated = Cost(
        examples=0.0, flops=float(sums["evaluation_flops"]), seconds=float(sums["evaluation_seconds"])
    )
    spent = Cost(examples=float(sums["size"]), flops=float(sums["flops"]), seconds=float(sums["seconds"]))
    return ModelCosts(
        example=(spent + evaluated.times(-1)).times(1 / max(spent.examples, 1.0)),
        run=evaluated.times(1 / sums["runs"]),
        spent=spent,
    )


def failed_runs(store: Store, project: Project, search: Search, costs: Costs) -> list[FailedRun]:
    """The trials that a search left out: counted in full, as the search counts them, but for their time."""
    planned = {trial.name: trial for trial in planned_trials(project)}
    seconds = {failure.trial: failure.spent_seconds or 0.0 for failure in failures_of(store)}
    # Of a model that never succeeded nothing but its parameters tells what it would have cost.
    rates = [costs[model].example.flops / search.costs[model] for model in costs if search.costs.get(model)]
    found = []
    for name, reason in search.left_out.items():
        model, size = planned[name].model, planned[name].size
        unknown = search.costs[model] * size * (median(rates) if rates else math.nan)
        flops = costs[model].at(size).flops if model in costs else unknown
        cost = Cost(examples=float(size), flops=flops, seconds=seconds.get(name, 0.0))
        found.append(FailedRun(model=model, size=size, reason=reason, cost=cost))
    return found


def loss_unit(project: Project, target: str) -> str:
    """Of the losses of the curves: a labelled target has no bytes that its loss would be a share of."""
    return NATS_PER_EXAMPLE if named(project.settings.target, target).label_column else BITS_PER_BYTE


def reports_of_curves(
    store: Store, project: Project, searches: Searches = MappingProxyType({})
) -> list[ScalingReport]:
    """Everything that the page of each target shows, a report a target, in the order of their names.

    `searches`: by target, the search under a budget that chose the model, where there is one.
    """
    return [
        _report(store, project, target, rows, searches.get(target))
        for target, rows in by_target(store.read("loss_curves")).items()
    ]


def _report(
    store: Store, project: Project, target: str, rows: pl.DataFrame, search: Search | None
) -> ScalingReport:
    costs, curves = costs_of_models(store, rows["trial"]), curves_of(rows)
    failed = failed_runs(store, project, search, costs) if search else []
    known = {*curves, *(run.model for run in failed)}
    return build_scaling_report(
        curves,
        target_size(project, target),
        costs,
        Study(
            target=target,
            unit=loss_unit(project, target),
            searched=search.choice if search else None,
            failed=failed,
            missing=[model for model in project.settings.scaling.models if model not in known],
            examples=named(project.settings.target, target).train,
        ),
    )


def choose_models(
    store: Store, project: Project, searches: Searches = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Return the model for each target by predicted loss, all predictions, the shares of the full cost.

    The model that a search under a budget chose is kept where it can be predicted. A model whose curve
    predicts nothing is passed over; where that is all of them, "model" is None. `NoPredictionError` when no
    target has a model.
    """
    found = by_target(store.read("loss_curves"))
    choices = [_choice(store, project, target, rows, searches.get(target)) for target, rows in found.items()]
    if not any(choice["model"] for choice in choices):
        raise NoPredictionError(
            {
                f"{model} on {target}": len(sizes)
                for target, rows in found.items()
                for model, (sizes, _losses) in curves_of(rows).items()
            }
        )
    return choices


def _choice(
    store: Store, project: Project, target: str, rows: pl.DataFrame, search: Search | None
) -> dict[str, Any]:
    curves, size = curves_of(rows), target_size(project, target)
    predictions = predict_full_loss(curves, size, method="best")
    losses = {model: found.loss for model, found in predictions.items()}
    chosen = best_model(losses, search.choice if search else None)
    costs = costs_of_models(store, rows["trial"])
    failed = failed_runs(store, project, search, costs) if search else []
    spent = sum([*(one.spent for one in costs.values() if one.spent), *(run.cost for run in failed)], NOTHING)
    full = sum((costs[model].at(size) for model in curves if model in costs), NOTHING)
    return {
        "target": target,
        "model": chosen,
        "predict_at": size,
        "predicted_loss": predictions[chosen].loss if chosen else None,
        "cost_share": _share(spent.flops, full.flops),
        "examples_share": _share(spent.examples, full.examples),
        "time_share": _share(spent.seconds, full.seconds),
        "predictions": {
            model: {
                "loss": _finite(found.loss),
                "low": _finite(found.low),
                "high": _finite(found.high),
            }
            for model, found in predictions.items()
        },
    }


def _share(part: float, whole: float) -> float | None:
    return _finite(part / whole) if whole > 0 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
