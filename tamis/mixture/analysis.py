"""Results of the runs: held-out predictions, the best mixture against controls, and whether sizes rank alike.

Everything is computed again from weights and losses, in about a second; nothing fitted is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from tamis.mixture.errors import InfeasibleCapsError, TooFewRunsError
from tamis.mixture.law import MixtureLaw, fit_mixture_law, varies
from tamis.mixture.optimum import Mixture, best_mixture, marginal_values, under_caps, unimax, worth_of_repeats
from tamis.mixture.swarm import Swarm, named_run, spread_over_ranks

RESAMPLED = 20
"""Fits to resampled runs that the interval of each weight comes from."""
AGREEMENT_RUNS, LEAST_AGREEMENT_RUNS = 12, 8
WARNED_BELOW, REFUSED_BELOW = 0.9, 0.8
"""Rank agreement of small and larger runs."""
CHOSEN, NATURAL, UNIFORM, UNIMAX, TRANSPORT, BEST_RUN = (
    "chosen", "natural", "uniform", "unimax", "transport", "best run",
)  # fmt: skip
LEVEL = 0.9


def fit_losses(swarm: Swarm, losses: pl.DataFrame, targets: Sequence[str], seed: int) -> MixtureLaw:
    """Return the law of the present runs. losses: run, target, bits_per_byte. Raises `TooFewRunsError`."""
    known = {
        (run, target): loss for run, target, loss in losses.select("run", "target", "bits_per_byte").rows()
    }
    losses_rt = np.array(
        [[known.get((run.name, target)) for target in targets] for run in swarm.current], dtype=float
    )  # [run, target] of the present runs, NaN where there is none
    needed = len(swarm.parts) + 2
    for column, finished in enumerate(np.isfinite(losses_rt).sum(0).tolist()):
        if finished < needed:
            raise TooFewRunsError(column, finished, needed, targets[column])
    return fit_mixture_law(swarm.part_weights, losses_rt, seed=seed)


def law_rows(swarm: Swarm, law: MixtureLaw, targets: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the law says of each run, a row a run and target, as the table `mixture_law` has them."""
    fitted_rt = law.values(law.weights)
    return [
        {
            "run": run.name,
            "target": target,
            "measured": finite(law.losses[place, column]),
            "predicted": finite(law.held_out[place, column]),
            "fitted": float(fitted_rt[place, column]),
            "outlier": place in law.outliers[column],
        }
        for place, run in enumerate(swarm.current)
        for column, target in enumerate(targets)
    ]


def method_rows(law: MixtureLaw, targets: Sequence[str]) -> list[dict[str, Any]]:
    """Return how well each form ranks held-out runs, as the table `mixture_methods` has them.

    Losses that do not differ have no form but a constant, which ranks nothing.
    """
    return [
        {
            "target": target,
            "method": method,
            "rank_correlation": finite(value),
            "chosen": method == law.method[column],
        }
        for column, target in enumerate(targets)
        for method, value in (law.cross_validated[column] or {law.method[column]: float("nan")}).items()
    ]


def finite(value: float) -> float | None:
    """Return a number as tables have it, None for what is not finite."""
    return float(value) if np.isfinite(value) else None


def with_larger_runs(swarm: Swarm, law: MixtureLaw, preset: str | None, tokens: int) -> Swarm:
    """Return the swarm with the runs at the larger preset that validate it, if possible those that are there.

    They are about the two presets, their length and the targets, so a new source asks for no others. None as
    preset: nothing validates it.
    """
    if preset is None:
        return replace(swarm, larger_wanted=frozenset())
    there = {name: swarm.larger[name] for name in swarm.larger_wanted}
    known = {name for name, run in there.items() if run.preset == preset and run.tokens == tokens}
    if len(known) >= LEAST_AGREEMENT_RUNS:
        return replace(swarm, larger_wanted=frozenset(known))
    finished_r = np.asarray(np.isfinite(law.losses).all(1))
    finished = [run for run, done in zip(swarm.current, finished_r, strict=True) if done]
    predicted_r = law.values(law.weights[finished_r]).mean(1)
    names = spread_over_ranks([run.name for run in finished], predicted_r, AGREEMENT_RUNS)
    made = [
        named_run(preset, run.tokens, run.weights, run.parts, run.documents, run.generation)
        for run in (swarm.proxies[name] for name in names)
    ]
    larger = {run.name: run for run in made}
    return replace(swarm, larger={**swarm.larger, **larger}, larger_wanted=frozenset(larger))


@dataclass(frozen=True, kw_only=True)
class Control:
    """A mixture by source; `difference`: of the chosen mixture less this one, predicted, with 90 % bounds.

    `measured`: the mean loss of a run of it.
    """

    name: str
    shares: Mapping[str, float]
    predicted: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    measured: float | None = None


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The best mixture by source: weight, its interval, and figures of each; and the controls."""

    mixture: Mixture
    shares: pl.DataFrame
    controls: list[Control]


@dataclass(frozen=True, kw_only=True)
class Caps:
    """Bounds of the mixture: tokens that may be selected by source, length of the training, passes."""

    tokens: Mapping[str, int]
    train_tokens: int
    max_repetition: float
    stay_near: float
    distances: Mapping[str, float | None] = field(default_factory=dict)


def recommend(swarm: Swarm, law: MixtureLaw, caps: Caps, seed: int) -> Recommendation:
    """Return the best mixture under the caps. Raises `InfeasibleCapsError`."""
    mixture = _best(swarm, law, caps)
    weights = swarm.expanded(mixture.weights, caps.tokens)
    lows, highs = _weight_intervals(swarm, law, caps, weights, seed)
    total = sum(caps.tokens.values())
    value_p = marginal_values(law, mixture.weights)
    part_of = {name: place for place, ratio in enumerate(swarm.parts.values()) for name in ratio}
    bound = {*mixture.binding, *mixture.at_largest_seen}
    rows = []
    for name in sorted(caps.tokens):
        weight, tokens = weights.get(name, 0.0), caps.tokens[name]
        passes = weight * caps.train_tokens / tokens if tokens else 0.0
        part = part_of.get(name)
        rows.append(
            {
                "source": name,
                "weight": weight,
                "low": lows.get(name, 0.0),
                "high": highs.get(name, 0.0),
                "natural": tokens / total,
                "tokens": tokens,
                "repetition": passes,
                "worth": float(worth_of_repeats([passes])[0]),
                "marginal_value": None if part is None or not tokens else float(value_p[part]),
                "at_cap": part in bound and weight > 0,
            }
        )
    return Recommendation(
        mixture=mixture, shares=pl.DataFrame(rows), controls=_controls(swarm, law, caps, mixture)
    )


def _best(swarm: Swarm, law: MixtureLaw, caps: Caps) -> Mixture:
    return best_mixture(
        law,
        swarm.part_shares(caps.tokens),
        available_tokens=swarm.available(caps.tokens),
        train_tokens=caps.train_tokens,
        max_repetition=caps.max_repetition,
        stay_near=caps.stay_near,
    )


def _weight_intervals(
    swarm: Swarm, law: MixtureLaw, caps: Caps, weights: Mapping[str, float], seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the 90 % interval of each weight over resampled runs and both smooth forms of the law."""
    random = np.random.default_rng(seed)
    runs, found, losses_rt = len(law.weights), [weights], law.kept_losses
    for number in range(RESAMPLED):
        drawn_r = random.integers(0, runs, runs)
        method = ("root", "log-linear")[number % 2]
        try:
            again = fit_mixture_law(law.weights[drawn_r], losses_rt[drawn_r], method=method, seed=seed)  # type: ignore[arg-type]
            found.append(swarm.expanded(_best(swarm, again, caps).weights, caps.tokens))
        except (TooFewRunsError, InfeasibleCapsError):
            continue  # too few different runs were drawn to say anything of all sources
    ends = {
        name: np.quantile([one.get(name, 0.0) for one in found], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        for name in weights
    }
    return (
        {name: float(min(end[0], weights[name])) for name, end in ends.items()},
        {name: float(max(end[1], weights[name])) for name, end in ends.items()},
    )


def _controls(swarm: Swarm, law: MixtureLaw, caps: Caps, mixture: Mixture) -> list[Control]:
    """Return the chosen mixture and what it is compared with, under the same caps."""
    tokens = {name: size for name, size in caps.tokens.items() if size}
    bounds = {name: caps.max_repetition * size / caps.train_tokens for name, size in tokens.items()}
    names = sorted(tokens)
    natural = {name: tokens[name] / sum(tokens.values()) for name in names}
    scarce = unimax([tokens[name] for name in names], caps.train_tokens, caps.max_repetition)
    wanted: dict[str, Mapping[str, float]] = {
        NATURAL: natural,
        UNIFORM: dict.fromkeys(names, 1 / len(names)),
        UNIMAX: dict(zip(names, map(float, scarce), strict=True)),
    }
    if near := by_distance(natural, caps.distances):
        wanted[TRANSPORT] = near
    found = [
        _control(swarm, law, CHOSEN, swarm.expanded(mixture.weights, caps.tokens), mixture.weights, mixture)
    ]
    for name, shares in wanted.items():
        bounded = under_caps(
            np.array([[shares.get(one, 0.0) for one in names]]),
            np.array([min(1.0, bounds[one]) for one in names]),
        )[0]
        by_source = dict(zip(names, map(float, bounded), strict=True))
        found.append(_control(swarm, law, name, by_source, swarm.collapsed(by_source), mixture))
    goal_r = law.kept_losses.mean(1)
    if np.isfinite(goal_r).any():
        best = int(np.nanargmin(goal_r))
        run = swarm.current[best]
        found.append(
            _control(swarm, law, BEST_RUN, run.weights, law.weights[best], mixture, float(goal_r[best]))
        )
    return found


def _control(
    swarm: Swarm,
    law: MixtureLaw,
    name: str,
    shares: Mapping[str, float],
    weights_p: np.ndarray,
    mixture: Mixture,
    measured: float | None = None,
) -> Control:
    goal, low, high = (float(one[0]) for one in law.goal_interval(weights_p[None]))
    difference = law.difference_interval(mixture.weights, weights_p) if name != CHOSEN else (0.0, 0.0, 0.0)
    return Control(
        name=name,
        shares=dict(shares),
        predicted=goal,
        low=low,
        high=high,
        difference=difference[0],
        difference_low=difference[1],
        difference_high=difference[2],
        measured=measured,
    )


def by_distance(
    natural: Mapping[str, float], distances: Mapping[str, float | None]
) -> dict[str, float] | None:
    """Return shares from transport distances to the target alone, which cost no training.

    The natural share times exp(-distance / standard deviation of the distances); None where one is unknown.
    """
    known = [distances.get(name) for name in natural]
    if any(one is None for one in known):
        return None
    distance_k = np.array(known, dtype=float)
    spread = float(distance_k.std())
    scaled_k = (distance_k - distance_k.min()) / spread if spread > 0 else np.zeros(len(distance_k))
    shares_k = np.array(list(natural.values())) * np.exp(-scaled_k)
    return dict(zip(natural, map(float, shares_k / shares_k.sum()), strict=True))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Spearman's correlation of losses of the same mixtures at two sizes; bounds of 90 % by bootstrap.

    `alike`: the size at which the losses do not differ, so that there are no ranks to compare; else "".
    """

    runs: int
    correlation: float
    low: float
    high: float
    alike: str = ""

    @property
    def words(self) -> str:
        """For people."""
        if self.alike:
            return (
                f"the {self.alike} runs of {self.runs} mixtures have equal losses, so the ranking of the "
                "mixtures cannot be compared between the small and the larger model"
            )
        return (
            f"the losses of {self.runs} mixtures with the small model and with the larger model have a rank "
            f"correlation of {self.correlation:.3f} (90 % interval {self.low:.3f} to {self.high:.3f})"
        )


def agreement(swarm: Swarm, losses: pl.DataFrame, targets: Sequence[str], seed: int) -> Agreement | None:
    """Return how the present larger runs rank the mixtures that small ones ran; None with fewer than four."""
    goal = dict(
        losses.filter(pl.col("target").is_in(list(targets)))
        .group_by("run")
        .agg(pl.col("bits_per_byte").mean(), pl.len(), known=pl.col("bits_per_byte").is_not_null().sum())
        .filter(pl.col("known") == len(targets))
        .select("run", "bits_per_byte")
        .iter_rows()
    )
    small = {tuple(sorted(run.weights.items())): run.name for run in swarm.proxies.values()}
    pairs = []
    for name in sorted(swarm.larger_wanted):
        proxy = small.get(tuple(sorted(swarm.larger[name].weights.items())))
        if name in goal and proxy in goal:
            pairs.append((goal[proxy], goal[name]))
    if len(pairs) < 4:
        return None
    pairs_n2: np.ndarray = np.array(pairs)
    random = np.random.default_rng(seed)
    again = [_spearman(pairs_n2[random.integers(0, len(pairs), len(pairs))]) for _ in range(1_000)]
    known = [one for one in again if np.isfinite(one)]
    low, high = np.quantile(known, [0.05, 0.95]) if known else (-1.0, 1.0)
    found = _spearman(pairs_n2)
    alike = [
        size for size, losses_n in zip(("small", "larger"), pairs_n2.T, strict=True) if not varies(losses_n)
    ]
    return Agreement(
        runs=len(pairs),
        correlation=found if np.isfinite(found) and not alike else 0.0,
        low=float(low),
        high=float(high),
        alike=alike[0] if alike else "",
    )


def _spearman(pairs_n2: np.ndarray) -> float:
    ranks = pl.DataFrame(pairs_n2, schema=["small", "large"], orient="row").select(pl.all().rank())
    value = ranks.select(pl.corr("small", "large")).item()
    return float("nan") if value is None else float(value)
