"""A model of form: how much a text is written like sound texts rather than like the same texts damaged.

Each of the statistics (statistics.py) is compared with what sound texts of its length show: its distance
from their median, in units of their spread, by its logarithm and sign. The logit of damage is the sum of
- a small network (one layer of tanh) of these and of sums that name no statistic, so that damage of unknown
  kinds counts, too: norms of distances and of excesses, and the Mahalanobis distance from sound texts;
- weights, none under `LEAST_WEIGHT`, of the excesses: how far a statistic is beyond what nearly all sound
  texts show. The network itself sees little of what is beyond, so that it cannot learn to excuse it.
It is fitted (batches of Adam, statistics hidden at random, seeded) on sound texts, on damaged ones, and on
sound ones of which some statistics, drawn at random or by their correlation, were pushed beyond extremes,
which is outlier exposure (arXiv 1812.04606) in the space of statistics.
The logit is lowered at lengths at which sound texts of kinds that the fit has not seen reach high ones;
`limit` is the logit that `DROPPED` of these exceed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.base.threads import in_threads, one_thread_a_product
from tamis.filters.form.statistics import Floats

MODEL = Path(__file__).with_name("model.json")
FORMAT = 3
KNOTS = tuple(float(np.log1p(n)) for n in (10, 25, 60, 130, 280, 600, 1300, 3000))
"""log(1 + characters) at which medians and spreads are stored; in between they are interpolated."""
DROPPED = 0.01
"""Share of sound texts of unseen kinds over the limit."""
PECULIAR = 0.05
"""Share of kinds that the limit is not fitted on."""
MOST_OF_A_GOAL = 0.005
"""Share of a target's training examples that may fall."""
FOLDS, LEAST_OF_A_LANGUAGE = 4, 0.05
HIDDEN, STEPS, BATCH, RATE, DECAY, DROPOUT = 32, 500, 1024, 0.02, 0.03, 0.1
PUSHED, PUSHED_BY, MOST_PUSHED = 0.2, (0.3, 2.5), 10
"""Share of damaged rows that are made up; how far beyond the extremes; how many statistics at most."""
LEAST_WEIGHT, BEYOND = 0.5, 0.3
"""Least weight of an excess; how far beyond the extremes the network sees a statistic."""
SHRINKAGE = 0.1
"""Share of the variances that is added to the diagonal of the covariance."""
_QUANTILES, _BANDWIDTH = (0.02, 0.5, 0.98), 0.5
_EXTREMES, _LEAST_EXTREME = (0.005, 0.995), 0.3
_SUMS = 7  # next to the statistics
Singles = npt.NDArray[np.float32]
Hits = npt.NDArray[np.bool_]
_NO_STATISTICS = ("n", "language", "kind", "text", "changed", "parts")
MEASURES = ("form_logit", "form_reasons")


@dataclass(frozen=True, kw_only=True)
class FormModel:
    """A fitted model: medians and spreads by length [knots][f], the network, limit of the logit.

    mean, precision: of scaled statistics [f], [f][f]; lowest, highest: of nearly all sound texts [f].
    inner: weights [f + 9][hidden] of statistics, length, sums and bias; outer: [hidden + 1], the last a bias;
    excess: weights [f]. lowered: what the logit is lowered by, by length [knots].
    languages: those of the sound texts, by tamis/filters/form/statistics.py; it abstains for texts in others.
    fitted_on: a sentence about the texts.
    """

    names: tuple[str, ...]
    centre: tuple[tuple[float, ...], ...]
    above: tuple[tuple[float, ...], ...]
    below: tuple[tuple[float, ...], ...]
    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    inner: tuple[tuple[float, ...], ...]
    outer: tuple[float, ...]
    excess: tuple[float, ...]
    lowered: tuple[float, ...]
    limit: float
    languages: tuple[str, ...]
    fitted_on: str
    version: int = FORMAT

    def write(self, path: Path) -> None:
        """Write the model as JSON that `read` reads."""
        path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    def parts(self, stats: pl.DataFrame) -> Floats:
        """Return scaled statistics and length [n, f + 1] of a frame that `form` made."""
        x_nf = stats.select(self.names).to_numpy().astype(np.float64)
        length_n = _length(stats)
        knot_n = np.clip(np.searchsorted(KNOTS, length_n) - 1, 0, len(KNOTS) - 2)
        knots = np.array(KNOTS)
        part_n1 = ((length_n - knots[knot_n]) / (knots[knot_n + 1] - knots[knot_n]))[:, None]

        def at(values: tuple[tuple[float, ...], ...]) -> Floats:
            table = np.array(values)
            between: Floats = table[knot_n] * (1 - part_n1) + table[knot_n + 1] * part_n1
            return between

        away_nf = x_nf - at(self.centre)
        away_nf /= np.where(away_nf > 0, at(self.above), at(self.below))
        scaled_nf = np.sign(away_nf) * np.log1p(np.abs(away_nf))
        return np.hstack([scaled_nf, (length_n[:, None] - 5.5) / 2])

    @cached_property
    def network(self) -> "Network":
        """The network as arrays."""
        return Network(**{one.name: np.array(getattr(self, one.name), np.float32) for one in fields(Network)})

    def seen(self, stats: pl.DataFrame) -> pl.Series:
        """Return whether the model knows each language; texts without words have any, short ones none."""
        return stats["language"].is_in([*self.languages, "none"])

    def judge(self, stats: pl.DataFrame) -> pl.DataFrame:
        """Return `MEASURES` of each row: the logit of being damaged, and the three statistics that decided.

        A statistic is named with what was unusual: "digit high" or "function_words low", for texts over the
        limit. Both are null where the model abstains. The logit is rounded, since its last digits depend on
        the texts that are judged together.
        """
        parts = self.parts(stats)
        logit = (self.network.logits(parts) - np.interp(_length(stats), KNOTS, self.lowered)).round(6)
        over = np.flatnonzero(logit > self.limit)
        named = np.full(len(logit), None, dtype=object)
        named[over] = self._reasons(parts[over])
        seen = self.seen(stats)
        found = {"form_logit": pl.Series(logit), "form_reasons": pl.Series(named.tolist(), dtype=pl.String)}
        return pl.DataFrame(found).select(pl.when(seen).then(pl.col(name)).alias(name) for name in MEASURES)

    def _reasons(self, parts: Floats) -> list[str]:
        """Name the three statistics whose return to the median would lower the logit most."""
        lowered = np.empty((len(parts), len(self.names)))
        for place in range(len(self.names)):
            returned = parts.copy()
            returned[:, place] = 0
            lowered[:, place] = -self.network.logits(returned)
        top = np.argsort(-lowered, axis=1, kind="stable")[:, :3]
        side = np.where(np.take_along_axis(parts, top, 1) > 0, " high", " low")
        names = np.char.add(np.array(self.names)[top], side)
        return [", ".join(row) for row in names.tolist()]


@cache
def default_model() -> FormModel:
    """Return the model that is part of the package."""
    return read(MODEL)


def read(path: Path) -> FormModel:
    """Read a model that `FormModel.write` wrote."""
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name in ("centre", "above", "below", "precision", "inner"):
        held[name] = tuple(map(tuple, held[name]))
    for name in ("names", "mean", "lowest", "highest", "outer", "excess", "lowered", "languages"):
        held[name] = tuple(held[name])
    return FormModel(**held)


def limit_for(model: FormModel, goal: pl.DataFrame) -> float:
    """Return the limit for a target: the model's, raised until `MOST_OF_A_GOAL` of its examples are over it.

    goal: statistics of the target's training examples.
    """
    scores = np.sort(model.judge(goal)["form_logit"].drop_nulls().to_numpy())[::-1]
    may_fall = int(MOST_OF_A_GOAL * len(goal))
    return max(model.limit, float(scores[may_fall])) if len(scores) > may_fall else model.limit


def fit(good: pl.DataFrame, bad: pl.DataFrame, fitted_on: str, seed: int = 0) -> FormModel:
    """Fit a model on sound texts and damaged ones.

    good: statistics of `form` and a column `kind`; kinds count alike, and the limit is fitted on kinds that
    were left out. A column `changed`, if any, marks harmless variants: the limit is fitted on the other rows.
    bad: the same of damaged texts, whose kinds count alike, too.
    """
    names = tuple(name for name in good.columns if name not in _NO_STATISTICS)
    known = good.filter(~pl.col("language").is_in(["none", "short"]))["language"]
    languages = known.value_counts(normalize=True)
    common = languages.filter(pl.col("proportion") > LEAST_OF_A_LANGUAGE).sort("language")["language"]
    unfitted: dict[str, Any] = {one.name: () for one in fields(Network)}
    spreads = _spreads(good, names)
    model = FormModel(
        **spreads,
        names=names,
        **unfitted,
        lowered=(0.0,) * len(KNOTS),
        limit=0.0,
        languages=tuple(common),
        fitted_on=fitted_on,
    )
    seen, bad_seen = good.filter(model.seen(good)), bad.filter(model.seen(bad))
    parts, kinds = model.parts(seen).astype(np.float32), seen["kind"].to_numpy()
    broken = Rows(parts=model.parts(bad_seen).astype(np.float32), weight=_even(bad_seen["kind"].to_numpy()))
    held_out = np.zeros(len(seen))
    different = np.random.default_rng(seed).permutation(sorted(set(kinds.tolist()))).tolist()
    folds = [np.isin(kinds, different[fold::FOLDS]) for fold in range(min(FOLDS, len(different)))]
    nothing = np.zeros(len(seen), bool)

    def without(out: Hits) -> Network:
        return _trained(Rows(parts=parts[~out], weight=_even(kinds[~out])), broken, seed)

    with one_thread_a_product():
        *fitted, network = in_threads(without, [*folds, nothing])
    for out, one in zip(folds, fitted, strict=True):
        held_out[out] = one.logits(parts[out])
    as_is = ~seen["changed"].to_numpy() if "changed" in seen.columns else np.ones(len(seen), bool)
    length, logit, kinds = _length(seen)[as_is], held_out[as_is], kinds[as_is]
    lowered = _by_length(length, logit, _even(kinds))
    limit = _limit(logit - np.interp(length, KNOTS, lowered), kinds)
    return replace(model, **network.stored(), lowered=lowered, limit=round(limit, 5))


def _by_length(length: Floats, logit: Floats, weight: Floats) -> tuple[float, ...]:
    """Return, by length, how much higher than on average the logit is that `DROPPED` of the texts exceed."""
    order = np.argsort(logit, kind="stable")
    reached = []
    for knot in KNOTS:
        near = weight[order] * np.exp(-0.5 * ((length[order] - knot) / _BANDWIDTH) ** 2) + 1e-12
        reached.append(float(logit[order][int(np.argmax(np.cumsum(near) >= (1 - DROPPED) * near.sum()))]))
    return tuple(round(one - sum(reached) / len(reached), 5) for one in reached)


def _limit(logit_n: Floats, kinds: np.ndarray) -> float:
    """Return the least logit that `DROPPED` of the texts exceed, on average over kinds.

    The kinds that most often exceed it are left out, `PECULIAR` of all: they were judged without their like.
    """
    grid = np.quantile(logit_n, np.linspace(0.8, 1.0, 2_001))
    shares_kg = np.stack([(logit_n[kinds == kind][:, None] > grid).mean(0) for kind in np.unique(kinds)])
    kept = len(shares_kg) - int(PECULIAR * len(shares_kg))
    mean_g = np.sort(shares_kg, axis=0)[:kept].mean(0)
    return float(grid[int(np.argmax(mean_g <= DROPPED))])


def _spreads(good: pl.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Return medians and distances to the quantiles by length, weighted by a kernel of length."""
    x_nf = good.select(names).to_numpy().astype(np.float64)
    length_n, even_n = np.log1p(good["n"].to_numpy()), _even(good["kind"].to_numpy())
    order_nf = np.argsort(x_nf, axis=0, kind="stable")
    sorted_nf = np.take_along_axis(x_nf, order_nf, 0)
    values = np.empty((len(KNOTS), len(_QUANTILES), len(names)))
    for place, knot in enumerate(KNOTS):
        weight_n = even_n * np.exp(-0.5 * ((length_n - knot) / _BANDWIDTH) ** 2) + 1e-12
        sums_nf = np.cumsum(weight_n[order_nf], axis=0) / weight_n.sum()
        for which, quantile in enumerate(_QUANTILES):
            at = (sums_nf < quantile).sum(0).clip(0, len(x_nf) - 1)
            values[place, which] = sorted_nf[at, np.arange(len(names))]
    low, centre, high = values[:, 0], values[:, 1], values[:, 2]
    least_f = np.maximum(0.25 * (high - low).mean(0), 1e-3)

    return {
        "centre": tuple(map(_rounded, centre)),
        "above": tuple(map(_rounded, np.maximum(high - centre, least_f))),
        "below": tuple(map(_rounded, np.maximum(centre - low, least_f))),
    }


def _even(kinds: np.ndarray) -> Floats:
    """Return weights that sum to 1, the same for each kind."""
    _, place, count = np.unique(kinds, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / count[place] / len(count), np.float64)


def _length(stats: pl.DataFrame) -> Floats:
    """Return log(1 + characters), within the knots."""
    return np.clip(np.log1p(stats["n"].to_numpy()), KNOTS[0], KNOTS[-1])


@dataclass(frozen=True, kw_only=True)
class Network:
    """The fitted arrays of `FormModel` of the same names."""

    mean: Singles
    precision: Singles
    lowest: Singles
    highest: Singles
    inner: Singles
    outer: Singles
    excess: Singles

    def stored(self) -> dict[str, Any]:
        """Return the arrays as they are stored, with five digits."""
        return {
            one.name: tuple(map(_rounded, array)) if array.ndim == 2 else _rounded(array)
            for one in fields(self)
            for array in [getattr(self, one.name)]
        }

    def logits(self, parts: npt.NDArray[np.floating[Any]]) -> Floats:
        """Return the logits [n] of rows of `FormModel.parts`, not yet lowered by length.

        In float64, since products of several rows at once round otherwise than those of one.
        """
        given, beyond = self.given(parts.astype(np.float64))
        hidden = np.tanh(given @ self.inner)
        return np.asarray(hidden @ self.outer[:-1] + self.outer[-1] + beyond @ self.excess, np.float64)

    def given(self, parts: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return what the network is given [n, f + 9], the last a bias, and the excesses [n, f]."""
        scaled = parts[:, :-1]
        size, away = np.abs(scaled), scaled - self.mean
        beyond = np.maximum(scaled - self.highest, 0) + np.maximum(self.lowest - scaled, 0)
        distance = ((away @ self.precision) * away).sum(1)
        sums = (
            size.max(1),
            3 * size.mean(1),
            3 * np.sqrt((size**2).mean(1)),
            beyond.max(1),
            np.sqrt(beyond.sum(1)),
            np.sqrt((beyond**2).sum(1)),
            np.log(np.maximum(distance, 1e-3)) - np.log(parts.dtype.type(size.shape[1])),
        )
        near = np.clip(scaled, self.lowest - BEYOND, self.highest + BEYOND)
        return np.column_stack([near, parts[:, -1], *sums, np.ones(len(parts), parts.dtype)]), beyond


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of `FormModel.parts` with weights."""

    parts: Singles
    weight: Floats

    @cached_property
    def sums(self) -> Floats:
        """Cumulative weights."""
        return np.cumsum(self.weight)

    def drawn(self, count: int, generator: np.random.Generator) -> Singles:
        """Draw rows by their weight."""
        place = np.searchsorted(self.sums, generator.random(count) * self.sums[-1])
        rows: Singles = self.parts[np.minimum(place, len(self.weight) - 1)]
        return rows


def _untrained(good: Rows, generator: np.random.Generator) -> Network:
    """Return a network with the covariance and the extremes of sound texts, and drawn weights."""
    scaled = good.parts[:, :-1].astype(np.float64)
    size = scaled.shape[1]
    mean = good.weight @ scaled / good.sums[-1]
    covariance = (scaled - mean).T @ ((scaled - mean) * (good.weight / good.sums[-1])[:, None])
    precision = np.linalg.inv(covariance + np.diag(SHRINKAGE * np.diag(covariance) + 1e-3))
    order = np.argsort(scaled, axis=0, kind="stable")
    sums = np.cumsum(good.weight[order], axis=0)
    lowest, highest = (
        np.take_along_axis(scaled, np.take_along_axis(order, at[None], 0), 0)[0]
        for at in (np.argmax(sums >= share * sums[-1:], axis=0) for share in _EXTREMES)
    )
    width = size + 1 + _SUMS + 1
    arrays = {
        "mean": mean,
        "precision": precision,
        "lowest": np.minimum(lowest, -_LEAST_EXTREME),
        "highest": np.maximum(highest, _LEAST_EXTREME),
        "inner": generator.normal(0, width**-0.5, (width, HIDDEN)),
        "outer": np.r_[generator.normal(0, HIDDEN**-0.5, HIDDEN), 0.0],
        "excess": np.full(size, LEAST_WEIGHT),
    }
    return Network(**{name: array.astype(np.float32) for name, array in arrays.items()})


def _pushed(rows: Singles, network: Network, correlation: Floats, generator: np.random.Generator) -> Hits:
    """Push some statistics of rows outside, in place, and return which [n, f].

    They are drawn, or are those most correlated with a drawn one and go the way of that correlation.
    """
    count, size = len(rows), rows.shape[1] - 1
    most = np.exp(generator.uniform(0, np.log(MOST_PUSHED), (count, 1))).round()
    first, key = generator.integers(0, size, count), generator.random((count, size))
    together = generator.random(count) < 0.5
    key[together] = 1 - np.abs(correlation[first[together]]) + 0.15 * key[together]
    key[np.arange(count), first] = -1
    hit = key.argsort(1).argsort(1) < most
    sign = np.where(generator.random((count, size)) < 0.7, 1, -1)
    sign[together] = np.where(correlation[first[together]] < 0, -1, 1) * sign[together][:, :1]
    least, furthest = PUSHED_BY
    by = np.exp(generator.uniform(float(np.log(least)), float(np.log(furthest)), (count, 1)))
    value = np.where(sign > 0, network.highest, network.lowest) + sign * by
    rows[:, :-1][hit] = value[hit]
    return hit


def _trained(good: Rows, bad: Rows, seed: int) -> Network:
    """Return the network that tells bad rows, and good ones pushed outside, from good ones."""
    generator = np.random.default_rng(seed)
    network = _untrained(good, generator)
    covariance = np.linalg.inv(network.precision.astype(np.float64))
    deviation = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(deviation, deviation)
    made_up = round(BATCH / 2 * PUSHED)
    sign = np.r_[-np.ones(BATCH // 2), np.ones(BATCH // 2)].astype(np.float32)
    values = [network.inner, network.outer, network.excess]
    first, second = [0 * value for value in values], [0 * value for value in values]
    for step in range(1, STEPS + 1):
        pushed = good.drawn(made_up, generator)
        hit = _pushed(pushed, network, correlation, generator)
        rest = bad.drawn(BATCH // 2 - made_up, generator)
        x = np.vstack([good.drawn(BATCH // 2, generator), rest, pushed])
        shown = generator.random((len(x), x.shape[1] - 1), np.float32) > DROPOUT
        shown[-made_up:] |= hit
        x[:, :-1] *= shown
        given, beyond = network.given(x)
        hidden = np.tanh(given @ values[0])
        logit = hidden @ values[1][:-1] + values[1][-1] + beyond @ values[2]
        slope = -sign / (1 + np.exp(np.clip(sign * logit, -50, 50))) / BATCH
        back = (slope[:, None] * values[1][:-1]) * (1 - hidden**2)
        gradients = [given.T @ back, np.r_[hidden.T @ slope, slope.sum()], beyond.T @ slope]
        rate = RATE * (1 - (step - 1) / STEPS)
        for place, gradient in enumerate(gradients):
            first[place] = 0.9 * first[place] + 0.1 * gradient
            second[place] = 0.999 * second[place] + 0.001 * gradient**2
            change = (first[place] / (1 - 0.9**step)) / (np.sqrt(second[place] / (1 - 0.999**step)) + 1e-8)
            values[place] = (values[place] - rate * (change + DECAY * values[place])).astype(np.float32)
        values[2] = np.maximum(values[2], np.float32(LEAST_WEIGHT))
    return replace(network, inner=values[0], outer=values[1], excess=values[2])


def _rounded(values: npt.NDArray[np.floating[Any]]) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values.tolist())
