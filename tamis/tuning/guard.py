"""The guard: the winner against random in new pairs, on examples that the search never read.

The mean difference counts both the luck of seeds and that of the examples. What ships is decided by a bound
that weights the quantiles of the two (Cochran 1964): bounds by Satterthwaite's degrees of freedom ship too
often with three pairs (docs/tuning-simulated.md, decision 0055). Look k ships at a one-sided level of
.05/(k(k+1)), which add up to .05 over all looks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamis.base.arguments import as_whole
from tamis.base.errors import BadArgumentError
from tamis.comparison.losses import PairedLosses
from tamis.comparison.statistics import Estimate, paired
from tamis.tuning.errors import NoLooksLeftError, TooFewExamplesError, TooFewPairsError
from tamis.tuning.parts import LEAST_GUARD
from tamis.tuning.search import PAIRS, Noise

Floats = NDArray[np.float64]
ERROR_RATE = 0.05
"""Of all looks at a target together: how often something without effect ships."""
MOST_LOOKS = 10
INTERVAL = 0.10
POWER = 0.8
HARM = 0.05
"""One-sided level at which the winner is said to harm the control; a warning, which looks do not sharpen."""
LEAST_FREEDOM = 4
"""Of the noise that the search knew; with less, nothing is said conditional on passing."""
WIDEST = 1e6
"""A conditional bound beyond so many standard errors is infinite."""
LEAST_P = 1e-12


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Bits of winner and reference [pair, example], NaN where a run failed, and bytes of the examples."""

    winner_pd: Floats
    reference_pd: Floats
    bytes_d: Floats


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Winner less reference in bits per byte, with its 90 % interval: negative is better.

    p_better, p_worse: smallest one-sided levels at which it is proven to be better, or worse.
    """

    mean: float
    low: float
    high: float
    p_better: float
    p_worse: float
    pairs: int
    examples: int


@dataclass(frozen=True, kw_only=True)
class Conditional:
    """Difference given that it passed: median-unbiased, with its 90 % interval by the truncated likelihood.

    What passes is the lucky part of what could have been measured, so the plain estimate of what ships is too
    good on average.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Answer of the guard.

    level: one-sided, of this look. shipped: `goal` is proven better at it. conditional: None unless shipped,
    or where the search knew too little of the noise. seen: smallest improvement that would have shipped in
    four of five such guards. harms: the control is proven worse, at .05; None without a control.
    """

    look: int
    level: float
    goal: Difference
    shipped: bool
    conditional: Conditional | None
    seen: float
    control: Difference | None
    harms: bool | None


def level_of(look: int) -> float:
    """Return the one-sided level of a look, counted from 1; raise `NoLooksLeftError` after ten."""
    if as_whole("look", look, 1) > MOST_LOOKS:
        raise NoLooksLeftError(MOST_LOOKS)
    return ERROR_RATE / (look * (look + 1))


def judge(goal: Pairs, *, look: int, noise: Noise, control: Pairs | None = None) -> Verdict:
    """Judge the winner by its pairs with the reference, at a numbered look at these examples of the target.

    `noise`: of a run, as the search knew it. Raises `NoLooksLeftError`, `TooFewExamplesError` under 20
    examples of the goal, and `TooFewPairsError` under three pairs in which both runs have a loss.
    """
    level, estimate = level_of(look), _tested(goal)
    cut = estimate.bound(level)
    shipped = estimate.mean < -cut
    elsewhere = None if control is None else _difference(_estimate(control))
    return Verdict(
        look=look,
        level=level,
        goal=_difference(estimate),
        shipped=shipped,
        conditional=_conditional(estimate, -cut, noise) if shipped else None,
        seen=cut + estimate.bound(1 - POWER),
        control=elsewhere,
        harms=None if elsewhere is None else elsewhere.p_worse < HARM,
    )


def difference(pairs: Pairs) -> Difference:
    """Return winner less reference, for a test that is no look of a search; raises as `judge`."""
    return _difference(_tested(pairs))


def _tested(pairs: Pairs) -> Estimate:
    """Return the paired difference where there are enough pairs and examples to judge by it."""
    if len(pairs.bytes_d) < LEAST_GUARD:
        raise TooFewExamplesError("the guard", len(pairs.bytes_d), LEAST_GUARD)
    estimate = _estimate(pairs)
    if estimate.pairs < PAIRS:
        raise TooFewPairsError(estimate.pairs, PAIRS)
    return estimate


def _estimate(pairs: Pairs) -> Estimate:
    """Return the paired difference; raise `BadArgumentError` for arrays of different shapes."""
    runs, bytes_d = (
        np.stack([pairs.winner_pd, pairs.reference_pd]),
        np.asarray(pairs.bytes_d, dtype=np.float64),
    )
    if runs.ndim != 3 or runs.shape[2:] != bytes_d.shape:
        raise BadArgumentError(
            "pairs", f"bits of shape {runs.shape}", "[2, pairs, examples], and bytes by example"
        )
    arms = (("winner", ""), ("reference", ""))
    return paired(PairedLosses(arms, runs[:, :, None].astype(np.float64), bytes_d), 0, 1, shared=True)


def _difference(estimate: Estimate) -> Difference:
    low, high = estimate.balanced(INTERVAL)
    return Difference(
        mean=estimate.mean,
        low=low,
        high=high,
        p_better=_attained(estimate, -estimate.mean),
        p_worse=_attained(estimate, estimate.mean),
        pairs=estimate.pairs,
        examples=estimate.documents,
    )


def _attained(estimate: Estimate, distance: float) -> float:
    """Return the smallest one-sided level whose bound is within a distance; NaN of a single pair."""
    from scipy.optimize import brentq

    if math.isnan(estimate.deviation):
        return math.nan
    if estimate.deviation == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    if estimate.bound(LEAST_P) < distance:
        return 0.0
    if estimate.bound(1 - LEAST_P) > distance:
        return 1.0
    return float(brentq(lambda p: estimate.bound(p) - distance, LEAST_P, 1 - LEAST_P, xtol=1e-10))


def _conditional(estimate: Estimate, cut: float, noise: Noise) -> Conditional | None:
    """Return estimate and interval from the likelihood truncated at `cut`, below which a mean ships.

    Given the variances that were measured, the cut is fixed and the mean is normal around the truth, cut off
    there (Zhong and Prentice 2008). The guard's own variance by seed tends to be small where it ships, so it
    is pooled with the search's, which knew nothing of that.
    """
    if noise.freedom < LEAST_FREEDOM:
        return None
    freedom, searched = estimate.seeds - 1, 2 * noise.variance / estimate.seeds
    pooled = (noise.freedom * searched + freedom * estimate.by_seed) / (noise.freedom + freedom)
    deviation = (pooled + estimate.by_document) ** 0.5
    if deviation == 0:
        return Conditional(mean=estimate.mean, low=estimate.mean, high=estimate.mean)

    def truth_at(share: float) -> float:
        def height(truth: float) -> float:
            return _below(estimate.mean, truth, cut, deviation) - math.log(share)

        return _solved(height, deviation, cut)

    return Conditional(mean=truth_at(0.5), low=truth_at(1 - INTERVAL / 2), high=truth_at(INTERVAL / 2))


def _below(mean: float, truth: float, cut: float, deviation: float) -> float:
    """Return the logarithm of the probability of such a mean or less, given that it is below the cut."""
    from scipy.special import log_ndtr

    return float(log_ndtr((mean - truth) / deviation) - log_ndtr((cut - truth) / deviation))


def _solved(height: Callable[[float], float], deviation: float, start: float) -> float:
    """Return where a falling function is 0, between ends that double from `start`; infinite beyond both."""
    from scipy.optimize import brentq

    step = deviation
    while height(start - step) < 0 or height(start + step) > 0:
        step *= 2
        if step > WIDEST * deviation:
            return math.inf if height(start + step) > 0 else -math.inf
    return float(brentq(height, start - step, start + step, xtol=1e-9 * deviation))
