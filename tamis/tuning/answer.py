"""The answer in one sentence, with the size of the model and the tokens that it was measured at."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl

from tamis.base.numbers import MISSING, counted, number, percent, significant
from tamis.settings.config import SelectionSection
from tamis.settings.samplers import find_sampler
from tamis.tuning.guard import ERROR_RATE, Difference, Verdict
from tamis.tuning.net import Net
from tamis.tuning.search import RANDOM


class Kind(StrEnum):
    """Kinds of answers: each says to do something else."""

    USE = "use"
    ALIKE = "alike"
    HARMS = "harms"
    NO_GAIN = "no gain"
    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    UNTESTED = "not tested"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Conditions of the measurement: parameters of the model, tokens of a run, the target, the control."""

    parameters: float
    tokens: float
    target: str
    control: str = "control"
    reference: str = "random"

    def __str__(self) -> str:
        return f"at {_short(self.parameters)} parameters and {_short(self.tokens)} tokens"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Kind of the answer, and its sentence."""

    kind: Kind
    sentence: str


def answer(winner: str, verdict: Verdict, net: Net, measured: Measured, alike: Sequence[str] = ()) -> Answer:
    """Return the answer on a winner.

    `alike`: recipes that the search cannot tell from the winner, none of them cheaper, best first.
    A gain that random reaches with less compute than everything took is no gain: choosing does not pay.
    """
    gain = _by("lowers", verdict.goal, measured)
    if not verdict.shipped:
        return Answer(
            kind=Kind.NO_GAIN,
            sentence=(
                f"Choosing does not pay here: {measured}, {winner} is {_verdict(verdict)} "
                f"{measured.reference} on {measured.target} ({_signed(verdict.goal)}){_strictness(verdict)}; "
                f"a difference of {number(verdict.seen)} would have been seen in four cases of five."
            ),
        )
    if verdict.harms and verdict.control is not None:
        return Answer(
            kind=Kind.HARMS,
            sentence=(
                f"{winner} helps the goal and harms the rest: {measured}, it {gain}, and raises that on "
                f"{measured.control} by {_amount(verdict.control)}."
            ),
        )
    if net.net < 1 and net.bound != "at least":
        reach = (
            "at no number of tokens"
            if math.isinf(net.break_even)
            else f"from {_short(net.break_even)} tokens"
        )
        return Answer(
            kind=Kind.NO_GAIN,
            sentence=(
                f"Choosing does not pay here: {measured}, {winner} {gain}, and {measured.reference} reaches "
                f"that loss with {percent(net.net, 0)} of the compute of {winner}, choosing, search and "
                f"guard together; it pays {reach} of training."
            ),
        )
    if alike:
        return Answer(
            kind=Kind.ALIKE,
            sentence=(
                f"{winner} and {alike[0]} cannot be told apart; take {winner}, which costs no more: "
                f"{measured}, it {gain}."
            ),
        )
    return Answer(kind=Kind.USE, sentence=f"Use {winner}: {measured}, it {gain}.")


def gain_of_mixture(difference: Difference, measured: Measured) -> Answer:
    """Return the answer on the recommended mixture, whose reference are the natural shares."""
    pairs = f"in {counted(difference.pairs, 'pair')} of new runs"
    if difference.p_better < ERROR_RATE:
        gain = _by("lowers", difference, measured)
        return Answer(
            kind=Kind.BETTER,
            sentence=f"The recommended mixture is proven better: {measured}, it {gain}, {pairs}.",
        )
    if difference.p_worse < ERROR_RATE:
        loss = _by("raises", difference, measured)
        return Answer(
            kind=Kind.WORSE, sentence=f"The recommended mixture is worse: {measured}, it {loss}, {pairs}."
        )
    return Answer(
        kind=Kind.ALIKE,
        sentence=(
            f"The recommended mixture cannot be distinguished from {measured.reference}: {measured}, its "
            f"loss on {measured.target} differs by {_signed(difference)}, {pairs}."
        ),
    )


def trained_by(answer: Mapping[str, Any], recipes: pl.DataFrame) -> Mapping[str, Any]:
    """Return what to train by: the winner, or random documents with its model where choosing does not pay.

    `answer`, `recipes`: of their tables. Random documents are trained as the guard trained them, unless
    another rate was better for them in the search, which then has both.
    """
    if answer["kind"] != Kind.NO_GAIN:
        return answer
    alike = recipes.filter(pl.col("loss").is_finite(), sampler=RANDOM, model=answer["model"])
    if len(alike.filter(recipe=answer["reference"])):
        return alike.sort("place").row(0, named=True)
    shares = recipes.filter(sampler=RANDOM)["share"].drop_nulls()
    share = answer["share"] or (shares[0] if len(shares) else None)
    random = {"recipe": answer["reference"], "sampler": RANDOM, "share": share, "quality_weight": None}
    return {**answer, **random}


def as_selection(name: str, row: Mapping[str, Any], target: str, quality: str | None) -> SelectionSection:
    """Return the [[selection]] that chooses as a recipe does, from a row of its table; it has a sampler.

    `quality`: the [[score]] that [tune] weighs as quality.
    """
    share = str(row["share"])
    weight = row["quality_weight"]
    return SelectionSection(
        name=name,
        sampler=str(row["sampler"]),
        budget=int(share) if share.isdecimal() else share,
        target=target if find_sampler(str(row["sampler"])).needs_target else None,
        **({} if weight is None else {"quality": quality, "quality_weight": weight}),
    )


def _verdict(verdict: Verdict) -> str:
    """Return what a winner is that did not ship: also one that is worse by its 90 % interval."""
    return "worse than" if verdict.goal.low > 0 else "not proven better than"


def _strictness(verdict: Verdict) -> str:
    """Return why a winner did not ship whose interval is below 0: later looks need more than the interval."""
    if verdict.goal.high >= 0:
        return ""
    level = percent(verdict.level, 2)
    return f", since look {verdict.look} at the same examples asks for a one-sided level of {level}"


def _by(verb: str, difference: Difference, measured: Measured) -> str:
    return f"{verb} the loss on {measured.target} by {_amount(difference)} against {measured.reference}"


def _amount(difference: Difference) -> str:
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return f"{number(abs(difference.mean))} bits per byte (90 % interval: {number(low)} to {number(high)})"


def _signed(difference: Difference) -> str:
    return (
        f"{difference.mean:+.3f} bits per byte, 90 % interval {difference.low:+.3f} to {difference.high:+.3f}"
    )


def _short(value: float) -> str:
    """Return a count in a few characters: 22M, 3M, 150k, 800."""
    if not math.isfinite(value):
        return MISSING
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return significant(value)
