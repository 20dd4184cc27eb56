"""Mixtures for a swarm of runs, drawn around a tempered prior as RegMix does (arXiv 2407.01492)."""

import numpy as np
from numpy.typing import ArrayLike

from tamis.base.arguments import is_whole
from tamis.mixture.errors import BadMixtureSettingError, InfeasibleCapsError, checked_seed, setting_numbers
from tamis.mixture.exponential import Floats
from tamis.mixture.law import checked_mixture
from tamis.mixture.optimum import under_caps

GRID = 5_000
"""Shares are multiples of 1 / GRID, and zero below one of them."""
STRENGTHS = np.geomspace(0.1, 5.0, 15)
TIMES_PRIOR = 15.0
CANDIDATES = 100  # draws for each run that is wanted
NEAREST = (0.2, 0.1, 0.05, 0.02, 0.01, 0.004, 0.001)
"""Least distances (sum of absolute differences) between runs; the first that leaves enough runs holds."""
LEAST_RUNS = 12


def runs_needed(sources: int) -> int:
    """Return how many runs a first swarm of k sources should have: 3 (k + 1), at least 12."""
    return max(LEAST_RUNS, 3 * (sources + 1))


def runs_to_extend(changed: int) -> int:
    """Return how many runs a law over the frozen sources as one and some changed ones takes: 3 (k + 2)."""
    return 3 * (changed + 2) if changed else 0


def propose_runs(prior: ArrayLike, runs: int, seed: int = 0, maximum: ArrayLike | None = None) -> Floats:
    """Return mixtures [runs, k] to train small models on, no two nearly alike.

    `prior` [k] sums to 1; `maximum`, a number or [k], is the largest share of a source, by default
    min(1, 15 x prior). Shares are multiples of .0002. Raises `BadWeightsError`, `BadMixtureSettingError`
    and `InfeasibleCapsError`, all `ValueError`.
    """
    prior_k = checked_mixture(prior)
    if isinstance(runs, bool) or not is_whole(runs, 1):
        raise BadMixtureSettingError("runs", runs, "a whole number of 1 or more")
    runs = int(runs)
    caps_k = _caps(prior_k, maximum)
    if len(prior_k) == 1:
        return np.ones((runs, 1))
    random = np.random.default_rng(checked_seed(seed))
    tempered_k = np.sqrt(prior_k) / np.sqrt(prior_k).sum()
    strength_n = random.permutation(np.resize(STRENGTHS, CANDIDATES * runs))
    drawn_nk = random.standard_gamma(strength_n[:, None] * tempered_k) + 1e-300 * (prior_k > 0)
    drawn_nk /= drawn_nk.sum(1, keepdims=True)
    over_n = (drawn_nk > caps_k).any(1)
    # What is over a cap is refused as in RegMix, unless tight caps leave too few to choose from.
    if (~over_n).sum() < 10 * runs:
        drawn_nk[over_n] = under_caps(drawn_nk[over_n], caps_k)
    else:
        drawn_nk = drawn_nk[~over_n]
    drawn_nk = np.unique(_on_grid(drawn_nk, caps_k), axis=0)
    order_n = random.permutation(len(drawn_nk))
    if runs >= 2 * len(prior_k):
        # No optimum exceeds the largest share that a run had, so each source has a run with much of it.
        largest_k = drawn_nk[:, caps_k > 0].argmax(0)
        order_n = np.concatenate([largest_k, order_n[~np.isin(order_n, largest_k)]])
    drawn_nk = drawn_nk[order_n]
    for nearest in NEAREST:
        chosen = _apart(drawn_nk, runs, nearest)
        if len(chosen) == runs:
            return drawn_nk[chosen]
    raise BadMixtureSettingError(
        "runs",
        runs,
        f"at most {len(chosen)}, since these caps allow no more mixtures that differ enough from each other",
    )


def _caps(prior_k: Floats, maximum: ArrayLike | None) -> Floats:
    if maximum is None:
        return np.minimum(1.0, TIMES_PRIOR * prior_k)
    expected = f"a non-negative number, or a list of {len(prior_k)}, one per source"
    given = setting_numbers("maximum", maximum, expected)
    if given.shape not in ((), prior_k.shape) or not (np.isfinite(given).all() and (given >= 0).all()):
        raise BadMixtureSettingError("maximum", maximum, expected)
    caps_k = np.where(prior_k > 0, np.minimum(1.0, np.broadcast_to(given, prior_k.shape)), 0.0)
    caps_k = np.floor(caps_k * GRID + 1e-9) / GRID
    if caps_k.sum() < 1 - 1e-9:
        raise InfeasibleCapsError(caps_k, "raise `maximum`; sources with prior 0 get no share")
    return caps_k


def _on_grid(drawn_nk: Floats, caps_k: Floats) -> Floats:
    """Return shares as multiples of 1 / GRID that add up to 1 and keep the caps: largest remainders."""
    room_k = np.floor(caps_k * GRID + 1e-9)
    scaled_nk = drawn_nk * GRID
    whole_nk = np.minimum(np.floor(scaled_nk + 1e-9), room_k)
    while (short_n := (GRID - whole_nk.sum(1)).astype(int)).any():
        wanted_nk = np.where((whole_nk < room_k) & (drawn_nk > 0), scaled_nk - whole_nk, -np.inf)
        order_nk = np.argsort(-wanted_nk, axis=1, kind="stable")
        rank_nk = np.empty_like(order_nk)
        np.put_along_axis(rank_nk, order_nk, np.arange(drawn_nk.shape[1])[None], axis=1)
        added_nk = (rank_nk < short_n[:, None]) & np.isfinite(wanted_nk)
        if not added_nk.any():
            break
        whole_nk += added_nk
    return whole_nk[whole_nk.sum(1) == GRID] / GRID


def _apart(drawn_nk: Floats, runs: int, nearest: float) -> list[int]:
    """Return the first rows that are at least `nearest` from all chosen before."""
    chosen: list[int] = []
    away_n = np.full(len(drawn_nk), np.inf)
    for row in range(len(drawn_nk)):
        if away_n[row] >= nearest:
            chosen.append(row)
            if len(chosen) == runs:
                break
            away_n[row:] = np.minimum(away_n[row:], np.abs(drawn_nk[row:] - drawn_nk[row]).sum(1))
    return chosen
