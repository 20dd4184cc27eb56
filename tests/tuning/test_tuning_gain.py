"""The test of a mixture by rows written by hand: pairs, failures, kills, and the mean over targets."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from projects import rows_of

from tamis.selection.pool import training_order
from tamis.settings.config import MixtureSection
from tamis.store.home import Home
from tamis.trainer.batches import DIVERGED, FAILED
from tamis.training import preset_shape
from tamis.training.evaluation import Evaluation
from tamis.training.followed import MeasuredOptions, MeasuredRun, Start
from tamis.tuning.errors import TooFewPairsError
from tamis.tuning.gain import GainSettings, GainTest, gain_of, record_gain_run, targets_alike
from tamis.tuning.guard import Pairs, difference

SEED, RUN_TOKENS = 3, 1_000
SOURCES = {"law": 0.25, "web": 0.75}
CHOSEN = {"law": 0.9, "web": 0.1}
TABLE = "mixture_gain_runs"
LENGTHS = 40 + np.arange(24)


def put(store, table, rows):
    store.append(table, rows_of(table, rows))


@pytest.fixture
def store(tmp_path):
    """A store with two sources of ten documents of 100 tokens each, and both mixtures of them."""
    made = Home(tmp_path / ".tamis").store
    ids = {source: [f"{source}{number:02}" for number in range(10)] for source in SOURCES}
    put(made, "documents", [{"doc_id": one, "text": f"on {one}"} for own in ids.values() for one in own])
    put(
        made,
        "mixture_documents",
        [
            {"source": source, "doc_id": one, "n_tokens": 100, "rank": place + 1}
            for source, own in ids.items()
            for place, one in enumerate(own)
        ],
    )
    put(made, "mixture_sources", [{"source": one, "documents_digest": f"of {one}"} for one in SOURCES])
    shares = {"chosen": CHOSEN, "natural": SOURCES}
    put(made, "mixture_controls", [{"name": name, "shares": json.dumps(own)} for name, own in shares.items()])
    add_examples(made, "goal")
    return made


def add_examples(store, target, count=24):
    rows = [
        {
            "target": target,
            "doc_id": f"{target}{number:02}",
            "text": f"{target} {number}",
            "split": "held_out",
        }
        for number in range(count)
    ]
    put(store, "target_examples", rows)


def settings(*targets, **changed):
    section = MixtureSection(
        target=targets or ("goal",), model="llama-0.3m", run_tokens=RUN_TOKENS, train_tokens=4_000
    )
    return GainSettings(
        section=section.model_copy(update=changed),
        seed=SEED,
        preset="llama-0.3m",
        basis="recipe",
        start=Start(shape=preset_shape("llama-0.3m", 512), model="tokenizer"),
        options=MeasuredOptions(tokens=RUN_TOKENS, evaluations=1),
    )


def evaluation(loss, examples, seed):
    lengths = LENGTHS[:examples]
    bits = lengths * (loss + np.random.default_rng(seed).normal(0, 0.01, examples))
    return Evaluation(
        bits_per_byte=float(bits.sum() / lengths.sum()),
        nats=0.0,
        n_bytes=int(lengths.sum()),
        n_tokens=1,
        document_bits=bits,
        document_bytes=lengths,
    )


def measured(run, batch, loss):
    """Return losses that the pair and the mixture decide."""
    evaluations = {
        name: evaluation(loss, len(texts), [run.options.seed, place])
        for place, (name, texts) in enumerate(batch.measured.items())
    }
    return MeasuredRun(tokens=1_000, epochs=1, steps=1, seconds=2, curve=[], evaluations=evaluations)


def play(store, test, loss, most=None):
    """Record runs as they are planned, `most` at most; return the test and the keys of the runs."""
    keys = []
    while True:
        own = GainTest(store, test)
        batch = own.advance()
        if batch is None:
            return own, keys
        for run in batch.runs:
            if most is not None and len(keys) == most:
                return own, keys
            keys.append(run.key)
            value = loss(run.about["mixture"], run.about["pair"])
            result = value if isinstance(value, str) else measured(run, batch, value)
            record_gain_run(store, run, result)


def by_mixture(chosen, natural, of_pairs=(0.0, 0.01, -0.01, 0.02, 0.0, 0.01)):
    return lambda name, pair: {"chosen": chosen, "natural": natural}[name] + of_pairs[pair]


def test_pairs_share_seeds_that_no_run_of_the_law_had_and_differ_in_the_mixture_alone(store):
    batch = GainTest(store, settings()).advance()
    assert [run.about["mixture"] for run in batch.runs] == ["chosen", "natural"] * 3
    seeds = [run.options.seed for run in batch.runs]
    assert seeds[::2] == seeds[1::2]
    assert len({*seeds, SEED}) == 4
    chosen, natural = batch.runs[:2]
    # Ten documents of law are 1,000 tokens; .9 of a run of 1,000 are nine of them, best first.
    assert [one for one in chosen.doc_ids if one.startswith("law")] == [f"law{n:02}" for n in range(9)]
    assert {one[:3] for one in natural.doc_ids} == {"law", "web"}
    assert chosen.options == natural.options
    assert list(batch.measured) == ["goal"]
    assert len(batch.measured["goal"]) == 24


def test_a_scarce_source_is_repeated_and_its_copies_are_spread(store):
    tokens = 2_000
    batch = GainTest(store, settings(run_tokens=tokens)).advance()
    (run, _natural) = batch.runs[:2]
    counts = Counter(run.order)
    assert sorted(counts) == run.doc_ids
    assert sum(count * 100 for count in counts.values()) == pytest.approx(tokens, abs=100)
    texts = list(run.texts(store))
    assert sorted(texts) == sorted(f"on {one}" for one, count in counts.items() for _ in range(count))
    assert run.order != batch.runs[2].order, "each pair has an order of its own"
    assert counts["law00"] == 2
    rows = pl.DataFrame({"doc_id": sorted(counts), "count": [counts[one] for one in sorted(counts)]})
    assert run.order == training_order(rows, run.options.seed)["doc_id"].to_list(), "copies are spread"


def test_the_difference_is_the_mean_over_pairs_and_a_gain_is_proven(store):
    test, keys = play(store, settings(), by_mixture(2.0, 2.5))
    answer = test.finish()
    rows = {(row["mixture"], row["pair"]): row for row in store.read(TABLE).to_dicts()}
    assert len(keys) == len(set(keys)) == len(rows) == 6
    gaps = [
        (sum(rows["chosen", pair]["example_bits"]) - sum(rows["natural", pair]["example_bits"]))
        / LENGTHS.sum()
        for pair in range(3)
    ]
    assert answer["difference"] == pytest.approx(np.mean(gaps)) == pytest.approx(-0.5)
    assert answer["low"] <= answer["difference"] <= answer["high"] < 0
    assert (answer["kind"], answer["proven"], answer["pairs"], answer["examples"]) == ("better", True, 3, 24)
    for said in ("proven better", "parameters and 1k tokens", "lowers the loss on goal by 0.500", "3 pairs"):
        assert said in answer["sentence"]
    assert store.read("mixture_gain").to_dicts() == [answer]
    assert json.loads(answer["chosen"]) == CHOSEN


@pytest.mark.parametrize(
    ("chosen", "of_pairs", "kind"),
    [
        (2.49, (0.0, 0.2, -0.2), "alike"),
        (2.7, (0.0, 0.001, -0.001), "worse"),
        (2.5, (0.0, 0.0, 0.0), "alike"),
    ],
)
def test_what_the_interval_does_not_exclude_is_not_proven(store, chosen, of_pairs, kind):
    def loss(name, pair):
        return chosen + of_pairs[pair] if name == "chosen" else 2.5

    test, _keys = play(store, settings(), loss)
    answer = test.finish()
    assert (answer["kind"], answer["proven"]) == (kind, False)
    if kind == "alike":
        assert answer["low"] <= 0 <= answer["high"]
        assert "cannot be distinguished from the natural shares" in answer["sentence"]
    else:
        assert "is worse" in answer["sentence"]


def test_targets_count_alike_whatever_their_bytes_and_what_sets_them_apart_is_no_luck(store):
    add_examples(store, "long", 22)
    test, _keys = play(store, settings("goal", "long"), by_mixture(2.0, 2.5))
    answer = test.finish()
    pairs = test.pairs
    means = []
    for pair in pairs:
        of_arm = []
        for row in pair:
            bits, sizes = np.array(row["example_bits"]), np.array(row["example_bytes"])
            goal, other = (bits[part].sum() / sizes[part].sum() for part in (slice(24), slice(24, None)))
            assert row["bits_per_byte"] == pytest.approx((goal + other) / 2)
            of_arm.append((goal + other) / 2)
        means.append(of_arm[0] - of_arm[1])
    assert answer["difference"] == pytest.approx(np.mean(means))
    assert "goal and long on average" in answer["sentence"]
    # One target gains what the other loses: that is certain, so the interval does not widen by it.
    gap = np.repeat([1.0, -1.0], [24, 22])
    for own, _other in pairs:
        own["example_bits"] = list(np.array(own["example_bits"]) + gap * np.array(own["example_bytes"]))
    apart = gain_of(pairs)
    assert apart.mean == pytest.approx(answer["difference"])
    assert apart.high - apart.low == pytest.approx(answer["high"] - answer["low"])


def test_one_target_is_judged_as_the_guard_judges():
    draw = np.random.default_rng(1)
    bytes_d = draw.integers(20, 200, 30).astype(float)
    natural_pd = bytes_d * draw.normal(3, 0.2, (4, 30))
    chosen_pd = natural_pd - bytes_d * draw.normal(0.1, 0.1, (4, 30))
    target_d = np.zeros(30, dtype=int)
    winner_pd, scaled_d = targets_alike(chosen_pd, bytes_d, target_d)
    reference_pd, _scaled_d = targets_alike(natural_pd, bytes_d, target_d)
    own = difference(Pairs(winner_pd=winner_pd, reference_pd=reference_pd, bytes_d=scaled_d))
    plain = difference(Pairs(winner_pd=chosen_pd, reference_pd=natural_pd, bytes_d=bytes_d))
    for name in ("mean", "low", "high", "p_better"):
        assert getattr(own, name) == pytest.approx(getattr(plain, name), rel=1e-9)


def test_the_same_mixture_is_not_trained(store):
    same = [{"name": "chosen", "shares": json.dumps({"web": 0.7500000001, "law": 0.2499999999})}]
    store.merge("mixture_controls", rows_of("mixture_controls", same))
    test = GainTest(store, settings())
    assert test.advance() is None
    answer = test.finish()
    assert (answer["kind"], answer["pairs"], answer["difference"]) == ("same", 0, None)
    assert "natural shares, so there is no gain to test" in answer["sentence"]


def test_too_few_held_out_examples_are_said_and_nothing_is_trained(store):
    add_examples(store, "small", 19)
    test = GainTest(store, settings("goal", "small"))
    assert test.advance() is None
    answer = test.finish()
    assert (answer["kind"], answer["proven"]) == ("not tested", False)
    assert "needs 20 held-out examples that no run trained on, and small has 19" in answer["sentence"]


def test_after_a_kill_none_is_paid_twice_and_a_mixture_that_changes_is_trained(store):
    loss = by_mixture(2.0, 2.5)
    _test, first = play(store, settings(), loss, most=2)
    _test, second = play(store, settings(), loss, most=1)
    test, third = play(store, settings(), loss)
    assert len({*first, *second, *third}) == len(first + second + third) == 6
    test.finish()
    more, added = play(store, settings(pairs=4), loss)
    assert len(added) == 2, "the first three pairs are there"
    more.finish()
    before = store.read("mixture_controls").filter(name="chosen").select("name", "shares").to_dicts()
    changed = [{"name": "chosen", "shares": json.dumps({"law": 0.5, "web": 0.5})}]
    store.merge("mixture_controls", rows_of("mixture_controls", changed))
    test, again = play(store, settings(), loss)
    assert len(again) == 3, "the natural shares are the same"
    test.finish()
    assert store.count(TABLE) == 11, "what was paid for stays"
    store.merge("mixture_controls", rows_of("mixture_controls", before))
    assert play(store, settings(), loss)[1] == [], "so the mixture that returns is not paid again"


def test_another_recipe_example_or_document_is_another_run(store):
    keys = {run.key for run in GainTest(store, settings()).advance().runs}
    other = {run.key for run in GainTest(store, replace(settings(), basis="other")).advance().runs}
    assert keys.isdisjoint(other)
    store.delete("documents", "doc_id = 'law00'")
    withdrawn = GainTest(store, settings()).advance().runs
    assert keys.isdisjoint({run.key for run in withdrawn})
    assert all("law00" not in run.doc_ids for run in withdrawn)
    add_examples(store, "goal2")
    later = {run.key for run in GainTest(store, settings("goal", "goal2")).advance().runs}
    assert later.isdisjoint({run.key for run in withdrawn})


def test_another_pair_takes_the_place_of_a_pair_with_a_failed_run(store):
    usual = by_mixture(2.0, 2.5)

    def loss(name, pair):
        return f"{DIVERGED}: not finite" if (name, pair) == ("natural", 1) else usual(name, pair)

    test, keys = play(store, settings(), loss)
    answer = test.finish()
    assert len(keys) == 8
    assert answer["pairs"] == 3
    failed = store.read(TABLE).filter(mixture="natural", pair=1)
    assert failed["failure"].to_list() == [f"{DIVERGED}: not finite"]
    assert failed["bits_per_byte"].to_list() == [None]


def test_too_few_pairs_are_refused_and_what_failed_is_made_again(store):
    test, keys = play(store, settings(), lambda name, pair: f"{FAILED}: exit code 3" if pair else 2.0)
    assert len(keys) == 12, "twice as many pairs as asked for"
    with pytest.raises(TooFewPairsError, match=r"only 1 pair .* at least 3"):
        test.finish()
    assert store.count(TABLE) == 2, "the failed runs may be made again"
    assert store.count("mixture_gain") == 0
    again, more = play(store, settings(), by_mixture(2.0, 2.5))
    assert len(more) == 4
    assert again.finish()["pairs"] == 3
