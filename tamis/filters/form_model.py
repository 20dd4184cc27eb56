"""A model of form: how much a text is written like sound texts rather than like the same texts damaged.

Each statistic of tamis/filters/form.py is compared with what sound texts of its length show: the distance from
their median above and below, in units of their spread, and how far it lies beyond nearly all of them. A
logistic regression weighs these (Newton's method, ridge; deterministic). Its ridge pulls towards a small
positive weight for what lies beyond nearly all sound texts, so that what no kind of damage has shown counts a
little, too. `limit` is the logit that one in a hundred sound texts of kinds that the fit has not seen exceeds.
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
MOST_OF_A_GOAL = 0.005
"""Share of a target's training examples that may fall."""
RIDGE, PRIOR, FOLDS = 1e-3, 0.05, 5
_QUANTILES, _BANDWIDTH = (0.02, 0.5, 0.98), 0.5
_NEWTON_STEPS = 25
MEASURES = ("form_logit", "form_reasons")


@dataclass(frozen=True, kw_only=True)
class FormModel:
    """A fitted model: medians and spreads by length [knots][f], weights [4 f], bias, limit of the logit.

    languages: those of the sound texts, by tamis/filters/form.py; it says nothing about texts in others.
    fitted_on: a sentence about the texts.
    """

    names: tuple[str, ...]
    centre: tuple[tuple[float, ...], ...]
    above: tuple[tuple[float, ...], ...]
    below: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    bias: float
    limit: float
    languages: tuple[str, ...]
    fitted_on: str
    version: int = FORMAT

    def write(self, path: Path) -> None:
        """Write the model as JSON that `read` reads."""
        path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    def parts(self, stats: pl.DataFrame) -> Floats:
        """Return what the weights multiply [n, 4 f], of a frame that `form` made."""
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
        high_nf = np.maximum(away_nf, 0) / at(self.above)
        low_nf = np.maximum(-away_nf, 0) / at(self.below)
        return np.log1p(
            np.hstack([high_nf, low_nf, np.maximum(high_nf - 1, 0), np.maximum(low_nf - 1, 0)])
        )

    def seen(self, stats: pl.DataFrame) -> pl.Series:
        """Return whether the model knows the language of each text; texts without words are in any."""
        return stats["language"].is_in([*self.languages, "none"])

    def judge(self, stats: pl.DataFrame) -> pl.DataFrame:
        """Return `MEASURES` of each row: the logit of being damaged, and the three statistics that decided.

        A statistic is named with what was unusual: "digit high" or "function_words low". Both are null where
        the model abstains, since it has not seen the language.
        """
        parts = self.parts(stats) * np.array(self.weights)
        logit = pl.Series(parts.sum(1) + self.bias)
        size = len(self.names)
        sides = parts.reshape(len(parts), 2, 2 * size).sum(1)  # distance and what lies beyond nearly all
        top = np.argsort(-sides, axis=1, kind="stable")[:, :3]
        labels = np.array([f"{name} {side}" for side in ("high", "low") for name in self.names])
        reasons = pl.DataFrame(labels[top], schema=["a", "b", "c"], orient="row")
        named = reasons.select(pl.concat_str("a", "b", "c", separator=", ")).to_series()
        seen = self.seen(stats)
        return pl.DataFrame({"form_logit": logit, "form_reasons": named}).select(
            pl.when(seen).then(pl.col(name)).alias(name) for name in MEASURES
        )


@cache
def default_model() -> FormModel:
    """Return the model that is part of the package."""
    return read(MODEL)


def read(path: Path) -> FormModel:
    """Read a model that `FormModel.write` wrote."""
    held = json.loads(path.read_text(encoding="utf-8"))
    tables = ("centre", "above", "below")
    return FormModel(
        **{name: tuple(map(tuple, held.pop(name))) for name in tables},
        **{name: tuple(held.pop(name)) for name in ("names", "weights", "languages")},
        **held,
    )


def limit_for(model: FormModel, goal: pl.DataFrame) -> float:
    """Return the limit for a target: the model's, raised until `MOST_OF_A_GOAL` of its examples are over it.

    goal: statistics of the target's training examples.
    """
    scores = np.sort(model.judge(goal)["form_logit"].drop_nulls().to_numpy())[::-1]
    may_fall = int(MOST_OF_A_GOAL * len(goal))
    return max(model.limit, float(scores[may_fall])) if len(scores) > may_fall else model.limit


def fit(good: pl.DataFrame, bad: pl.DataFrame, fitted_on: str, least_of_a_language: float = 0.05) -> FormModel:
    """Fit a model on sound texts and damaged ones.

    good: statistics of `form` and a column `kind`; kinds count alike, and the limit is fitted on kinds that
    were left out. bad: the same of damaged texts, whose kinds count alike, too.
    """
    names = tuple(one for one in good.columns if one not in ("n", "language", "kind", "text"))
    languages = good.filter(pl.col("language") != "none")["language"].value_counts(normalize=True)
    model = FormModel(
        names=names,
        **_spreads(good, names),
        weights=(),
        bias=0.0,
        limit=0.0,
        languages=tuple(
            languages.filter(pl.col("proportion") >= least_of_a_language).sort("language")["language"]
        ),
        fitted_on=fitted_on,
    )
    seen, bad_seen = good.filter(model.seen(good)), bad.filter(model.seen(bad))
    good_parts, bad_parts = model.parts(seen), model.parts(bad_seen)
    kinds, bad_weight = seen["kind"].to_numpy(), _even(bad_seen["kind"].to_numpy())
    weight_n = _even(kinds)
    beta = _newton(good_parts, bad_parts, weight_n, bad_weight)
    held_out = np.zeros(len(seen))
    different = sorted(set(kinds.tolist()))
    for fold in range(min(FOLDS, len(different))):
        out = np.isin(kinds, different[fold::FOLDS])
        part = _newton(good_parts[~out], bad_parts, _even(kinds[~out]), bad_weight, beta)
        held_out[out] = good_parts[out] @ part[:-1] + part[-1]
    order = np.argsort(-held_out, kind="stable")
    limit = held_out[order][int(np.searchsorted(np.cumsum(weight_n[order]), DROPPED))]
    return replace(
        model, weights=tuple(np.round(beta[:-1], 5).tolist()), bias=float(beta[-1]), limit=float(limit)
    )


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


def _newton(
    good: Floats, bad: Floats, good_weight: Floats, bad_weight: Floats, start: Floats | None = None
) -> Floats:
    """Return weights and bias [d + 1] of a logistic regression with a ridge around the prior."""
    x = np.vstack([good, bad])
    x = np.hstack([x, np.ones((len(x), 1))])
    sign = np.r_[-np.ones(len(good)), np.ones(len(bad))]
    weight = np.r_[good_weight, bad_weight] / 2
    size = good.shape[1]
    prior = np.r_[np.zeros(size // 2), np.full(size // 2, PRIOR), 0.0]
    ridge = np.r_[np.full(size, RIDGE), 1e-9]
    beta = prior.copy() if start is None else start.copy()

    def loss(at: Floats) -> float:
        return float(weight @ np.logaddexp(0, -sign * (x @ at)) + 0.5 * ridge @ (at - prior) ** 2)

    now = loss(beta)
    for _ in range(_NEWTON_STEPS):
        wrong = 1 / (1 + np.exp(np.clip(sign * (x @ beta), -50, 50)))
        slope = -x.T @ (weight * sign * wrong) + ridge * (beta - prior)
        curve = (x * (weight * wrong * (1 - wrong))[:, None]).T @ x + np.diag(ridge)
        step, size_of_step = np.linalg.solve(curve, slope), 1.0
        while (after := loss(beta - size_of_step * step)) > now and size_of_step > 1e-4:
            size_of_step /= 2
        beta -= size_of_step * step
        if now - after < 1e-7:
            break
        now = after
    return beta
