"""Choice of the arm that is to be the default: the rule of `benchmarks.junk`, applied to figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MOST_ON_AVERAGE, MOST_OF_A_GOAL = 0.03, 0.05
"""Junk in a choice."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds with its 95 % interval; of one seed the ends are open."""

    mean: float
    low: float
    high: float

    @property
    def is_worse(self) -> bool:
        """Whether a difference, of which less is better, lies above 0 as a whole."""
        return self.low > 0

    def figures(self) -> list[float | None]:
        """Return mean and ends, rounded; an open end is None."""
        ends = (self.mean, self.low, self.high)
        return [round(value, 4) if np.isfinite(value) else None for value in ends]


def over_seeds(values_s: Sequence[float]) -> Interval:
    """Return the mean over seeds with Student's interval."""
    from scipy.stats import t

    found, count = np.asarray(values_s, float), len(values_s)
    mean = float(found.mean())
    if count < 2:
        return Interval(mean=mean, low=-np.inf, high=np.inf)
    reach = float(t.ppf(0.975, count - 1)) * float(found.std(ddof=1)) / count**0.5
    return Interval(mean=mean, low=mean - reach, high=mean + reach)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A sampler with or without rules of form, and what was measured of it.

    junk: mean over seeds of the share in the choice, by goal; random: the same of a random choice under the
    same rules. Differences to today's default, means over goals: distance at equal depth, bits per byte of
    the goals and of the control; None where no model was trained.
    """

    sampler: str
    form: str
    by_judge: bool
    junk: Mapping[str, float]
    random: Mapping[str, float]
    distance: Interval
    goal_bits: Interval | None
    control_bits: Interval | None

    @property
    def name(self) -> str:
        """Sampler and rules of form."""
        return self.sampler if self.form == "off" else f"{self.sampler} with form"

    @property
    def mean_junk(self) -> float:
        """Mean over goals."""
        return float(np.mean([*self.junk.values()]))

    def failures(self) -> list[str]:
        """Return the aims that are missed."""
        missed = []
        if self.mean_junk > MOST_ON_AVERAGE:
            missed.append(f"{self.mean_junk:.1%} junk on average")
        missed += [
            f"{share:.1%} junk for {goal}" for goal, share in self.junk.items() if share > MOST_OF_A_GOAL
        ]
        more = [goal for goal, share in self.junk.items() if share > self.random[goal]]
        missed += [f"more junk than a random choice for {', '.join(more)}"] if more else []
        return missed + self.losses()

    def losses(self) -> list[str]:
        """Return in what the arm is worse than today's default."""
        parts = {"distance": self.distance, "goal": self.goal_bits, "control": self.control_bits}
        return [f"worse in {name}" for name, part in parts.items() if part is not None and part.is_worse]

    @property
    def bits(self) -> float:
        """Mean difference in bits per byte of the goals; without trainings, the difference in distance."""
        return self.goal_bits.mean if self.goal_bits else self.distance.mean


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The winner, whether it meets all aims, and the best arm that asks the judge."""

    winner: Arm | None
    meets: bool
    judge: Arm | None


def verdict(arms: Sequence[Arm]) -> Verdict:
    """Apply the rule to all arms but random."""
    own = [arm for arm in arms if arm.sampler != "random"]
    without = [arm for arm in own if not arm.by_judge]
    asking = [arm for arm in own if arm.by_judge and not arm.failures()]
    judge = min(asking, key=lambda arm: (arm.bits, arm.name), default=None)
    if fine := [arm for arm in without if not arm.failures()]:
        return Verdict(winner=min(fine, key=lambda arm: (arm.bits, arm.name)), meets=True, judge=judge)
    if judge is not None:
        return Verdict(winner=judge, meets=True, judge=judge)
    no_worse = [arm for arm in own if not arm.losses()]
    nearest = min(no_worse, key=lambda arm: (arm.mean_junk, arm.bits, arm.name), default=None)
    return Verdict(winner=nearest, meets=False, judge=None)
