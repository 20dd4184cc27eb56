"""Differences between samplers that are more than luck: paired contrasts, Holm, non-inferiority.

The unit is a data seed: runs that share one share their pool, so they are averaged first. With three data
seeds a t test has two degrees of freedom and little power; that is what three repetitions can say, and a
bootstrap of three values would only hide it.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tamis.comparison.losses import Floats, PairedLosses, interval, mean_of_runs
from tamis.evaluation.paired import ratio_variance

RESAMPLES = 2_000
LEVEL = 0.05
MARGIN_IN_DEVIATIONS = 2.0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean of repetitions, or of their differences in pairs, with its variance from both sources of luck.

    by_seed: variance of the mean over other seeds; by_document: over other held-out documents. seeds:
    independent repetitions; pairs: runs with a loss. Variances are NaN of a single repetition.
    """

    mean: float
    by_seed: float
    by_document: float
    seeds: int
    documents: int
    pairs: int

    @property
    def deviation(self) -> float:
        """Standard error of the mean, from seeds and documents."""
        return float((self.by_seed + self.by_document) ** 0.5)

    @property
    def degrees_of_freedom(self) -> float:
        """Effective number for the standard error (Satterthwaite 1946)."""
        if np.isnan(self.by_seed):
            return float("nan")
        spread = self.by_seed**2 / (self.seeds - 1) + self.by_document**2 / max(self.documents - 1, 1)
        return (self.by_seed + self.by_document) ** 2 / spread if spread > 0 else float(self.seeds - 1)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the ends that a share `level` of such intervals misses, by the t distribution."""
        spread = quantile(1 - level / 2, self.degrees_of_freedom) * self.deviation
        return self.mean - spread, self.mean + spread

    def balanced(self, level: float) -> tuple[float, float]:
        """Return the ends that a share `level` of such intervals misses, also with three or four seeds.

        Halfway between Satterthwaite's, which then miss too often, and Cochran's, which miss too seldom.
        """
        low, high = self.interval(level)
        spread = ((high - low) / 2 + self.bound(level / 2)) / 2
        return self.mean - spread, self.mean + spread

    def bound(self, tail: float) -> float:
        """Return how far above the mean its upper bound is, which a share `tail` of such bounds misses.

        The quantiles of the two sources are weighted by their variances (Cochran 1964), which holds its level
        far into the tail. Satterthwaite's does not with three or four seeds: where they agree by chance, it
        counts the documents as degrees of freedom.
        """
        total = self.by_seed + self.by_document
        if not total > 0:
            return total
        by_seed = quantile(1 - tail, self.seeds - 1) * self.by_seed
        by_document = quantile(1 - tail, max(self.documents - 1, 1)) * self.by_document
        return float((by_seed + by_document) / total * self.deviation)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Loss of an arm less that of a reference, in bits per byte: negative is better.

    low, high: 95 % interval by the t distribution over seeds and documents. bootstrap_low, bootstrap_high:
    by resampling the same. p: two-sided, not corrected; NaN where a single run an arm allows no test.
    """

    sampler: str
    budget: str
    difference: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    p: float
    degrees_of_freedom: float
    pairs: int


@dataclass(frozen=True, kw_only=True)
class NonInferiority:
    """Whether an arm recovers what all data give: its loss is worse by less than the margin.

    upper: one-sided 95 % bound of the difference to "full". margin: twice the standard deviation between
    full-data runs that differ in their training seed (its lower 95 % bound), which is what chance alone
    does. p: one-sided, of being worse by the margin; p_better: one-sided, of being no better at all.
    """

    sampler: str
    budget: str
    difference: float
    upper: float
    margin: float
    p: float
    p_better: float


def loss_intervals(losses: PairedLosses) -> list[tuple[float, float]]:
    """95 % interval of each arm's loss by the t distribution over seeds and documents; NaN of a single run.

    Resampling three seeds would give one that is far too narrow.
    """
    return [paired(losses, place, None).interval() for place in range(len(losses.arms))]


def contrasts(losses: PairedLosses, reference: str, seed: int, level: float = LEVEL) -> list[Contrast]:
    """Every arm against the reference sampler at its own budget, in order of arms.

    `level`: the share of intervals that miss; .05 gives those of 95 %.
    """
    resampled_ar = losses.resampled(RESAMPLES, seed)
    found = []
    for place, (sampler, budget) in enumerate(losses.arms):
        against = _reference(losses, reference, budget)
        if sampler == reference or against is None:
            continue
        estimate = paired(losses, place, against)
        low, high = estimate.interval(level)
        bootstrap_low, bootstrap_high = interval(resampled_ar[place] - resampled_ar[against], 1 - level)
        found.append(
            Contrast(
                sampler=sampler,
                budget=budget,
                difference=estimate.mean,
                low=low,
                high=high,
                bootstrap_low=bootstrap_low,
                bootstrap_high=bootstrap_high,
                p=2 * _tail(abs(estimate.mean), estimate),
                degrees_of_freedom=estimate.degrees_of_freedom,
                pairs=estimate.pairs,
            )
        )
    return found


def recoveries(losses: PairedLosses, full: str) -> list[NonInferiority]:
    """Every arm but "full" tested against it; empty without two training seeds (their spread: the margin)."""
    against = _reference(losses, full, None)
    if against is None:
        return []
    margin = MARGIN_IN_DEVIATIONS * _spread(losses.loss_aij[against])
    if np.isnan(margin):
        return []
    found = []
    for place, (sampler, budget) in enumerate(losses.arms):
        if sampler == full:
            continue
        estimate = paired(losses, place, against)
        found.append(
            NonInferiority(
                sampler=sampler,
                budget=budget,
                difference=estimate.mean,
                upper=estimate.mean + quantile(1 - LEVEL, estimate.degrees_of_freedom) * estimate.deviation,
                margin=margin,
                p=_tail(margin - estimate.mean, estimate),
                p_better=_tail(-estimate.mean, estimate),
            )
        )
    return found


def holm(p_n: NDArray[np.floating] | list[float]) -> Floats:
    """P-values corrected for their number (Holm 1979), in order; NaN stays NaN and counts as none."""
    p = np.asarray(p_n, dtype=np.float64)
    corrected = np.full(len(p), np.nan)
    (present,) = np.nonzero(~np.isnan(p))
    order = present[np.argsort(p[present], kind="stable")]
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return corrected


def _reference(losses: PairedLosses, sampler: str, budget: str | None) -> int | None:
    return next(
        (i for i, arm in enumerate(losses.arms) if arm[0] == sampler and budget in (None, arm[1])), None
    )


def paired(losses: PairedLosses, place: int, against: int | None, *, shared: bool = False) -> Estimate:
    """Return the mean difference of an arm to another in pairs, or of an arm's own loss against None.

    `shared`: what single runs do to single documents is in the variance by seed already, so it is taken off
    that by document, which otherwise counts it a second time.
    """
    difference_ij = _less(losses.loss_aij, place, against)
    # Independent repetitions: data seeds, or the training seeds where there is one data seed.
    units = mean_of_runs(difference_ij if len(difference_ij) > 1 else difference_ij.T)
    units = units[np.isfinite(units)]
    nan = float("nan")
    pairs = int(np.isfinite(difference_ij).sum())
    mean = float(units.mean()) if len(units) else nan
    estimate = Estimate(
        mean=mean, by_seed=nan, by_document=nan, seeds=len(units), documents=len(losses.bytes_d), pairs=pairs
    )
    if len(units) < 2:
        return estimate
    bits_sd = _less(losses.bits_aijd, place, against).reshape(-1, len(losses.bytes_d))
    bits_sd = bits_sd[np.isfinite(bits_sd).all(1)]
    by_document = ratio_variance(bits_sd.mean(0), losses.bytes_d)
    if shared:
        by_document = max(by_document - _of_both(bits_sd, losses.bytes_d), 0.0)
    return replace(estimate, by_seed=float(units.var(ddof=1)) / len(units), by_document=by_document)


def _of_both(bits_sd: Floats, bytes_d: Floats) -> float:
    """Return the part of the variance by document that runs [s] do not have in common."""
    runs, documents = bits_sd.shape
    ratio_s = bits_sd.sum(1) / bytes_d.sum()
    residual_sd = bits_sd - ratio_s[:, None] * bytes_d
    apart_sd = (residual_sd - residual_sd.mean(0)) / bytes_d.sum()
    return float((apart_sd**2).sum() / (runs - 1) / runs * documents / max(documents - 1, 1))


def _less(values_a: Floats, place: int, against: int | None) -> Floats:
    """Values of an arm less those of another, or as they are without another."""
    return values_a[place] if against is None else values_a[place] - values_a[against]


def _spread(loss_ij: Floats) -> float:
    """Lower 95 % bound of the standard deviation between training seeds of one data seed; NaN without two.

    What another pool changes, all arms share, so data seeds say nothing of it. The bound, not the estimate:
    a margin that chance made wide would prove what is not so.
    """
    from scipy.stats import chi2

    freedom = int((np.isfinite(loss_ij).sum(1) - 1).clip(0).sum())
    if not freedom:
        return float("nan")
    within = loss_ij - mean_of_runs(loss_ij)[:, None]
    return float((np.nansum(within**2) / chi2.ppf(1 - LEVEL, freedom)) ** 0.5)


def quantile(share: float, freedom: float) -> float:
    """Return a quantile of the t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def _tail(distance: float, estimate: Estimate) -> float:
    """Probability of a difference beyond `distance` by chance; 0 or 1 where nothing varies."""
    from scipy.stats import t

    if np.isnan(estimate.deviation):
        return float("nan")
    if estimate.deviation == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(t.sf(distance / estimate.deviation, estimate.degrees_of_freedom))
