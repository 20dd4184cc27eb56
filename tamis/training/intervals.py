"""How far a held-out figure can be trusted: 95 % intervals over other held-out examples and other seeds.

The variance is that of the mean over seeds (nothing is known of it with a single one) plus that of drawing
the examples again, by bootstrap, the same draws for every seed; degrees of freedom follow Satterthwaite. A
plain bootstrap over two or three seeds would be far too narrow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tamis.training.results import Outcomes, TrainingResult

RESAMPLES = 1_000
LEVEL = 0.05

Statistic = Callable[[Outcomes, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds, and its interval; both ends are the mean where there is nothing to draw from."""

    mean: float
    low: float
    high: float


def estimates(results: Sequence[TrainingResult], seed: int = 0) -> dict[str, Estimate]:
    """Of every figure that the runs of a trial have: bits_per_byte, or accuracy and macro_f1."""
    first = results[0].outcomes
    if first is None:
        return {}
    statistics = CODE_LENGTH if first.bits else CLASSES
    count = len(first.bits or first.expected)
    draws_rd = _draws(count, seed)
    return {
        name: _estimate(statistic, [result.outcomes for result in results if result.outcomes], draws_rd)
        for name, statistic in statistics.items()
    }


def _draws(count: int, seed: int) -> np.ndarray:
    """How often each example is drawn: [1 + resamples, count], every one once in the first row."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, count), dtype=np.int64), drawn])


def _estimate(statistic: Statistic, outcomes: Sequence[Outcomes], draws_rd: np.ndarray) -> Estimate:
    from scipy.stats import t

    found_sr = np.stack([statistic(one, draws_rd) for one in outcomes])
    by_seed = found_sr[:, 0]
    mean, runs = float(by_seed.mean()), len(outcomes)
    of_seeds = float(by_seed.var(ddof=1)) / runs if runs > 1 else 0.0
    of_examples = float(np.nanvar(found_sr[:, 1:].mean(0), ddof=1))
    total = of_seeds + of_examples
    if not total > 0:
        return Estimate(mean=mean, low=mean, high=mean)
    examples = max(draws_rd.shape[1] - 1, 1)
    freedom = total**2 / (of_examples**2 / examples + (of_seeds**2 / (runs - 1) if runs > 1 else 0.0))
    reach = float(t.ppf(1 - LEVEL / 2, freedom)) * total**0.5
    return Estimate(mean=mean, low=mean - reach, high=mean + reach)


def _bits_per_byte(outcomes: Outcomes, draws_rd: np.ndarray) -> np.ndarray:
    return (draws_rd @ np.asarray(outcomes.bits)) / np.maximum(draws_rd @ np.asarray(outcomes.n_bytes), 1)


def _accuracy(outcomes: Outcomes, draws_rd: np.ndarray) -> np.ndarray:
    right = np.asarray(outcomes.expected) == np.asarray(outcomes.predicted)
    return (draws_rd @ right) / draws_rd.shape[1]


def _macro_f1(outcomes: Outcomes, draws_rd: np.ndarray) -> np.ndarray:
    """Return the mean of every draw over the classes that occur in it."""
    expected, predicted = np.asarray(outcomes.expected), np.asarray(outcomes.predicted)
    total, present = np.zeros(len(draws_rd)), np.zeros(len(draws_rd))
    for number in np.unique(expected):
        is_class, says_class = expected == number, predicted == number
        both = draws_rd @ (is_class & says_class)
        there = draws_rd @ is_class
        sizes = there + draws_rd @ says_class
        total += np.where(there > 0, 2 * both / np.maximum(sizes, 1), 0.0)
        present += there > 0
    return total / np.maximum(present, 1)


CODE_LENGTH: dict[str, Statistic] = {"bits_per_byte": _bits_per_byte}
CLASSES: dict[str, Statistic] = {"accuracy": _accuracy, "macro_f1": _macro_f1}
