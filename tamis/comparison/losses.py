"""Losses of paired runs as one array, and their resampling over data seeds, training seeds and documents.

Bits per byte of a set is a ratio of sums over documents, so documents are resampled too: an interval then
says what other held-out documents, other draws and other first weights would have given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedLosses:
    """Code lengths bits_aijd [arm, data seed, training seed, document] and bytes_d; NaN = no such run.

    An arm is a sampler at a budget.
    """

    arms: tuple[tuple[str, str], ...]
    bits_aijd: Floats
    bytes_d: Floats

    @cached_property
    def loss_aij(self) -> Floats:
        """Bits per byte of each run [arm, data seed, training seed]."""
        return np.asarray(self.bits_aijd.sum(-1) / self.bytes_d.sum())

    def resampled(self, resamples: int, seed: int) -> Floats:
        """Losses [arm, resample]; in a resample all arms meet the same seeds and documents."""
        draw = np.random.default_rng(seed)
        arms, data, training, documents = self.bits_aijd.shape
        weight_dr = draw.multinomial(documents, np.full(documents, 1 / documents), resamples).T
        bits_sr = self.bits_aijd.reshape(-1, documents) @ weight_dr.astype(np.float64)
        loss_aijr = (bits_sr / (self.bytes_d @ weight_dr)).reshape(arms, data, training, resamples)
        return mean_of_drawn(loss_aijr, seed_weights(data, training, resamples, seed), "aijr,ijr->ar")


def seed_weights(data: int, training: int, resamples: int, seed: int) -> Floats:
    """Times each pair of seeds is drawn [i, j, resample]: data seeds, then training seeds within each."""
    draw = np.random.default_rng([seed, 1])
    times_ri = draw.multinomial(data, np.full(data, 1 / data), resamples)
    within = draw.multinomial(times_ri.ravel() * training, np.full(training, 1 / training))
    return within.reshape(resamples, data, training).transpose(1, 2, 0).astype(np.float64)


def mean_of_drawn(values: Floats, weight_ijr: Floats, axes: str) -> Floats:
    """Mean over drawn seeds, missing runs left out; NaN where the draw holds none. `axes`: as for einsum."""
    present = np.isfinite(values)
    total = np.einsum(axes, np.where(present, values, 0.0), weight_ijr)
    weight = np.einsum(axes, present.astype(np.float64), weight_ijr)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / weight)


def mean_of_runs(values_ar: Floats) -> Floats:
    """Mean over the last axis without missing runs; NaN where there is none."""
    count = np.isfinite(values_ar).sum(-1)
    return np.asarray(np.where(count, np.nansum(values_ar, -1) / np.maximum(count, 1), np.nan))


def interval(values_r: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of resampled values; NaN without any."""
    values = values_r[np.isfinite(values_r)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def stacked(
    arms: Sequence[tuple[str, str]],
    runs: dict[tuple[str, str, int, int], Floats],
    bytes_d: Floats,
    data_seeds: int,
    training_seeds: int,
) -> PairedLosses:
    """Code lengths [document] of runs, by (sampler, budget, data seed, training seed), as one array."""
    bits = np.full((len(arms), data_seeds, training_seeds, len(bytes_d)), np.nan)
    for place, (sampler, budget) in enumerate(arms):
        for i, j in product(range(data_seeds), range(training_seeds)):
            bits[place, i, j] = runs.get((sampler, budget, i, j), np.nan)
    return PairedLosses(tuple(arms), bits, np.asarray(bytes_d, dtype=np.float64))
