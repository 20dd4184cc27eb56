"""What the scaling page shows, as plain values: predictions, fitted laws, backtests, costs, per model."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from tamis.scaling.costs import NOTHING, Cost, FailedRun

BITS_PER_BYTE, NATS_PER_EXAMPLE = "bits per byte", "nats per example"
WIDEST = 4.0
"""An interval whose upper end is more than so many times its lower end says nothing of the loss."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Loss at `size` examples with its 90 % interval; `accepted`: the sizes it rests on."""

    size: float
    loss: float
    low: float
    high: float
    accepted: tuple[float, ...] | None = None

    @property
    def log_spread(self) -> float:
        """Standard deviation of the log loss that the interval stands for; NaN without one."""
        known = math.isfinite(self.low) and math.isfinite(self.high) and self.low > 0
        return math.log(self.high / self.low) / (2 * NORMAL_90) if known else math.nan

    @property
    def says_nothing(self) -> bool:
        """Whether the interval is too wide to say anything, or there is none."""
        return not (math.isfinite(self.high) and self.high <= WIDEST * self.low)


NORMAL_90 = 1.6448536269514722


@dataclass(frozen=True, kw_only=True)
class FittedLaw:
    """A fitted law, its parameters by the paper's names, and its losses on the report's grid (or none).

    `least_sizes`: that it takes for an `aicc`.
    """

    law: str
    parameters: dict[str, float]
    rmsd: float
    aicc: float
    least_sizes: int
    status: str
    at_bounds: tuple[str, ...]
    basins: int
    grid_losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PreLearned:
    """Data that the base model behaves as if it had seen, in examples, with its 90 % interval.

    It is also where the slow phase ends and the power law begins, D0 = D_l^(1/beta), and `loss` the fitted
    loss there. NaN with too few sizes to tell.
    """

    examples: float
    low: float
    high: float
    loss: float


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

    @property
    def within(self) -> bool:
        """Whether the measured loss lay in the interval of the method used; true without an interval."""
        found = self.predictions["best"]
        known = math.isfinite(found.low) and math.isfinite(found.high)
        return not known or found.low <= self.measured <= found.high


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """All about one model. Sizes in examples, ascending; held-out losses in one unit.

    `chance_better`: that it would beat the chosen model at the target size, if errors are independent.
    `spent` on its runs, `full`: one run at the target size, `double`: one at twice that. `telling_sizes`:
    further ones, of all models, after which the interval at twice the target size would say something.
    """

    model: str
    sizes: tuple[float, ...]
    losses: tuple[float, ...]
    zero_shot: float
    laws: dict[str, FittedLaw]
    predictions: tuple[Prediction, ...]
    at_target: dict[str, Prediction]
    pre_learned: PreLearned
    backtest: Backtest | None
    spent: Cost
    full: Cost
    double: Cost
    chance_better: float = math.nan
    telling_sizes: tuple[float, ...] = ()

    @property
    def next_doubling(self) -> float:
        """Loss that twice the target size is predicted to save."""
        return self.predictions[0].loss - self.predictions[1].loss

    @property
    def compared(self) -> tuple[str, ...]:
        """The laws that have an AICc, which needs two sizes more than parameters, and one for the noise."""
        return tuple(name for name, law in self.laws.items() if math.isfinite(law.aicc))

    @property
    def best_law(self) -> str:
        """The law with the smallest AICc; "" with too few sizes to compare at least two."""
        able = {name: self.laws[name].aicc for name in self.compared}
        return min(able, key=lambda name: able[name]) if len(able) > 1 else ""


@dataclass(frozen=True, kw_only=True)
class ScalingReport:
    """The report on one target: models in the order given, the chosen one (None: no prediction), and why."""

    target: str
    target_size: float
    grid: tuple[float, ...]
    models: tuple[ModelReport, ...]
    chosen: str | None
    why: str
    caveats: tuple[str, ...]
    defects: tuple[dict[str, str], ...]
    unit: str = BITS_PER_BYTE
    failed: tuple[FailedRun, ...] = ()

    @property
    def wasted(self) -> Cost:
        """Cost of the runs that failed."""
        return sum((run.cost for run in self.failed), NOTHING)

    @property
    def spent(self) -> Cost:
        """Cost of all runs, those that failed included."""
        return sum((model.spent for model in self.models), self.wasted)

    @property
    def full(self) -> Cost:
        """Cost of tuning every model once at the target size."""
        return sum((model.full for model in self.models), NOTHING)

    @property
    def cost_share(self) -> float:
        """FLOP of all runs over those of tuning every model at the target size; NaN if unknown."""
        return self.spent.flops / self.full.flops if self.full.flops > 0 else math.nan

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; numbers that do not exist become None."""
        found: dict[str, Any] = _finite(asdict(self) | {"cost_share": self.cost_share})
        return found


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
