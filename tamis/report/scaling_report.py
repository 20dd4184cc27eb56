"""What the loss curves say: predictions with intervals, fitted laws, a backtest, the choice and its cost.

Everything is computed here once and the page only shows it, so the numbers can be read without the page
(`to_json`). A model takes about half a second, nearly all of it in fitting laws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tamis.scaling import Extrapolation

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]
LAWS = ("rectified", "vanilla")
METHODS = ("best", "ats", "rectified", "vanilla")
MULTIPLES = (1, 2, 4)
LEAST_SIZES_BACKTEST = 3
GRID_POINTS = 60
BITS_PER_BYTE = "bits per byte"
NATS_PER_EXAMPLE = "nats per example"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Loss at `size` examples with its 90 % interval; `accepted`: the sizes it rests on."""

    size: float
    loss: float
    low: float
    high: float
    accepted: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class FittedLaw:
    """A fitted law, its parameters by the paper's names, and its losses on the report's grid (or none)."""

    law: str
    parameters: dict[str, float]
    rmsd: float
    aicc: float
    status: str
    at_bounds: tuple[str, ...]
    grid_losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """The largest size predicted from those at most half as large, against what was measured there."""

    size: float
    measured: float
    sizes_used: int
    predictions: dict[str, Prediction]

    def error(self, method: str) -> float:
        """Relative error of the predicted loss; NaN where the method gave none."""
        return self.predictions[method].loss / self.measured - 1


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """All about one model. Sizes in examples, ascending; held-out losses in one unit; cost in FLOP."""

    model: str
    sizes: tuple[float, ...]
    losses: tuple[float, ...]
    zero_shot: float
    laws: dict[str, FittedLaw]
    predictions: tuple[Prediction, ...]
    at_target: dict[str, Prediction]
    pre_learned_size: float
    pre_learned_examples: float
    next_doubling: float
    backtest: Backtest | None
    cost_spent: float
    cost_full: float


@dataclass(frozen=True, kw_only=True)
class ScalingReport:
    """The report: models in the order given, the chosen one (None without a prediction) and why."""

    target_size: float
    grid: tuple[float, ...]
    models: tuple[ModelReport, ...]
    chosen: str | None
    why: str
    cost_share: float
    caveats: tuple[str, ...]
    defects: tuple[dict[str, str], ...]
    unit: str
    """Of the losses."""

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; numbers that do not exist become None."""
        found: dict[str, Any] = _finite(asdict(self))
        return found


def build_scaling_report(
    curves: Curves, target_size: float, costs: Mapping[str, float], unit: str = BITS_PER_BYTE
) -> ScalingReport:
    """Everything the curves say about losses at `target_size` examples and beyond.

    `curves`: {model: (sizes, losses)}, sizes <= 0 zero-shot, NaN not measured; `costs`: training FLOP per
    example of each model; `unit`: of the losses. Raises `BadSettingError` (target) and `BadCurveError`, both
    `ValueError`.
    """
    from tamis.report.scaling_choice import caveats_of, choose, cost_share
    from tamis.scaling import audit_curves

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
            backtest=backtests.get(name),
            cost=costs.get(name, math.nan),
        )
        for name, curve in plain.items()
    )
    defects = [{"model": d.model, "kind": d.kind, "detail": d.detail} for d in audit_curves(plain)]
    chosen, why = choose(models, unit)
    return ScalingReport(
        target_size=float(target_size),
        grid=grid,
        models=models,
        chosen=chosen,
        why=why,
        cost_share=cost_share(models),
        caveats=caveats_of(models, float(target_size)),
        defects=tuple(defects),
        unit=unit,
    )


def _plain(curve: tuple[Sequence[float], Sequence[float]]) -> tuple[list[float], list[float]]:
    """Sizes and losses as floats, ascending by size, None as NaN."""
    sizes, losses = curve
    pairs = [(float(n), math.nan if v is None else float(v)) for n, v in zip(sizes, losses, strict=True)]
    pairs.sort(key=lambda pair: pair[0])
    return [n for n, _ in pairs], [v for _, v in pairs]


def _model_report(
    name: str,
    curve: tuple[list[float], list[float]],
    *,
    grid: tuple[float, ...],
    at_target: dict[str, Prediction],
    predictions: tuple[Prediction, ...],
    backtest: Backtest | None,
    cost: float,
) -> ModelReport:
    from tamis.scaling import fit_law

    points = [(n, v) for n, v in zip(*curve, strict=True) if n > 0 and math.isfinite(v)]
    zero_shot = [v for n, v in zip(*curve, strict=True) if n <= 0 and math.isfinite(v)]
    fits = {law: fit_law(law, *curve) for law in LAWS}
    laws = {law: _law(fit, grid) for law, fit in fits.items()}
    return ModelReport(
        model=name,
        sizes=tuple(n for n, _ in points),
        losses=tuple(v for _, v in points),
        zero_shot=float(np.mean(zero_shot)) if zero_shot else math.nan,
        laws=laws,
        predictions=predictions,
        at_target=at_target,
        pre_learned_size=laws["rectified"].parameters.get("D_l", math.nan),
        pre_learned_examples=float(fits["rectified"].pre_learned_examples),
        next_doubling=predictions[0].loss - predictions[1].loss,
        backtest=backtest,
        cost_spent=cost * sum(n for n, _ in points),
        cost_full=cost * predictions[0].size,
    )


def _law(fit: Any, grid: tuple[float, ...]) -> FittedLaw:
    return FittedLaw(
        law=fit.law,
        parameters={name: float(value) for name, value in fit.parameters.items()},
        rmsd=fit.rmsd,
        aicc=fit.aicc,
        status=fit.status,
        at_bounds=tuple(fit.at_bounds),
        grid_losses=tuple(float(v) for v in fit.predict(np.array(grid))) if fit.basins else (),
    )


def _predict(curves: Curves, size: float, method: Any) -> dict[str, Prediction]:
    from tamis.scaling import predict_full_loss

    found = predict_full_loss(curves, size, method=method)
    return {name: _prediction(size, extrapolation) for name, extrapolation in found.items()}


def _prediction(size: float, found: "Extrapolation") -> Prediction:
    return Prediction(
        size=float(size), loss=found.loss, low=found.low, high=found.high, accepted=found.accepted
    )


def _backtests(curves: Curves) -> dict[str, Backtest]:
    """Backtests of the models with enough sizes; those of one largest size are predicted together."""
    last: dict[str, float] = {}
    for name, (sizes, losses) in curves.items():
        measured = [n for n, v in zip(sizes, losses, strict=True) if n > 0 and math.isfinite(v)]
        if len({n for n in measured if n <= _half(measured)}) >= LEAST_SIZES_BACKTEST:
            last[name] = max(measured)
    cut = {name: _cut(curves[name], _half([size])) for name, size in last.items()}
    found: dict[str, Backtest] = {}
    for size in sorted(set(last.values())):
        together = {name: cut[name] for name in cut if last[name] == size}
        by_method = {method: _predict(together, size, method) for method in METHODS}
        for name in together:
            found[name] = Backtest(
                size=size,
                measured=next(
                    v for n, v in zip(*curves[name], strict=True) if n == size and math.isfinite(v)
                ),
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


def _grid(curves: Curves, target_size: float) -> tuple[float, ...]:
    """Sizes at which laws are drawn: from the smallest measured to four times the target."""
    measured = [n for sizes, _ in curves.values() for n in sizes if n > 0]
    low, high = min([*measured, target_size]), MULTIPLES[-1] * max([*measured, target_size])
    return tuple(float(n) for n in np.geomspace(low, high, GRID_POINTS))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
