"""Net gain from curves whose crossing is known, and the sentence of each kind of answer."""

import math
from dataclasses import replace

import polars as pl
import pytest

from tamis.base.errors import BadArgumentError
from tamis.tuning.answer import Kind, Measured, answer, trained_by
from tamis.tuning.guard import Conditional, Difference, Verdict
from tamis.tuning.net import Net, Spent, net

COMPUTE = [1e12, 2e12, 4e12, 8e12]
LOSS = [4.0, 3.0, 2.0, 1.0]
SPENT = Spent(own=1e12, choosing=1e11, search=2e12, guard=9e11, tokens=1e6)
GAIN = Difference(mean=-0.2, low=-0.3, high=-0.1, p_better=1e-3, p_worse=1.0, pairs=3, examples=40)
VERDICT = Verdict(
    look=1,
    level=0.025,
    goal=GAIN,
    shipped=True,
    conditional=Conditional(mean=-0.15, low=-0.29, high=0.05),
    seen=0.12,
    control=None,
    harms=None,
)
NET = Net(reached=8e12, bound="exact", gross=8.0, net=2.0, break_even=4e5)
MEASURED = Measured(parameters=22e6, tokens=3e6, target="law")


@pytest.mark.parametrize("loss", [3.75, 3.0, 2.5, 1.0])
def test_random_reaches_a_loss_where_its_curve_says(loss):
    """The curve falls by 1 at each doubling, so the compute is that of a formula."""
    worth = net(COMPUTE, LOSS, loss, SPENT)
    reached = 1e12 * 2 ** (4 - loss)
    assert worth.reached == pytest.approx(reached)
    assert worth.bound == "exact"
    assert worth.gross == pytest.approx(reached / 1e12)
    assert worth.net == pytest.approx(reached / 4e12)
    if reached > 1e12:
        # Trained on so many tokens, the winner and random cost the same in all.
        tokens = worth.break_even
        assert 3e12 + tokens * 1e6 == pytest.approx(tokens * 1e6 * worth.gross)


def test_beyond_the_ends_of_the_curve_bounds_are_named():
    beyond = net(COMPUTE, LOSS, 0.5, SPENT)
    assert (beyond.bound, beyond.reached) == ("at least", 8e12)
    worse = net(COMPUTE, LOSS, 4.5, SPENT)
    assert (worse.bound, worse.reached) == ("at most", 1e12)
    assert worse.break_even == math.inf
    assert net(COMPUTE, LOSS, 4.0, SPENT).break_even == math.inf
    spent = Spent(own=20, choosing=1, search=10, guard=9, tokens=1e6)
    seconds = net([10, 20, 40, 80], LOSS, 2.0, spent)
    assert (seconds.reached, seconds.net, seconds.break_even) == pytest.approx((40, 1.0, 1e6))


def test_what_is_no_curve_is_refused():
    for compute, loss, winner in (
        ([], [], 1.0),
        ([2, 1], [1, 2], 1.0),
        ([0, 1], [1, 2], 1.0),
        ([1, 2], [1], 1.0),
        ([1, 2], [1, math.nan], 1.0),
        ([1, 2], [2, 1], math.nan),
    ):
        with pytest.raises(BadArgumentError):
            net(compute, loss, winner, SPENT)
    for field, value in (("own", 0), ("tokens", 0), ("search", -1), ("guard", math.nan)):
        with pytest.raises(BadArgumentError, match=field):
            net(COMPUTE, LOSS, 2.0, replace(SPENT, **{field: value}))


def test_each_kind_of_answer_names_size_and_tokens():
    failed = replace(VERDICT, shipped=False, conditional=None)
    harm = replace(VERDICT, control=replace(GAIN, mean=0.1, low=0.05, high=0.15), harms=True)
    dear = replace(NET, net=0.6, break_even=7e6)
    never = replace(NET, net=0.3, break_even=math.inf)
    answers = {
        Kind.USE: [answer("kNN", VERDICT, NET, MEASURED)],
        Kind.ALIKE: [answer("kNN", VERDICT, NET, MEASURED, ["GOT-D", "DSIR"])],
        Kind.HARMS: [answer("kNN", harm, NET, MEASURED), answer("kNN", harm, dear, MEASURED, ["GOT-D"])],
        Kind.NO_GAIN: [answer("kNN", failed, NET, MEASURED)]
        + [answer("kNN", VERDICT, worth, MEASURED) for worth in (dear, never)],
    }
    for kind, given in answers.items():
        for one in given:
            assert one.kind == kind
            assert "at 22M parameters and 3M tokens" in one.sentence
            assert one.sentence.endswith(".")
            assert one.sentence.count(". ") == 0
    assert answers[Kind.USE][0].sentence == (
        "Use kNN: at 22M parameters and 3M tokens, it lowers the loss on law by 0.200 bits per byte (90 % "
        "interval: 0.100 to 0.300) against random."
    )
    assert "kNN and GOT-D cannot be told apart" in answers[Kind.ALIKE][0].sentence
    assert "raises that on control by 0.100" in answers[Kind.HARMS][0].sentence
    assert "0.120 would have been seen" in answers[Kind.NO_GAIN][0].sentence
    assert "60 % of the compute" in answers[Kind.NO_GAIN][1].sentence
    assert "from 7M tokens" in answers[Kind.NO_GAIN][1].sentence
    assert "at no number of tokens" in answers[Kind.NO_GAIN][2].sentence


def test_what_is_worse_is_said_to_be_worse():
    worse = replace(VERDICT, shipped=False, conditional=None, goal=replace(GAIN, mean=0.2, low=0.1, high=0.3))
    unclear = replace(worse, goal=replace(GAIN, mean=0.2, low=-0.1, high=0.5))
    assert "kNN is worse than random on law (+0.200" in answer("kNN", worse, NET, MEASURED).sentence
    assert "kNN is not proven better than random" in answer("kNN", unclear, NET, MEASURED).sentence


def test_a_later_look_says_why_an_interval_below_zero_is_not_enough():
    later = replace(VERDICT, look=3, level=0.05 / 12, shipped=False, conditional=None)
    assert "since look 3 at the same examples asks for a one-sided level of 0.42 %" in (
        answer("kNN", later, NET, MEASURED).sentence
    )


def test_a_gain_beyond_the_end_of_the_curve_is_not_said_to_cost_more():
    beyond = replace(NET, bound="at least", net=0.4)
    assert answer("kNN", VERDICT, beyond, MEASURED).kind == Kind.USE


def test_random_is_trained_as_the_guard_trained_it_unless_the_search_knows_better():
    def random(name: str, rate: float, place: int) -> dict:
        return {"recipe": name, "sampler": "random", "share": "10%", "quality_weight": None} | {
            "model": "small", "learning_rate": rate, "place": place, "loss": 2.0 + place
        }  # fmt: skip

    row = {"recipe": "knn, rate 0.01", "reference": "random, rate 0.01", "kind": "no gain"} | {
        "sampler": "knn", "share": "10%", "quality_weight": None, "model": "small", "learning_rate": 0.01
    }  # fmt: skip
    worse, own = random("random, rate 0.001", 0.001, 2), random("random, rate 0.01", 0.01, 3)
    for searched, rate in (([worse], 0.01), ([worse, own], 0.001), ([own | {"place": 1}, worse], 0.01)):
        trained = trained_by(row, pl.DataFrame(searched))
        assert (trained["sampler"], trained["learning_rate"]) == ("random", rate)
    assert trained_by(row | {"kind": "use"}, pl.DataFrame([worse]))["sampler"] == "knn"
