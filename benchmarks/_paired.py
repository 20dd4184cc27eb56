"""Differences between two arms that share seeds and held-out examples, with 95 % intervals.

The variance of a mean difference is that over seeds plus that of drawing the held-out examples again, the
same draws for both arms and all seeds; degrees of freedom by Satterthwaite, as for the figures of a trial.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.training.intervals import Statistic, bits_per_byte, macro_f1
from tamis.training.results import Outcomes

RESAMPLES = 1_000


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean difference, its interval, p of there being none; `seeds` [s]: the difference of each seed."""

    mean: float
    low: float
    high: float
    p: float
    seeds: tuple[float, ...]


def _accuracy(outcomes: Outcomes, draws_rd: np.ndarray) -> np.ndarray:
    right = np.asarray(outcomes.expected) == np.asarray(outcomes.predicted)
    return np.asarray((draws_rd @ right) / draws_rd.shape[1])


METRICS: dict[str, Statistic] = {
    "accuracy": _accuracy,
    "macro_f1": macro_f1,
    "bits_per_byte": bits_per_byte,
}


def values(metric: str, outcomes: Sequence[Outcomes], seed: int = 0) -> np.ndarray:
    """A metric of each run over the held-out examples and `RESAMPLES` draws of them: [s, 1 + draws]."""
    first = outcomes[0]
    count = len(first.bits or first.expected)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    draws_rd = np.concatenate([np.ones((1, count), dtype=np.int64), drawn])
    return np.stack([METRICS[metric](one, draws_rd) for one in outcomes])


def difference(found_tsr: np.ndarray, against_tsr: np.ndarray, examples: int) -> Difference:
    """Of the means over tasks: both arms [tasks, seeds, 1 + draws], the draws of tasks independent."""
    from scipy.stats import t

    gap_tsr = found_tsr - against_tsr
    by_seed = gap_tsr[:, :, 0].mean(0)
    tasks, seeds = gap_tsr.shape[:2]
    of_seeds = float(by_seed.var(ddof=1)) / seeds if seeds > 1 else 0.0
    of_examples = float(gap_tsr[:, :, 1:].mean(1).var(1, ddof=1).sum()) / tasks**2
    total, mean = of_seeds + of_examples, float(by_seed.mean())
    if not total > 0:
        return Difference(mean=mean, low=mean, high=mean, p=float(not mean), seeds=tuple(by_seed.tolist()))
    freedom = total**2 / (of_examples**2 / (examples - 1) + (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0))
    reach = float(t.ppf(0.975, freedom)) * total**0.5
    p = 2 * float(t.sf(abs(mean) / total**0.5, freedom))
    return Difference(mean=mean, low=mean - reach, high=mean + reach, p=p, seeds=tuple(by_seed.tolist()))


def variance_of_mean(gap_tsr: np.ndarray, seeds: int) -> float:
    """Variance of a mean difference [tasks, seeds, 1 + draws] as `difference` counts it, with other seeds.

    Of the seeds' own luck, and of drawing the held-out examples, of which seeds average out a part.
    """
    tasks, had = gap_tsr.shape[:2]
    of_seeds = gap_tsr[:, :, 0].mean(0).var(ddof=1)
    of_one = gap_tsr[:, :, 1:].var(2, ddof=1).mean(1).sum() / tasks**2
    of_all = gap_tsr[:, :, 1:].mean(1).var(1, ddof=1).sum() / tasks**2
    stays = max(0.0, (had * of_all - of_one) / (had - 1))
    return float((of_seeds + of_one - stays) / seeds + stays)
