"""What is run of a mixture: a first swarm, what each kind of change asks for, and what cannot be planned."""

import zlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tamis.mixture.analysis import agreement, by_distance
from tamis.mixture.sources import compare_source, digests_of, drawn_from, sources_now
from tamis.mixture.swarm import (
    VIRTUAL,
    ImpossibleRepetitionError,
    Source,
    SwarmOptions,
    TooFewPlannedRunsError,
    TooFewSourcesError,
    named_run,
    plan_swarm,
    spread_over_ranks,
)

NAMES = tuple("abcdefgh")
OPTIONS = SwarmOptions(preset="llama-0.3m", run_tokens=1_000, train_tokens=8_000, recipe="r")


def sources(*names, tokens=1_000, **changes):
    return [
        Source(
            name=name,
            documents=10,
            tokens=tokens,
            documents_digest=f"digest of {name}",
            change=changes.get(name, "unchanged"),
        )
        for name in names
    ]


def first(*names):
    return plan_swarm(sources(*names, **dict.fromkeys(names, "first")), OPTIONS)


EIGHT = first(*NAMES)
CHOSEN = {name: place + 1.0 for place, name in enumerate(NAMES)}


def test_a_first_swarm_has_three_runs_for_each_source_and_three_more_twelve_at_least():
    assert len(EIGHT.current) == 27
    assert len(first("a", "b").current) == 12
    for run in EIGHT.current:
        assert sum(run.weights.values()) == pytest.approx(1, abs=1e-4)
    assert EIGHT.part_weights.shape == (27, 8)


@pytest.mark.parametrize(
    ("now", "new_runs"),
    [
        (sources(*NAMES), 0),
        (sources(*NAMES, a="grown", tokens=2_000), 0),
        ([*sources(*NAMES[1:]), replace(sources("a", a="removed")[0], tokens=0, documents=0)], 0),
        (sources(*NAMES, "i", i="added"), 9),
        (sources(*NAMES, a="revised"), 9),
        (sources(*NAMES, "i", a="revised", i="added"), 12),
    ],
    ids=["unchanged", "grown", "removed", "added", "revised", "both"],
)
def test_a_change_asks_for_no_more_runs_than_it_touches(now, new_runs):
    plan = plan_swarm(now, OPTIONS, EIGHT, CHOSEN)
    trained = plan.proxies.keys() - EIGHT.proxies.keys()
    assert new_runs - 1 <= len(trained) <= new_runs  # a mixture without the source may have been run before
    assert set(EIGHT.proxies) <= set(plan.proxies), "runs that were paid for are kept"
    if new_runs:
        assert len(plan.current) == new_runs
        assert trained == {run.name for run in plan.current} - EIGHT.proxies.keys()
        ratio = plan.parts[VIRTUAL]
        assert ratio["h"] / ratio["b"] == pytest.approx(CHOSEN["h"] / CHOSEN["b"])
        for run in (run for run in plan.current if run.parts[VIRTUAL] > 0.01):
            assert run.weights["h"] / run.weights["b"] == pytest.approx(4, rel=0.01)
    assert not any(EIGHT.wants(run.name) != plan.wants(run.name) for run in EIGHT.current) or new_runs


def test_other_recipes_repetition_or_no_mixture_begin_again():
    for options in (replace(OPTIONS, recipe="other"), replace(OPTIONS, train_tokens=16_000)):
        again = plan_swarm(sources(*NAMES), options, EIGHT, CHOSEN)
        assert again.generation == 1
        assert len(again.parts) == 8
    assert plan_swarm(sources(*NAMES), replace(OPTIONS, train_tokens=10_000), EIGHT, CHOSEN) is EIGHT
    unfinished = plan_swarm(sources(*NAMES, "i", i="added"), OPTIONS, EIGHT, None)
    assert VIRTUAL not in unfinished.parts
    assert len(unfinished.current) == 30


def test_more_runs_are_added_to_those_that_are_there():
    more = plan_swarm(sources(*NAMES), replace(OPTIONS, runs=33), EIGHT, CHOSEN)
    assert len(more.current) == 33
    assert set(EIGHT.proxies) < set(more.proxies)


def test_what_cannot_be_planned_says_what_would_do():
    with pytest.raises(TooFewSourcesError, match="sources without such documents: b"):
        plan_swarm([*sources("a"), replace(sources("b")[0], tokens=0)], OPTIONS)
    with pytest.raises(TooFewPlannedRunsError, match=r"needs at least 10 runs; .* the default of 27"):
        plan_swarm(sources(*NAMES, **dict.fromkeys(NAMES, "first")), replace(OPTIONS, runs=9))
    with pytest.raises(ImpossibleRepetitionError, match=r"5 passes over the 8,000 tokens.*32,000 or less"):
        plan_swarm(sources(*NAMES), replace(OPTIONS, train_tokens=40_000))


def test_a_source_without_documents_is_left_out():
    plan = plan_swarm([*sources("a", "b", a="first", b="first"), replace(sources("c")[0], tokens=0)], OPTIONS)
    assert [*plan.parts] == ["a", "b"]


def test_weights_of_parts_and_of_sources_are_the_same_mixture():
    plan = plan_swarm(sources(*NAMES, "i", i="added"), OPTIONS, EIGHT, CHOSEN)
    tokens = dict.fromkeys((*NAMES, "i"), 1_000)
    by_source = plan.expanded([0.25, 0.75], tokens)
    assert by_source["i"] == pytest.approx(0.75)
    assert by_source["h"] == pytest.approx(0.25 * 8 / 36)
    assert plan.collapsed(by_source) == pytest.approx([0.25, 0.75])
    assert plan.available(tokens) == pytest.approx([1_000 * 36 / 8, 1_000])
    without = plan.expanded([0.25, 0.75], tokens | {"h": 0})
    assert sum(without.values()) == pytest.approx(1)
    assert without["g"] == pytest.approx(0.25 * 7 / 28)


def frame(source, count, prefix="", tokens=100):
    ids = [f"{prefix}{number:04}" for number in range(count)]
    return pl.DataFrame(
        {
            "source": source,
            "doc_id": ids,
            "n_tokens": tokens,
            "is_estimated": True,
            "rank": range(1, count + 1),
        }
    )


def test_runs_draw_from_nested_parts_of_every_source():
    usable = pl.concat([frame("a", 200, "a"), frame("b", 50, "b")])
    smaller, larger = (
        drawn_from(usable, share, 0).filter(pl.col("rank").is_not_null()) for share in (0.1, 0.3)
    )
    assert set(smaller["doc_id"]) < set(larger["doc_id"])
    for source, count in (("a", 20), ("b", 5)):
        assert len(smaller.filter(source=source)) == count
    assert len(drawn_from(usable, 1.0, 0).filter(pl.col("rank").is_not_null())) == 250
    assert len(drawn_from(frame("c", 3, "c"), 0.001, 0).filter(pl.col("rank").is_not_null())) == 1


def vectors_of(ids):
    """Ids that begin with x are of another kind."""
    rows = []
    for doc_id in ids:
        random = np.random.default_rng(zlib.crc32(doc_id.encode()))
        rows.append(random.normal(size=8) + 4.0 * doc_id.startswith("x"))
    return np.array(rows)


def test_a_source_that_doubles_has_grown_and_one_of_another_kind_is_revised():
    before = frame("a", 100, "o")
    same, other = (pl.concat([before, frame("a", 100, prefix)]) for prefix in ("n", "x"))
    assert compare_source(before, same, vectors_of, 0).change == "grown"
    found = compare_source(before, other, vectors_of, 0)
    assert found.change == "revised"
    assert 0.3 < found.changed <= 0.5
    assert compare_source(before, before, vectors_of, 0).change == "unchanged"
    assert compare_source(before, before.head(95), vectors_of, 0).change == "unchanged"
    assert compare_source(before, before.head(85), vectors_of, 0).change == "revised"


def test_sources_that_did_not_change_keep_the_documents_that_runs_were_trained_on():
    before = drawn_from(pl.concat([frame("a", 100, "a"), frame("b", 60, "b")]), 0.5, 0)
    usable = pl.concat([frame("a", 100, "a"), frame("a", 100, "n"), frame("b", 60, "y")])
    now, drawn = sources_now(drawn_from(usable, 0.5, 0), before, vectors_of, 0, digests_of(before))
    changes = {source.name: source.change for source in now}
    assert changes == {"a": "grown", "b": "revised"}
    digests = digests_of(drawn)
    assert digests["a"] == digests_of(before)["a"]
    assert digests["b"] != digests_of(before)["b"]
    assert {source.name: source.tokens for source in now} == {"a": 20_000, "b": 6_000}


def test_shares_by_distance_favour_what_is_near_and_need_every_distance():
    near = by_distance({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 3.0})
    assert near is not None
    assert near["a"] > 0.8
    assert by_distance({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": None}) is None


def test_the_runs_that_validate_are_spread_over_all_ranks():
    names = [f"run {number}" for number in range(27)]
    chosen = spread_over_ranks(names, np.arange(27)[::-1].astype(float), 12)
    assert (chosen[0], chosen[-1], len(chosen)) == ("run 26", "run 0", 12)
    assert spread_over_ranks(names[:5], np.arange(5.0), 12) == names[:5]


@pytest.mark.parametrize(("order", "low", "high"), [(1, 0.99, 1.0), (-1, -1.0, -0.99)])
def test_agreement_is_the_rank_correlation_of_the_two_sizes(order, low, high):
    swarm = first("a", "b", "c")
    runs = swarm.current
    larger = [
        named_run("llama-0.8m", run.tokens, run.weights, run.parts, run.documents, 0) for run in runs[:12]
    ]
    both = replace(
        swarm, larger={run.name: run for run in larger}, larger_wanted=frozenset(run.name for run in larger)
    )
    losses = [(run.name, "goal", float(place)) for place, run in enumerate(runs)]
    losses += [(run.name, "goal", float(order * place)) for place, run in enumerate(larger)]
    schema = ["run", "target", "bits_per_byte"]
    found = agreement(both, pl.DataFrame(losses, schema, orient="row"), ["goal"], 0)
    assert found is not None
    assert low <= found.correlation <= high
    assert found.low <= found.correlation <= found.high
    assert agreement(both, pl.DataFrame(losses[:12], schema, orient="row"), ["goal"], 0) is None
