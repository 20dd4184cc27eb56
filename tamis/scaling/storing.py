"""Scaling from the store: loss curves of the finished trials, the report on them, and the choice."""

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from tamis.errors import PermanentError
from tamis.project import Project
from tamis.references import named
from tamis.report import ScalingReport, build_scaling_report
from tamis.report.scaling_report import BITS_PER_BYTE, NATS_PER_EXAMPLE
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


def curves_table(
    store: Store, project: Project, names: Sequence[str]
) -> tuple[pl.DataFrame, list[dict[str, str]]]:
    """Rows of `loss_curves` by the named trials, zero-shot as size 0, and the defects found in the curves."""
    trials = store.read("trials", schema_of("trials").names).filter(pl.col("trial").is_in(list(names)))
    target = project.settings.scaling.target
    measured = trials.select(
        pl.col("data").alias("target"),
        "model",
        "size",
        pl.coalesce("held_out_bits_per_byte", "held_out_loss").alias("loss"),
        "trial",
    )
    zero_shot = (
        trials.sort("model", "size")
        .group_by("model", maintain_order=True)
        .first()
        .select(
            pl.col("data").alias("target"),
            "model",
            pl.lit(0, dtype=pl.Int64).alias("size"),
            pl.col("zero_shot_bits_per_byte").alias("loss"),
            "trial",
        )
        .drop_nulls("loss")  # a classifier has no loss before it is trained
    )
    frame = pl.concat([measured, zero_shot]).filter(pl.col("target") == target).sort("model", "size")
    defects = [
        {"model": defect.model, "kind": defect.kind, "detail": defect.detail}
        for defect in audit_curves(_curves(frame))
    ]
    return frame, defects


def _curves(frame: pl.DataFrame) -> Curves:
    return {
        str(model[0]): (rows["size"].to_list(), rows["loss"].to_list())
        for model, rows in frame.sort("model", "size").group_by("model", maintain_order=True)
    }


def target_size(store: Store, project: Project) -> int:
    """The size to predict at: as configured, or the whole training set of the target."""
    if project.settings.scaling.predict_at is not None:
        return project.settings.scaling.predict_at
    section = named(project.settings.target, str(project.settings.scaling.target))
    return max(section.train, max(project.settings.scaling.sizes))


def costs_per_example(store: Store) -> dict[str, float]:
    """Training cost of one example per model, FLOP, measured over its trials."""
    trials = store.read("trials", schema_of("trials").names).filter(pl.col("kind") == "law")
    sums = trials.group_by("model").agg((pl.col("flops").sum() / pl.col("size").sum()).alias("cost"))
    return {str(model): float(cost) for model, cost in sums.sort("model").iter_rows()}


def report_of_curves(store: Store, project: Project) -> ScalingReport:
    """Everything the report page shows."""
    curves = _curves(store.read("loss_curves"))
    unit = loss_unit(project)
    return build_scaling_report(curves, target_size(store, project), costs_per_example(store), unit)


def loss_unit(project: Project) -> str:
    """Of the losses of the curves: a labelled target has no bytes that its loss would be a share of."""
    section = named(project.settings.target, str(project.settings.scaling.target))
    return NATS_PER_EXAMPLE if section.label_column else BITS_PER_BYTE


def choose_model(store: Store, project: Project) -> dict[str, Any]:
    """The model with the smallest predicted loss, all predictions, and the share of the full cost spent.

    A model whose curve predicts nothing is passed over; `NoPredictionError` when that is all of them.
    """
    curves, size = _curves(store.read("loss_curves")), target_size(store, project)
    predictions = predict_full_loss(curves, size, method="best")
    able = {model: found.loss for model, found in predictions.items() if math.isfinite(found.loss)}
    if not able:
        raise NoPredictionError({model: len(sizes) for model, (sizes, _losses) in curves.items()})
    chosen = min(able, key=lambda model: (able[model], model))
    costs = costs_per_example(store)
    spent = sum(costs[model] * sum(n for n in sizes if n > 0) for model, (sizes, _losses) in curves.items())
    return {
        "model": chosen,
        "predict_at": size,
        "predicted_loss": predictions[chosen].loss,
        "cost_share": spent / max(sum(costs[model] * size for model in curves), 1e-300),
        "predictions": {
            model: {"loss": found.loss, "low": found.low, "high": found.high}
            for model, found in predictions.items()
        },
    }
