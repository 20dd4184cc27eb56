"""Scaling from the store: loss curves of the finished trials, the report on them, and the choice."""

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from tamis.errors import PermanentError
from tamis.project import Project
from tamis.references import named
from tamis.report import ScalingReport, build_scaling_report
from tamis.report.scaling_data import BITS_PER_BYTE, NATS_PER_EXAMPLE
from tamis.scaling import audit_curves, predict_full_loss
from tamis.store.schemas import schema_of
from tamis.store.tables import Store


class NoPredictionError(PermanentError):
    """No curve is good enough to predict from; says how many sizes were measured of each."""

    def __init__(self, measured: dict[str, int]) -> None:
        self.measured = measured
        found = ", ".join(f"{model}: {count}" for model, count in sorted(measured.items()))
        super().__init__(f"no loss curve predicts anything (sizes measured: {found}); add [scaling] sizes")


Curves = dict[str, tuple[list[int], list[float]]]


def curves_table(store: Store, names: Sequence[str]) -> tuple[pl.DataFrame, list[dict[str, str]]]:
    """Rows of `loss_curves` by the named trials, zero-shot as size 0, and the defects found in the curves."""
    trials = (
        store.read("trials", schema_of("trials").names)
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
        for defect in audit_curves(_curves(rows))
    ]
    return frame, defects


def _trials(store: Store) -> pl.DataFrame:
    return store.read("trials", schema_of("trials").names)


def _losses(trials: pl.DataFrame, size: pl.Expr, loss: pl.Expr) -> pl.DataFrame:
    return trials.select(
        pl.col("data").alias("target"), "model", size.alias("size"), loss.alias("loss"), "trial"
    )


def by_target(curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Rows of `loss_curves` of each target, by name."""
    groups = curves.sort("target").group_by("target", maintain_order=True)
    return {str(target[0]): rows for target, rows in groups}


def _curves(frame: pl.DataFrame) -> Curves:
    return {
        str(model[0]): (rows["size"].to_list(), rows["loss"].to_list())
        for model, rows in frame.sort("model", "size").group_by("model", maintain_order=True)
    }


def target_size(project: Project, target: str) -> int:
    """The size to predict at: as configured, or the whole training set of the target."""
    if project.settings.scaling.predict_at is not None:
        return project.settings.scaling.predict_at
    return max(named(project.settings.target, target).train, *project.settings.scaling.sizes)


def costs_per_example(store: Store, names: pl.Series, currency: str = "flops") -> dict[str, float]:
    """Cost of training on one example per model, FLOP or "seconds", measured over the named trials."""
    trials = _trials(store).filter(pl.col("trial").is_in(names.unique().implode()))
    sums = trials.group_by("model").agg((pl.col(currency).sum() / pl.col("size").sum()).alias("cost"))
    return {str(model): float(cost) for model, cost in sums.sort("model").iter_rows()}


def loss_unit(project: Project, target: str) -> str:
    """Of the losses of the curves: a labelled target has no bytes that its loss would be a share of."""
    return NATS_PER_EXAMPLE if named(project.settings.target, target).label_column else BITS_PER_BYTE


def reports_of_curves(store: Store, project: Project, searched: str | None = None) -> list[ScalingReport]:
    """Everything that the page of each target shows, a report a target.

    `searched`: the model that a search under a budget chose for the target of [scaling].
    """
    return [
        build_scaling_report(
            _curves(rows),
            target_size(project, target),
            costs_per_example(store, rows["trial"]),
            costs_per_example(store, rows["trial"], "seconds"),
            target=target,
            unit=loss_unit(project, target),
            searched=searched if target == project.settings.scaling.target else None,
        )
        for target, rows in by_target(store.read("loss_curves")).items()
    ]


def choose_model(store: Store, project: Project, searched: str | None = None) -> dict[str, Any]:
    """The model for the target of [scaling] by predicted loss, all predictions, the share of the full cost.

    `searched`: the model that a search under a budget chose; it stands where it can be predicted. A model
    whose curve predicts nothing is passed over; `NoPredictionError` when that is all of them.
    """
    target = str(project.settings.scaling.target)
    rows = store.read("loss_curves").filter(pl.col("target") == target)
    curves, size = _curves(rows), target_size(project, target)
    predictions = predict_full_loss(curves, size, method="best")
    able = {model: found.loss for model, found in predictions.items() if math.isfinite(found.loss)}
    if not able:
        raise NoPredictionError({model: len(sizes) for model, (sizes, _losses) in curves.items()})
    chosen = min(able, key=lambda model: (model != searched, able[model], model))
    costs = costs_per_example(store, rows["trial"])
    spent = sum(costs[model] * sum(n for n in sizes if n > 0) for model, (sizes, _losses) in curves.items())
    return {
        "target": target,
        "model": chosen,
        "predict_at": size,
        "predicted_loss": predictions[chosen].loss,
        "cost_share": spent / max(sum(costs[model] * size for model in curves), 1e-300),
        "predictions": {
            model: {"loss": found.loss, "low": found.low, "high": found.high}
            for model, found in predictions.items()
        },
    }
