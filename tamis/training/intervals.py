"""Uncertainty of held-out figures: 95 % intervals over other held-out examples and other seeds.

The variance is that of the mean over seeds (nothing is known of it with a single one) plus that of drawing
the examples again; degrees of freedom follow Satterthwaite. A plain bootstrap over two or three seeds would
be far too narrow. Of code lengths and macro-F1 the examples are drawn by bootstrap, the same draws for every
seed. Where nearly all answers are right, no draw says what other examples could have shown: the interval of
accuracy counts two more examples as right and two as wrong (Agresti and Coull 1998).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tamis.training.results import Outcomes, TrainingResult

RESAMPLES = 1_000
LEVEL = 0.05
MORE_EXAMPLES = np.array([0.0, 0.0, 1.0, 1.0])  # about z^2 / 2 of each, z the normal quantile of LEVEL

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
    outcomes = [result.outcomes for result in results if result.outcomes]
    draws_rd = _draws(len(first.bits or first.expected), seed)
    if first.bits:
        by_seed, of_examples = _drawn(bits_per_byte, outcomes, draws_rd)
        return {"bits_per_byte": _around(by_seed, of_examples, len(first.bits))}
    right_sd = np.stack([np.equal(one.expected, one.predicted) for one in outcomes]).astype(np.float64)
    more_sd = np.concatenate([right_sd, np.tile(MORE_EXAMPLES, (len(outcomes), 1))], axis=1)
    examples = more_sd.shape[1]
    least = float(more_sd.mean(0).var(ddof=1)) / examples
    accuracy = _within_one(_around(more_sd.mean(1), least, examples))
    by_seed, of_examples = _drawn(macro_f1, outcomes, draws_rd)
    return {
        "accuracy": replace(accuracy, mean=float(right_sd.mean(1).mean())),
        # Where all are right, every draw is right: macro-F1 is known no better than accuracy.
        "macro_f1": _within_one(_around(by_seed, max(of_examples, least), right_sd.shape[1])),
    }


def _draws(count: int, seed: int) -> np.ndarray:
    """Draw examples; how often each is drawn: [1 + resamples, count], every one once in the first row."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, count), dtype=np.int64), drawn])


def _drawn(
    statistic: Statistic, outcomes: Sequence[Outcomes], draws_rd: np.ndarray
) -> tuple[np.ndarray, float]:
    """The figure of each seed, and the variance of their mean over other examples.

    Draws from n examples vary about the mean of these by (n - 1) / n of what n examples vary about the truth.
    """
    found_sr = np.stack([statistic(one, draws_rd) for one in outcomes])
    examples = draws_rd.shape[1]
    return found_sr[:, 0], float(np.nanvar(found_sr[:, 1:].mean(0), ddof=1)) * examples / max(examples - 1, 1)


def _around(by_seed: np.ndarray, of_examples: float, examples: int) -> Estimate:
    """The mean over seeds with its interval, given its variance over other examples."""
    from scipy.stats import t

    mean, runs = float(by_seed.mean()), len(by_seed)
    of_seeds = float(by_seed.var(ddof=1)) / runs if runs > 1 else 0.0
    total = of_seeds + of_examples
    if not total > 0:
        return Estimate(mean=mean, low=mean, high=mean)
    squares = of_examples**2 / max(examples - 1, 1) + (of_seeds**2 / (runs - 1) if runs > 1 else 0.0)
    reach = float(t.ppf(1 - LEVEL / 2, total**2 / squares)) * total**0.5
    return Estimate(mean=mean, low=mean - reach, high=mean + reach)


def _within_one(found: Estimate) -> Estimate:
    """Of a share, whose ends are not beyond 0 and 1."""
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def bits_per_byte(outcomes: Outcomes, draws_rd: np.ndarray) -> np.ndarray:
    """Return bits per byte of every draw."""
    return (draws_rd @ np.asarray(outcomes.bits)) / np.maximum(draws_rd @ np.asarray(outcomes.n_bytes), 1)


def macro_f1(outcomes: Outcomes, draws_rd: np.ndarray) -> np.ndarray:
    """Return the mean of every draw over the classes that occur in it."""
    expected, predicted = np.asarray(outcomes.expected), np.asarray(outcomes.predicted)
    total, present = np.zeros(len(draws_rd)), np.zeros(len(draws_rd))
    for number in np.unique(expected):
        is_class, says_class = expected == number, predicted == number
        both = draws_rd @ (is_class & says_class)
        there = draws_rd @ is_class
        total += np.where(there > 0, 2 * both / np.maximum(there + draws_rd @ says_class, 1), 0.0)
        present += there > 0
    return total / np.maximum(present, 1)
