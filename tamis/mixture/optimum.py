"""The mixture that a law likes best, under caps and near the prior; what a change of it is worth; controls.

The goal is a weighted sum of the losses, plus stay_near x its standard deviation over the runs x the
Kullback-Leibler divergence from the prior. It is minimised over square roots of the shares, in which root
laws have finite derivatives at zero, from the prior, the uniform mixture, the best runs and likely draws.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tamis.base.arguments import as_number
from tamis.mixture.errors import (
    BadMixtureSettingError,
    BadWeightsError,
    InfeasibleCapsError,
    setting_numbers,
)
from tamis.mixture.exponential import Floats
from tamis.mixture.law import MixtureLaw, checked_mixture

BINDS = 1e-4
"""A share is at its cap when it is nearer than so much."""
BEST_RUNS, DRAWS_AS_STARTS = 5, 8
DESCENTS = 4  # from the best starts, and from prior and uniform
ROUNDS, DRAWS = 10, 4_000
REPEATS_UNTIL_WORTHLESS = 15.4
"""R* of arXiv 2305.16264: how fast a repeated token loses its worth."""
Objective = Callable[[Floats], Floats]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """A mixture of k sources, and what the law says of it.

    `predicted`, with 90 % bounds `low` and `high`, and `predicted_at_prior` are in units of the goal;
    `difference` is the first less the second, with 90 % bounds. The law that predicts them has chosen the
    mixture, too, so they prove no gain: only new runs do.
    `repetition` [k]: passes over each source (NaN where no tokens were given); `caps` [k] on the shares;
    `binding`: sources whose cap by tokens binds; `at_largest_seen`: sources at the largest share of a run
    that counts, beyond which the law says nothing; `worth_of_a_pass` [k]: how much the goal would fall with
    one more pass allowed over a source whose cap binds, NaN for the others.
    """

    weights: Floats
    predicted: float
    low: float
    high: float
    predicted_at_prior: float
    difference: float
    difference_low: float
    difference_high: float
    repetition: Floats
    caps: Floats
    binding: tuple[int, ...]
    at_largest_seen: tuple[int, ...]
    worth_of_a_pass: Floats


def best_mixture(
    law: MixtureLaw,
    prior: ArrayLike,
    *,
    available_tokens: ArrayLike | None = None,
    train_tokens: float | None = None,
    max_repetition: float = 4.0,
    stay_near: float = 0.05,
    goal_weights: ArrayLike | None = None,
) -> Mixture:
    """Return the mixture with the least goal among those that the law can judge.

    `prior` [k] sums to 1; `available_tokens` [k] and `train_tokens` bound a share by max_repetition x
    available / train, the runs by the largest share seen. With `stay_near` over 0 a source of prior 0 gets
    nothing. Raises `InfeasibleCapsError`, `BadWeightsError`, `BadMixtureSettingError`: all `ValueError`.
    """
    prior_k = checked_mixture(prior, law.sources)
    if not 0 <= as_number(stay_near) < np.inf:
        raise BadMixtureSettingError("stay_near", stay_near, "a non-negative number")
    goal_t = law.goal_weights(goal_weights)
    passes_k = _shares_of_a_pass(law.sources, available_tokens, train_tokens, max_repetition)
    by_tokens_k = _caps_of_tokens(law.sources, passes_k, max_repetition)
    objective = _objective(law, prior_k, stay_near, goal_t)
    largest_k = law.largest_seen(goal_t)

    def solve(token_caps_k: Floats, starts_sk: Floats) -> tuple[Floats, Floats]:
        caps_k = _caps(token_caps_k, largest_k, prior_k, stay_near)
        if law.smooth:
            return _descend(law, objective, starts_sk, caps_k, prior_k, stay_near, goal_t), caps_k
        return _search(objective, starts_sk, caps_k), caps_k

    weights_k, caps_k = solve(by_tokens_k, _starts(law, prior_k, goal_t))
    at_cap_k = (weights_k >= caps_k - BINDS) & (caps_k > 0) & (caps_k < 1)
    by_tokens = at_cap_k & (by_tokens_k <= largest_k)
    worth_k = np.full(law.sources, np.nan)
    for source in np.flatnonzero(by_tokens):
        assert passes_k is not None  # only tokens bound a share below 1
        raised_k = by_tokens_k.copy()
        raised_k[source] = min(1.0, raised_k[source] + passes_k[source])
        other_k, _ = solve(raised_k, weights_k[None])
        worth_k[source] = max(0.0, float(objective(weights_k[None])[0] - objective(other_k[None])[0]))
    predicted, low, high = (float(one[0]) for one in law.goal_interval(weights_k, goal_t))
    difference, below, above = law.difference_interval(weights_k, prior_k, goal_t)
    return Mixture(
        weights=weights_k,
        predicted=predicted,
        low=low,
        high=high,
        predicted_at_prior=float(law.values(prior_k[None])[0] @ goal_t),
        difference=difference,
        difference_low=below,
        difference_high=above,
        repetition=np.full(law.sources, np.nan)
        if passes_k is None
        else np.divide(weights_k, passes_k, out=np.zeros_like(weights_k), where=passes_k > 0),
        caps=caps_k,
        binding=tuple(int(one) for one in np.flatnonzero(by_tokens)),
        at_largest_seen=tuple(int(one) for one in np.flatnonzero(at_cap_k & ~by_tokens)),
        worth_of_a_pass=worth_k,
    )


def _caps_of_tokens(sources: int, passes_k: Floats | None, max_repetition: float) -> Floats:
    """Return the largest shares that tokens allow; raises `InfeasibleCapsError` where they make no whole."""
    caps_k = np.ones(sources) if passes_k is None else np.minimum(1.0, max_repetition * passes_k)
    if caps_k.sum() < 1 - 1e-9:
        raise InfeasibleCapsError(caps_k, "train on fewer tokens, add data or raise max_repetition")
    return caps_k


def _caps(token_caps_k: Floats, largest_seen_k: Floats, prior_k: Floats, stay_near: float) -> Floats:
    """Return the largest shares that tokens and runs allow; raises as `_caps_of_tokens`."""
    caps_k = np.minimum(token_caps_k, largest_seen_k)
    if stay_near > 0:
        caps_k = np.where(prior_k > 0, caps_k, 0.0)
    if caps_k.sum() < 1 - 1e-9:
        raise InfeasibleCapsError(
            caps_k,
            "each is the smaller of the share that the source's tokens allow and the source's largest share "
            "in any run; train runs with larger shares of the sources whose tokens allow more",
        )
    return caps_k


def _shares_of_a_pass(
    sources: int, available_tokens: ArrayLike | None, train_tokens: float | None, max_repetition: float
) -> Floats | None:
    """Return the share [k] that one pass over each source is of a training; None without tokens."""
    if not 0 < as_number(max_repetition) < np.inf:
        raise BadMixtureSettingError("max_repetition", max_repetition, "a number over 0")
    if (available_tokens is None) != (train_tokens is None):
        missing = "available_tokens" if available_tokens is None else "train_tokens"
        raise BadMixtureSettingError(missing, None, "available_tokens and train_tokens together, or neither")
    if available_tokens is None or train_tokens is None:
        return None
    if not 0 < as_number(train_tokens) < np.inf:
        raise BadMixtureSettingError("train_tokens", train_tokens, "a number over 0")
    expected = f"{sources} non-negative numbers, one per source"
    available_k = setting_numbers("available_tokens", available_tokens, expected)
    if available_k.shape != (sources,) or not np.isfinite(available_k).all() or (available_k < 0).any():
        raise BadMixtureSettingError("available_tokens", available_tokens, expected)
    return available_k / float(train_tokens)


def _objective(law: MixtureLaw, prior_k: Floats, stay_near: float, goal_t: Floats) -> Objective:
    price = stay_near * _goal_deviation(law, goal_t)

    def value(weights_nk: Floats) -> Floats:
        found_n: Floats = law.values(weights_nk) @ goal_t
        return found_n + (price * _divergence(weights_nk, prior_k) if price > 0 else 0.0)

    return value


def _goal_deviation(law: MixtureLaw, goal_t: Floats) -> float:
    """Return the standard deviation of the goal over the runs that count; of predictions if none has all."""
    counted = goal_t > 0
    goal_r = law.kept_losses[:, counted] @ goal_t[counted]
    measured_r = goal_r[np.isfinite(goal_r)]
    return float(measured_r.std() if len(measured_r) > 1 else (law.values(law.weights) @ goal_t).std())


def _divergence(weights_nk: Floats, prior_k: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms_nk = np.where(weights_nk > 0, weights_nk * np.log(weights_nk / prior_k), 0.0)
    return terms_nk.sum(1)


def _starts(law: MixtureLaw, prior_k: Floats, goal_t: Floats) -> Floats:
    """Return mixtures [s, k] to start from: prior, uniform, best runs, corners blended with the prior."""
    counted = goal_t > 0
    goal_r = law.kept_losses[:, counted] @ goal_t[counted]
    best = np.argsort(np.where(np.isfinite(goal_r), goal_r, np.inf), kind="stable")[:BEST_RUNS]
    uniform_k = np.full(law.sources, 1.0 / law.sources)
    drawn_sk = np.random.default_rng(0).dirichlet(np.ones(law.sources), 64 * DRAWS_AS_STARTS)
    likely = np.argsort(law.values(drawn_sk) @ goal_t, kind="stable")[:DRAWS_AS_STARTS]
    return np.concatenate([prior_k[None], uniform_k[None], law.weights[best], drawn_sk[likely]])


def under_caps(weights_nk: Floats, caps_k: Floats) -> Floats:
    """Return min(cap, factor x weight) with the factor of each row at which shares add up to 1.

    It is the mixture under the caps nearest to the row in divergence. Sources with weight 0 get a share only
    where the others are all at their caps.
    """
    filled_nk = weights_nk + 1e-12 * caps_k
    low_n, high_n = np.zeros(len(filled_nk)), np.full(len(filled_nk), 1.0)
    for _ in range(200):
        short_n = np.minimum(caps_k, high_n[:, None] * filled_nk).sum(1) < min(1.0, caps_k.sum()) - 1e-12
        if not short_n.any():
            break
        high_n[short_n] *= 2
    for _ in range(100):
        middle_n = (low_n + high_n) / 2
        under_n = np.minimum(caps_k, middle_n[:, None] * filled_nk).sum(1) < 1
        low_n, high_n = np.where(under_n, middle_n, low_n), np.where(under_n, high_n, middle_n)
    found_nk = np.minimum(caps_k, high_n[:, None] * filled_nk)
    return found_nk / found_nk.sum(1, keepdims=True)


def _descend(
    law: MixtureLaw,
    objective: Objective,
    starts_sk: Floats,
    caps_k: Floats,
    prior_k: Floats,
    stay_near: float,
    goal_t: Floats,
) -> Floats:
    """Return the best end of sequential quadratic programmes over roots of the shares."""
    from scipy.optimize import minimize

    free = np.flatnonzero(caps_k > 0)
    price = stay_near * _goal_deviation(law, goal_t)
    scale = _goal_deviation(law, goal_t) or 1.0

    def filled(roots: Floats) -> Floats:
        found_k = np.zeros(len(caps_k))
        found_k[free] = np.maximum(roots, 0.0)
        return found_k

    def value(roots: Floats) -> float:
        return float(objective(filled(roots)[None] ** 2)[0]) / scale

    def slope(roots: Floats) -> Floats:
        roots_k = filled(roots)
        found_k = law.by_root(roots_k[None])[0].T @ goal_t
        if price > 0:
            ratio_k = np.maximum(roots_k**2, 1e-300) / np.where(prior_k > 0, prior_k, 1.0)
            found_k = found_k + price * 2 * roots_k * (np.log(ratio_k) + 1)
        return found_k[free] / scale

    whole = {"type": "eq", "fun": lambda roots: roots @ roots - 1.0, "jac": lambda roots: 2 * roots}
    begun_sk = under_caps(np.maximum(starts_sk, 1e-6), caps_k)
    order = np.argsort(objective(begun_sk), kind="stable")
    best_k, least = begun_sk[order[0]], float(objective(begun_sk[order[:1]])[0])
    for start_k in begun_sk[np.unique([*range(min(2, len(begun_sk))), *order[:DESCENTS]])]:
        found = minimize(
            value,
            np.sqrt(start_k[free]),
            jac=slope,
            method="SLSQP",
            bounds=[(0.0, float(np.sqrt(cap))) for cap in caps_k[free]],
            constraints=[whole],
            options={"maxiter": 200, "ftol": 1e-12},
        )
        if not np.isfinite(found.x).all():
            continue
        ended_k = filled(found.x) ** 2
        ended_k = under_caps(np.where(ended_k < 1e-9, 0.0, ended_k)[None], caps_k)[0]
        if (reached := float(objective(ended_k[None])[0])) < least:
            best_k, least = ended_k, reached
    best_k = np.where(best_k < 1e-9, 0.0, best_k)
    return best_k / best_k.sum()


def _search(objective: Objective, starts_sk: Floats, caps_k: Floats) -> Floats:
    """Return the mean of the best draws of a search that narrows: for laws without derivatives."""
    random = np.random.default_rng(0)
    begun_sk = under_caps(np.maximum(starts_sk, 1e-6), caps_k)
    best_k = begun_sk[int(objective(begun_sk).argmin())]
    for strength in np.geomspace(5, 500, ROUNDS):
        drawn_nk = under_caps(random.dirichlet(np.maximum(best_k, 1e-4) * strength, DRAWS), caps_k)
        nearest = drawn_nk[np.argsort(objective(drawn_nk), kind="stable")[:32]]
        offered_sk = np.stack([best_k, nearest[0], nearest.mean(0)])
        best_k = offered_sk[int(objective(offered_sk).argmin())]
    return np.where(best_k < 1e-5, 0.0, best_k) / best_k[best_k >= 1e-5].sum()


def marginal_values(
    law: MixtureLaw, weights: ArrayLike, goal_weights: ArrayLike | None = None, step: float = 0.01
) -> Floats:
    """Return by how much the goal changes [k] when a source gets `step` more of the mixture, the others less.

    The others give in proportion to their shares. Below 0: more of the source is better.
    """
    goal_t = law.goal_weights(goal_weights)
    weights_k = checked_mixture(weights, law.sources)
    if not 0 < as_number(step) < 1:
        raise BadMixtureSettingError("step", step, "a number between 0 and 1")
    moved_kk = (1 - step) * weights_k + step * np.eye(law.sources)
    found_k: Floats = (law.values(moved_kk) - law.values(weights_k[None])) @ goal_t
    return found_k


def unimax(available_tokens: ArrayLike, train_tokens: float, max_repetition: float = 4.0) -> Floats:
    """Return the UniMax mixture [k] (arXiv 2304.09151): as uniform as `max_repetition` passes allow.

    From the smallest source on, each gets an equal share of the tokens left, at most that many passes. With
    fewer tokens than the training needs, all sources get that many passes and shares are those of tokens.
    """
    count = setting_numbers("available_tokens", available_tokens, "numbers, one per source").size
    passes_k = _shares_of_a_pass(count, available_tokens, train_tokens, max_repetition)
    if passes_k is None or not passes_k.sum() > 0:
        raise BadMixtureSettingError("available_tokens", available_tokens, "tokens in at least one source")
    found_k, left = np.zeros(count), 1.0
    for place, source in enumerate(np.argsort(passes_k, kind="stable")):
        found_k[source] = min(left / (count - place), max_repetition * passes_k[source])
        left -= found_k[source]
    return found_k / found_k.sum()


def worth_of_repeats(passes: ArrayLike, worthless_after: float = REPEATS_UNTIL_WORTHLESS) -> Floats:
    """Return how many passes over unique tokens some passes over the same tokens are worth (2305.16264).

    D' / U = 1 + R* (1 - exp(-R / R*)) with R = passes - 1 repeats; up to one pass they are worth themselves.
    """
    passes_n = setting_numbers("passes", passes, "numbers of passes")
    if not 0 < as_number(worthless_after) < np.inf:
        raise BadMixtureSettingError("worthless_after", worthless_after, "a number over 0")
    if not (np.isfinite(passes_n).all() and (passes_n >= 0).all()):
        raise BadWeightsError("passes must be finite and not negative")
    repeats_n = np.maximum(passes_n - 1.0, 0.0)
    return np.minimum(passes_n, 1.0) - worthless_after * np.expm1(-repeats_n / worthless_after)
