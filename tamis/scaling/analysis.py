"""Findings from loss curves: predictions with intervals, fitted laws, a backtest, the choice and its cost.

Everything is computed here once, and pages only show it. A model takes about half a second, nearly all of
it in fitting laws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.scaling import audit_curves, bootstrap_fit, fit_law, predict_full_loss
from tamis.scaling.choice import caveats_of, choose, with_chances
from tamis.scaling.costs import Cost, FailedRun, ModelCosts
from tamis.scaling.fitting import least_sizes
from tamis.scaling.measurements import measured
from tamis.scaling.report_values import (
    BITS_PER_BYTE,
    Backtest,
    FittedLaw,
    ModelReport,
    Prediction,
    PreLearned,
    ScalingReport,
)

if TYPE_CHECKING:
    from tamis.scaling import LawFit

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]
LAWS = ("rectified", "vanilla", "power3")
METHODS = ("best", "ats", "rectified", "vanilla")
MULTIPLES = (1, 2, 4)
LEAST_SIZES_BACKTEST = 3
GRID_POINTS = 60
UNKNOWN = ModelCosts(example=Cost(examples=1.0, flops=math.nan, seconds=math.nan))
DRAWS = 100  # of the bootstrap: intervals of the pre-learned data to two digits


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a report says of a study besides its curves.

    `unit` of the losses; `searched`: the model that a search under a budget has chosen, which it measured
    further than those it gave up; `failed`: runs that were left out; `missing`: models without a run so far;
    `examples`: as many as there are to train on, so that no larger size is advised.
    """

    target: str = ""
    unit: str = BITS_PER_BYTE
    searched: str | None = None
    failed: Sequence[FailedRun] = ()
    missing: Sequence[str] = ()
    examples: float = math.inf


def build_scaling_report(
    curves: Curves,
    target_size: float,
    costs: Mapping[str, ModelCosts],
    study: Study = Study(),
) -> ScalingReport:
    """Everything the curves say about losses at `target_size` examples and beyond.

    `curves`: {model: (sizes, losses)}, sizes <= 0 zero-shot, NaN not measured; `costs`: of the runs of each
    model, where known. Raises `BadSettingError` (target size) and `BadCurveError`, both `ValueError`.
    """
    plain = {name: _plain(curve) for name, curve in curves.items()}
    at_target = {method: _predict(plain, target_size, method) for method in METHODS}
    grid = _grid(plain, target_size)
    beyond = [_predict(plain, target_size * multiple, "best") for multiple in MULTIPLES]
    backtests = _backtests(plain)
    models = tuple(
        _model_report(
            name,
            curve,
            grid=grid,
            at_target={method: found[name] for method, found in at_target.items()},
            predictions=tuple(found[name] for found in beyond),
            costs=costs.get(name, UNKNOWN),
        )
        for name, curve in plain.items()
    )
    models = tuple(
        replace(
            model,
            backtest=backtests.get(model.model),
            telling_sizes=_telling_sizes(plain, model, study.examples),
        )
        for model in models
    )
    chosen, why = choose(models, study.unit, study.searched)
    return ScalingReport(
        target=study.target,
        target_size=float(target_size),
        grid=grid,
        models=with_chances(models, chosen),
        chosen=chosen,
        why=why,
        caveats=caveats_of(models, float(target_size), study.failed, study.missing),
        defects=tuple({"model": d.model, "kind": d.kind, "detail": d.detail} for d in audit_curves(plain)),
        unit=study.unit,
        failed=tuple(study.failed),
    )


def _plain(curve: tuple[Sequence[float], Sequence[float]]) -> tuple[list[float], list[float]]:
    """Sizes and losses as floats, ascending by size; what is no loss is NaN."""
    pairs = [(float(n), math.nan if v is None else float(v)) for n, v in zip(*curve, strict=True)]
    pairs = sorted(((n, v if 0 < v < math.inf else math.nan) for n, v in pairs), key=lambda pair: pair[0])
    return [n for n, _ in pairs], [v for _, v in pairs]


def _model_report(
    name: str,
    curve: tuple[list[float], list[float]],
    *,
    grid: tuple[float, ...],
    at_target: dict[str, Prediction],
    predictions: tuple[Prediction, ...],
    costs: ModelCosts,
) -> ModelReport:
    points = [(n, v) for n, v in zip(*curve, strict=True) if n > 0 and math.isfinite(v)]
    zero_shot = [v for n, v in zip(*curve, strict=True) if n <= 0 and math.isfinite(v)]
    fits = {law: fit_law(law, *curve) for law in LAWS}
    return ModelReport(
        model=name,
        sizes=tuple(n for n, _ in points),
        losses=tuple(v for _, v in points),
        zero_shot=float(np.mean(zero_shot)) if zero_shot else math.nan,
        laws={
            law: FittedLaw(
                law=fit.law,
                parameters={name: float(value) for name, value in fit.parameters.items()},
                rmsd=fit.rmsd,
                aicc=fit.aicc,
                least_sizes=least_sizes(len(fit.parameters)),
                status=fit.status,
                at_bounds=tuple(fit.at_bounds),
                basins=len(fit.basins),
                grid_losses=tuple(map(float, np.asarray(fit.predict(np.array(grid))))) if fit.basins else (),
            )
            for law, fit in fits.items()
        },
        predictions=predictions,
        at_target=at_target,
        pre_learned=_pre_learned(fits["rectified"], curve),
        spent=costs.spent or costs.at(sum(n for n, _ in points), len(points)),
        full=costs.at(predictions[0].size),
        double=costs.at(predictions[1].size),
    )


def _pre_learned(fit: "LawFit", curve: tuple[list[float], list[float]]) -> PreLearned:
    """D_l in examples; with no more sizes than parameters the law fits any curve and D_l is an accident."""
    if fit.n_sizes <= len(fit.parameters):
        return PreLearned(examples=math.nan, low=math.nan, high=math.nan, loss=math.nan)
    found = float(fit.pre_learned_examples)
    low, high = bootstrap_fit(fit, *curve, draws=DRAWS).pre_learned_examples
    return PreLearned(examples=found, low=low, high=high, loss=float(np.asarray(fit.predict(found))))


def _predict(curves: Curves, size: float, method: Any) -> dict[str, Prediction]:
    return {
        name: Prediction(size=float(size), loss=one.loss, low=one.low, high=one.high, accepted=one.accepted)
        for name, one in predict_full_loss(curves, size, method=method).items()
    }


def _backtests(curves: Curves) -> dict[str, Backtest]:
    """Backtests of the models with enough sizes; those of one largest size are predicted together."""
    last: dict[str, float] = {}
    for name, (sizes, losses) in curves.items():
        known = [n for n, v in zip(sizes, losses, strict=True) if n > 0 and math.isfinite(v)]
        if len({n for n in known if n <= _half(known)}) >= LEAST_SIZES_BACKTEST:
            last[name] = max(known)
    cut = {name: _cut(curves[name], _half([size])) for name, size in last.items()}
    found: dict[str, Backtest] = {}
    for size in sorted(set(last.values())):
        together = {name: cut[name] for name in cut if last[name] == size}
        by_method = {method: _predict(together, size, method) for method in METHODS}
        for name in together:
            found[name] = Backtest(
                size=size,
                measured=float(measured(*curves[name]).losses[-1]),
                sizes_used=sum(n > 0 for n in together[name][0]),
                predictions={method: predicted[name] for method, predicted in by_method.items()},
            )
    return found


def _half(sizes: list[float]) -> float:
    # Sizes may be rounded halves of one another, so a little more than half still counts as half.
    return max(sizes, default=0.0) / 2 * 1.02


def _cut(curve: tuple[Sequence[float], Sequence[float]], limit: float) -> tuple[list[float], list[float]]:
    kept = [(n, v) for n, v in zip(*curve, strict=True) if n <= limit and math.isfinite(v)]
    return [n for n, _ in kept], [v for _, v in kept]


def _telling_sizes(curves: Curves, model: ModelReport, most: float) -> tuple[float, ...]:
    """Doublings of the largest size that a model lacks for its interval at twice the target to say something.

    Found by going on with all curves as they are predicted, without noise, so it is a least number. None
    where the interval says something already, or no number below that size would do, none above `most`.
    """
    double = model.predictions[1]
    if not double.says_nothing or not model.sizes:
        return ()
    further: list[float] = []
    size = 2 * max(n for sizes, _losses in curves.values() for n in sizes)
    while size < double.size and size <= most:
        found = _predict(curves, size, "best")
        curves = {name: ([*curves[name][0], size], [*curves[name][1], found[name].loss]) for name in curves}
        further.append(size)
        if not _predict(curves, double.size, "best")[model.model].says_nothing:
            return tuple(further)
        size *= 2
    return ()


def _grid(curves: Curves, target_size: float) -> tuple[float, ...]:
    """Sizes at which laws are drawn: from the smallest measured to four times the target."""
    measured = [n for sizes, _ in curves.values() for n in sizes if n > 0]
    low, high = min([*measured, target_size]), MULTIPLES[-1] * max([*measured, target_size])
    return tuple(float(n) for n in np.geomspace(low, high, GRID_POINTS))
