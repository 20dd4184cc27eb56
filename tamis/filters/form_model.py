"""A model of form: how much a text is written like sound texts rather than like the same texts damaged.

Each statistic of tamis/filters/form.py is compared with what sound texts of its length show: its distance from
their median, in units of their spread, by its logarithm and sign. A small network (one layer of tanh, full
batches of Adam, inputs dropped out at random, seeded) weighs these: damage often shows in what goes together,
such as words without function words in long lines, which no sum of single statistics tells from titles.
`limit` is the logit that one in a hundred sound texts of kinds that the fit has not seen exceeds.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from tamis.filters.form import Floats

MODEL = Path(__file__).with_name("form_model.json")
FORMAT = 1
KNOTS = tuple(float(np.log1p(n)) for n in (10, 25, 60, 130, 280, 600, 1300, 3000))
"""log(1 + characters) at which medians and spreads are stored; in between they are interpolated."""
DROPPED = 0.01
"""Share of sound texts of unseen kinds over the limit."""
PECULIAR = 0.1
"""Share of kinds that the limit is not fitted on."""
MOST_OF_A_GOAL = 0.005
"""Share of a target's training examples that may fall."""
FOLDS, LEAST_OF_A_LANGUAGE = 3, 0.05
HIDDEN, STEPS, RATE, DECAY, DROPOUT = 32, 300, 0.02, 0.03, 0.3
_QUANTILES, _BANDWIDTH = (0.02, 0.5, 0.98), 0.5
MEASURES = ("form_logit", "form_reasons")


@dataclass(frozen=True, kw_only=True)
class FormModel:
    """A fitted model: medians and spreads by length [knots][f], the network, limit of the logit.

    inner: weights [f + 2][hidden] of statistics, length and bias; outer: weights [hidden + 1], the last a bias.

    languages: those of the sound texts, by tamis/filters/form.py; it says nothing about texts in others.
    fitted_on: a sentence about the texts.
    """

    names: tuple[str, ...]
    centre: tuple[tuple[float, ...], ...]
    above: tuple[tuple[float, ...], ...]
    below: tuple[tuple[float, ...], ...]
    inner: tuple[tuple[float, ...], ...]
    outer: tuple[float, ...]
    limit: float
    languages: tuple[str, ...]
    fitted_on: str
    version: int = FORMAT

    def write(self, path: Path) -> None:
        """Write the model as JSON that `read` reads."""
        path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    def parts(self, stats: pl.DataFrame) -> Floats:
        """Return the network's inputs [n, f + 1] of a frame that `form` made: statistics, then length."""
        x_nf = stats.select(self.names).to_numpy().astype(np.float64)
        length_n = np.clip(np.log1p(stats["n"].to_numpy()), KNOTS[0], KNOTS[-1])
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

    def seen(self, stats: pl.DataFrame) -> pl.Series:
        """Return whether the model knows the language of each text; texts without words are in any."""
        return stats["language"].is_in([*self.languages, "none"])

    def judge(self, stats: pl.DataFrame) -> pl.DataFrame:
        """Return `MEASURES` of each row: the logit of being damaged, and the three statistics that decided.

        A statistic is named with what was unusual: "digit high" or "function_words low", for texts over the
        limit. Both are null where the model abstains, since it has not seen the language.
        """
        parts, inner, outer = self.parts(stats), np.array(self.inner), np.array(self.outer)
        before = parts @ inner[:-1] + inner[-1]
        logit = np.tanh(before) @ outer[:-1] + outer[-1]
        over = np.flatnonzero(logit > self.limit)
        labels = self._reasons(parts[over], before[over])
        named = np.full(len(logit), None, dtype=object)
        named[over] = labels
        seen = self.seen(stats)
        found = {"form_logit": pl.Series(logit), "form_reasons": pl.Series(named.tolist(), dtype=pl.String)}
        return pl.DataFrame(found).select(pl.when(seen).then(pl.col(name)).alias(name) for name in MEASURES)

    def _reasons(self, parts: Floats, before: Floats) -> list[str]:
        """Name the three statistics whose return to the median would lower the logit most."""
        inner, outer, size = np.array(self.inner), np.array(self.outer), len(self.names)
        now = np.tanh(before) @ outer[:-1]
        lowered = np.stack(
            [
                now - np.tanh(before - parts[:, [place]] * inner[[place]]) @ outer[:-1]
                for place in range(size)
            ],
            axis=1,
        )
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
    held = json.loads(path.read_text(encoding="utf-8"))
    tables = ("centre", "above", "below", "inner")
    return FormModel(
        **{name: tuple(map(tuple, held.pop(name))) for name in tables},
        **{name: tuple(held.pop(name)) for name in ("names", "outer", "languages")},
        **held,
    )


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
    were left out. A column `changed`, if any, says which rows are harmless variants: the limit is fitted on the
    others. bad: the same of damaged texts, whose kinds count alike, too.
    """
    names = tuple(one for one in good.columns if one not in ("n", "language", "kind", "text", "changed"))
    languages = good.filter(pl.col("language") != "none")["language"].value_counts(normalize=True)
    model = FormModel(
        names=names,
        **_spreads(good, names),
        inner=(),
        outer=(),
        limit=0.0,
        languages=tuple(
            languages.filter(pl.col("proportion") > LEAST_OF_A_LANGUAGE).sort("language")["language"]
        ),
        fitted_on=fitted_on,
    )
    seen, bad_seen = good.filter(model.seen(good)), bad.filter(model.seen(bad))
    good_parts, bad_parts = model.parts(seen), model.parts(bad_seen)
    kinds, bad_weight = seen["kind"].to_numpy(), _even(bad_seen["kind"].to_numpy())
    weight_n = _even(kinds)
    inner, outer = _trained(good_parts, bad_parts, weight_n, bad_weight, seed)
    held_out = np.zeros(len(seen))
    different = np.random.default_rng(seed).permutation(sorted(set(kinds.tolist()))).tolist()
    for fold in range(min(FOLDS, len(different))):
        out = np.isin(kinds, different[fold::FOLDS])
        part = _trained(good_parts[~out], bad_parts, _even(kinds[~out]), bad_weight, seed)
        held_out[out] = _logits(good_parts[out], *part)
    as_is = ~seen["changed"].to_numpy() if "changed" in seen.columns else np.ones(len(seen), bool)
    limit = _limit(held_out[as_is], kinds[as_is])
    return replace(
        model,
        inner=tuple(map(tuple, np.round(inner, 5).tolist())),
        outer=tuple(np.round(outer, 5).tolist()),
        limit=round(limit, 5),
    )


def _limit(logit_n: Floats, kinds: np.ndarray) -> float:
    """Return the least logit that `DROPPED` of the texts exceed, on average over kinds.

    The kinds that most often exceed it are left out, `PECULIAR` of all: they were judged without their like.
    """
    grid = np.quantile(logit_n, np.linspace(0.8, 1.0, 2_001))
    shares_kg = np.stack([(logit_n[kinds == kind][:, None] > grid).mean(0) for kind in np.unique(kinds)])
    kept = len(shares_kg) - int(PECULIAR * len(shares_kg))
    mean_g = np.sort(shares_kg, axis=0)[:kept].mean(0)
    return float(grid[int(np.argmax(mean_g <= DROPPED))])


def _spreads(good: pl.DataFrame, names: Sequence[str]) -> dict[str, tuple[tuple[float, ...], ...]]:
    """Return medians and distances to the quantiles by length, the rows weighted by a kernel of their length."""
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

    def rounded(table: Floats) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(f"{one:.5g}") for one in row) for row in table.tolist())

    return {
        "centre": rounded(centre),
        "above": rounded(np.maximum(high - centre, least_f)),
        "below": rounded(np.maximum(centre - low, least_f)),
    }


def _even(kinds: np.ndarray) -> Floats:
    """Return weights that sum to 1, the same for each kind."""
    _, place, count = np.unique(kinds, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / count[place] / len(count), np.float64)


def _logits(parts: Floats, inner: Floats, outer: Floats) -> Floats:
    logits: Floats = np.tanh(parts @ inner[:-1] + inner[-1]) @ outer[:-1] + outer[-1]
    return logits


def _trained(
    good: Floats, bad: Floats, good_weight: Floats, bad_weight: Floats, seed: int
) -> tuple[Floats, Floats]:
    """Return the network that tells bad from good: inner [d + 1, hidden], outer [hidden + 1]."""
    generator = np.random.default_rng(seed)
    x = np.vstack([good, bad]).astype(np.float32)
    x = np.hstack([x, np.ones((len(x), 1), np.float32)])
    sign = np.r_[-np.ones(len(good)), np.ones(len(bad))].astype(np.float32)
    weight = (np.r_[good_weight, bad_weight] / 2).astype(np.float32)
    inner = generator.normal(0, x.shape[1] ** -0.5, (x.shape[1], HIDDEN)).astype(np.float32)
    outer = np.r_[generator.normal(0, HIDDEN**-0.5, HIDDEN), 0.0].astype(np.float32)
    values, first, second = [inner, outer], [0.0 * inner, 0.0 * outer], [0.0 * inner, 0.0 * outer]
    for step in range(1, STEPS + 1):
        shown = generator.random(x.shape, np.float32) > DROPOUT
        shown[:, -1] = True
        given = x * shown
        hidden = np.tanh(given @ values[0])
        logit = hidden @ values[1][:-1] + values[1][-1]
        slope = -weight * sign / (1 + np.exp(np.clip(sign * logit, -50, 50)))
        back = (slope[:, None] * values[1][:-1]) * (1 - hidden**2)
        gradients = [given.T @ back, np.r_[hidden.T @ slope, slope.sum()]]
        rate = RATE * (1 - (step - 1) / STEPS)
        for place, gradient in enumerate(gradients):
            first[place] = 0.9 * first[place] + 0.1 * gradient
            second[place] = 0.999 * second[place] + 0.001 * gradient**2
            change = (first[place] / (1 - 0.9**step)) / (np.sqrt(second[place] / (1 - 0.999**step)) + 1e-8)
            values[place] = values[place] - rate * (change + DECAY * values[place])
    return values[0].astype(np.float64), values[1].astype(np.float64)
