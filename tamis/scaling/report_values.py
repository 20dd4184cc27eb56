"""Plain values for pages on loss curves: predictions, fitted laws, backtests, costs, per model."""

import math
from dataclasses import dataclass

from tamis.scaling.costs import NOTHING, Cost, FailedRun
from tamis.scaling.extrapolation import NORMAL_90

BITS_PER_BYTE, NATS_PER_EXAMPLE = "bits per byte", "nats per example"
CLOSE = 2.0  # a difference in AICc that says little
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
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def log_spread(self) -> float:
        """Return the standard deviation of the log loss that the interval implies; NaN without one."""
        known = self.has_interval and self.low > 0
        return math.log(self.high / self.low) / (2 * NORMAL_90) if known else math.nan

    @property
    def says_nothing(self) -> bool:
        """Whether the interval is too wide to say anything, or there is none."""
        return not (math.isfinite(self.high) and self.high <= WIDEST * self.low)


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

    @property
    def known(self) -> bool:
        """Whether the fit gave every parameter a value."""
        return all(math.isfinite(value) for value in self.parameters.values())


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
        return not found.has_interval or found.low <= self.measured <= found.high


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
    backtest: Backtest | None = None
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
    def has_slope(self) -> bool:
        """Whether its own curve says what twice the data would do: one size has no slope but the others'."""
        return len(self.sizes) > 1 and math.isfinite(self.next_doubling)

    @property
    def doubling_unsure(self) -> bool:
        """Whether the loss after a doubling may be what is predicted without it."""
        now, double = self.predictions[:2]
        return double.low <= now.loss <= double.high

    @property
    def compared(self) -> tuple[str, ...]:
        """The laws that have an AICc, which needs two sizes more than parameters, and one for the noise."""
        return tuple(name for name, law in self.laws.items() if math.isfinite(law.aicc))

    @property
    def best_law(self) -> str:
        """The law with the smallest AICc; "" with too few sizes to compare at least two."""
        able = {name: self.laws[name].aicc for name in self.compared}
        return min(able, key=lambda name: able[name]) if len(able) > 1 else ""

    def above_best(self, law: FittedLaw) -> float:
        """How much larger the AICc of a law is than the smallest."""
        return law.aicc - self.laws[self.best_law].aicc

    def comes_close(self, law: FittedLaw) -> bool:
        """Whether AICc hardly tells a law from the best."""
        return self.above_best(law) < CLOSE

    @property
    def in_power_phase(self) -> int:
        """Count the sizes beyond the slow phase."""
        return sum(size > self.pre_learned.examples for size in self.sizes)


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
    def ranked(self) -> list[ModelReport]:
        """The models by predicted loss, those without one last."""

        def place(model: ModelReport) -> tuple[float, str]:
            loss = model.predictions[0].loss
            return loss if math.isfinite(loss) else math.inf, model.model

        return sorted(self.models, key=place)

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
