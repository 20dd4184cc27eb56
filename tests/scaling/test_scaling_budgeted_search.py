"""The search: what it may spend, what it remembers, and that a replayed search is the same search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.scaling import BudgetedSearch
from tamis.scaling.schedule import counts, rungs

SIZES = [100 * 2**i for i in range(8)]
NAN = float("nan")


def losses_of(models, seed=0):
    """A table of losses: curves that cross, so that small sizes mislead."""
    rng = np.random.default_rng(seed)
    table = {}
    for model in models:
        slope, level = rng.uniform(0.02, 0.12), rng.uniform(2, 3)
        for size in SIZES:
            table[model, size] = float(level * (size / 100) ** -slope * np.exp(0.002 * rng.normal()))
    return table


def run_to_the_end(search, table, stop_after=10**9):
    """Answer every ask from the table; returns what was reported, in order."""
    reported = []
    while runs := search.ask():
        for model, size in runs:
            if len(reported) == stop_after:
                return reported
            reported.append((model, size, table[model, size]))
            search.tell(*reported[-1])
    return reported


def models_and_costs(m):
    models = [f"m{i}" for i in range(m)]
    return models, {model: 1.0 + (i % 3) for i, model in enumerate(models)}


@settings(max_examples=20, deadline=None)
@given(m=st.integers(1, 9), share=st.floats(0.005, 1.5), seed=st.integers(0, 99), failing=st.floats(0, 0.4))
def test_the_budget_is_never_passed_and_costs_count_once(m, share, seed, failing):
    models, costs = models_and_costs(m)
    search = BudgetedSearch(models, SIZES, costs, share, seed)
    rng, seen, full = np.random.default_rng(seed), set(), sum(costs.values()) * SIZES[-1]
    assert search.spent_share == 0
    while runs := search.ask():
        assert not seen & set(runs)
        assert len(runs) == len(set(runs))
        seen |= set(runs)
        expected = sum(costs[model] * size for model, size in seen) / full
        assert search.spent_share == pytest.approx(expected)
        assert search.spent_share <= share * (1 + 1e-6)
        assert search.ask() == runs
        assert search.spent_share == pytest.approx(expected)
        for model, size in runs:
            search.tell(model, size, NAN if rng.random() < failing else rng.uniform(1, 3))
    assert search.ask() == []


@settings(max_examples=12, deadline=None)
@given(stop=st.integers(0, 60), share=st.sampled_from([0.1, 0.3, 0.8]), shuffle=st.integers(0, 99))
def test_replaying_tell_rebuilds_the_state(stop, share, shuffle):
    models, costs = models_and_costs(6)
    table = losses_of(models)
    undisturbed = BudgetedSearch(models, SIZES, costs, share, 5)
    run_to_the_end(undisturbed, table)
    first = BudgetedSearch(models, SIZES, costs, share, 5)
    reported = run_to_the_end(first, table, stop)
    second = BudgetedSearch(models, SIZES, costs, share, 5)
    for place in np.random.default_rng(shuffle).permutation(len(reported)):
        second.tell(*reported[place])
    assert second.choice == first.choice
    assert second.ask() == first.ask()
    assert second.spent_share == pytest.approx(first.spent_share)
    run_to_the_end(second, table)
    assert (second.choice, second.spent_share) == (undisturbed.choice, pytest.approx(undisturbed.spent_share))


COSTS = {f"m{i}": 1.0 + (i % 3) for i in range(5)}
RUN = st.tuples(st.sampled_from([*COSTS]), st.sampled_from([*SIZES, 150, 2 * SIZES[-1]]))
LOSS = st.one_of(st.just(NAN), st.floats(1, 3))
REPORTED = st.dictionaries(RUN, LOSS, max_size=30)
SHARES = st.floats(0.005, 1.2)


def report_all(reported, share, order=0):
    search = BudgetedSearch([*COSTS], SIZES, COSTS, share, 7)
    for place in np.random.default_rng(order).permutation(len(reported)):
        (model, size), loss = list(reported.items())[place]
        search.tell(model, size, loss)
    return search


@settings(max_examples=150, deadline=None)
@given(reported=REPORTED, share=SHARES, order=st.integers(1, 99), peeks=st.integers(0, 3))
def test_the_state_depends_on_what_was_reported_and_not_on_its_order(reported, share, order, peeks):
    first, second = report_all(reported, share), BudgetedSearch([*COSTS], SIZES, COSTS, share, 7)
    for step, place in enumerate(np.random.default_rng(order).permutation(len(reported))):
        if peeks and step % peeks == 0:  # asking on the way changes nothing either
            second.ask()
        (model, size), loss = list(reported.items())[place]
        second.tell(model, size, loss)
    assert (first.choice, first.round_begun, first.ask()) == (second.choice, second.round_begun, second.ask())
    assert first.spent_share == second.spent_share


@settings(max_examples=150, deadline=None)
@given(
    reported=REPORTED, share=SHARES, losses=st.lists(LOSS, min_size=1, max_size=12), seed=st.integers(0, 99)
)
def test_what_is_asked_next_to_unasked_runs_is_affordable_and_stays_open_until_reported(
    reported, share, losses, seed
):
    search, full = report_all(reported, share), sum(COSTS.values()) * SIZES[-1]
    rng, known = np.random.default_rng(seed), set(reported)
    spent = sum(COSTS[model] * size for model, size in known) / full
    assert search.spent_share == pytest.approx(spent)
    for loss in losses:
        runs = search.ask()
        assert runs == search.ask()
        assert not known & set(runs)
        if not runs:
            break
        spent = sum(COSTS[model] * size for model, size in known | set(runs)) / full
        assert search.spent_share == pytest.approx(spent)
        assert spent <= share * (1 + 1e-6)
        place = int(rng.integers(len(runs)))
        search.tell(*runs[place], loss)
        known.add(runs.pop(place))
        assert search.ask() == runs or not runs


@settings(max_examples=40, deadline=None)
@given(
    shares=st.tuples(st.floats(0.02, 0.5), st.floats(0.02, 1.0)),
    stop=st.integers(0, 40),
    seed=st.integers(0, 9),
)
def test_a_raised_share_goes_on_with_what_is_affordable_now(shares, stop, seed):
    table = losses_of(COSTS, seed)
    small = BudgetedSearch([*COSTS], SIZES, COSTS, shares[0], 7)
    reported = run_to_the_end(small, table, stop)
    later = report_all({(model, size): loss for model, size, loss in reported}, sum(shares))
    assert later.spent_share <= small.spent_share + 1e-12
    more = run_to_the_end(later, table)
    assert later.spent_share <= sum(shares) * (1 + 1e-6)
    assert not {run[:2] for run in reported} & {run[:2] for run in more}
    if sum(shares) >= 1 + shares[0]:  # enough for every model in full, next to what was run before
        done = {run[:2] for run in [*reported, *more]}
        assert {(model, SIZES[-1]) for model in COSTS} <= done
        assert later.choice == min(COSTS, key=lambda model: table[model, SIZES[-1]])


def test_a_spent_search_whose_share_is_raised_asks_again():
    table = losses_of(COSTS, 1)
    search = BudgetedSearch([*COSTS], SIZES, COSTS, 0.1)
    reported = run_to_the_end(search, table)
    assert search.ask() == []
    more = report_all({(model, size): loss for model, size, loss in reported}, 0.4)
    assert more.ask()
    run_to_the_end(more, table)
    assert 0.2 < more.spent_share <= 0.4 * (1 + 1e-6)


@settings(max_examples=60, deadline=None)
@given(
    costs=st.lists(st.floats(0.1, 50), min_size=1, max_size=8), ratio=st.floats(1.2, 5), n=st.integers(1, 7)
)
def test_the_least_share_buys_every_model_a_run_and_less_does_not(costs, ratio, n):
    models, sizes = [f"m{i}" for i in range(len(costs))], [30 * ratio**i for i in range(n)]
    prices = dict(zip(models, costs, strict=True))
    least = BudgetedSearch(models, sizes, prices, 1.0).least_share
    assert {model for model, _size in BudgetedSearch(models, sizes, prices, least).ask()} == set(models)
    asked = BudgetedSearch(models, sizes, prices, 0.999 * least).ask()
    assert {model for model, _size in asked} < set(models)


def test_open_runs_are_returned_until_reported():
    models, costs = models_and_costs(3)
    search = BudgetedSearch(models, SIZES, costs, 0.3)
    runs = search.ask()
    search.tell(*runs[0], 2.0)
    assert search.ask() == runs[1:]


def test_a_run_that_was_not_asked_is_charged_and_leaves_less():
    models, costs = models_and_costs(6)
    table, search = losses_of(models), BudgetedSearch(models, SIZES, costs, 0.3)
    search.tell("m2", SIZES[-1], 1.5)
    full = sum(costs.values()) * SIZES[-1]
    assert search.spent_share == pytest.approx(costs["m2"] * SIZES[-1] / full)
    search.tell("m2", SIZES[-1], 1.4)
    assert search.spent_share == pytest.approx(costs["m2"] * SIZES[-1] / full)
    run_to_the_end(search, table)
    assert search.spent_share <= 0.3 * (1 + 1e-6)


def test_told_beyond_the_budget_ends_the_search():
    search = BudgetedSearch(["a", "b"], SIZES, {"a": 1, "b": 1}, 0.3)
    search.tell("a", SIZES[-1], 1.0)
    assert search.spent_share == pytest.approx(0.5)
    assert search.ask() == []
    assert search.choice == "a"


def test_a_crossing_winner_is_found_where_plain_losses_mislead():
    models = [f"m{i}" for i in range(8)]
    slopes = {model: 0.02 + 0.012 * i for i, model in enumerate(models)}
    # The steepest curve starts worst and ends best.
    table = {
        (model, size): (2 + 0.08 * i) * (size / 100) ** -slopes[model]
        for i, model in enumerate(models)
        for size in SIZES
    }
    assert min(models, key=lambda model: table[model, SIZES[0]]) == "m0"
    assert min(models, key=lambda model: table[model, SIZES[-1]]) == "m7"
    search = BudgetedSearch(models, SIZES, dict.fromkeys(models, 1.0), 0.3)
    run_to_the_end(search, table)
    assert search.choice == "m7"


def test_with_the_whole_budget_every_model_runs_in_full():
    models, costs = models_and_costs(5)
    table, search = losses_of(models, 3), BudgetedSearch(models, SIZES, costs, 1.0)
    reported = run_to_the_end(search, table)
    assert {(model, size) for model, size, _loss in reported} == {(model, SIZES[-1]) for model in models}
    assert search.choice == min(models, key=lambda model: table[model, SIZES[-1]])
    assert search.spent_share == pytest.approx(1.0)


def test_a_tiny_budget_tries_the_cheapest_models():
    costs = {"dear": 10.0, "cheap": 1.0, "middle": 3.0}
    share = 4.5 * SIZES[0] / (14.0 * SIZES[-1])
    search = BudgetedSearch(list(costs), SIZES, costs, share)
    assert search.ask() == [("cheap", SIZES[0]), ("middle", SIZES[0])]
    assert BudgetedSearch(list(costs), SIZES, costs, 1e-9).ask() == []


def test_failed_models_are_not_chosen():
    models, costs = models_and_costs(4)
    table = losses_of(models)
    for model, size in table:
        if model in ("m0", "m1", "m2"):
            table[model, size] = NAN
    search = BudgetedSearch(models, SIZES, costs, 0.6)
    assert search.choice is None
    run_to_the_end(search, table)
    assert search.choice == "m3"
    all_failed = BudgetedSearch(models, SIZES, costs, 0.6)
    run_to_the_end(all_failed, dict.fromkeys(table, NAN))
    assert all_failed.choice is None


def test_ties_are_broken_by_the_seed_not_by_the_order():
    table = {(model, size): 2.0 for model in "abcdef" for size in SIZES}
    chosen = set()
    for seed in range(12):
        picks = set()
        for models in ("abcdef", "fedcba"):
            search = BudgetedSearch(list(models), SIZES, dict.fromkeys(models, 1.0), 0.2, seed)
            run_to_the_end(search, table)
            picks.add(search.choice)
        assert len(picks) == 1
        chosen |= picks
    assert len(chosen) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], SIZES, {}, 0.1), "models"),
        ((["a", "a"], SIZES, {"a": 1}, 0.1), "models"),
        ((["a"], [], {"a": 1}, 0.1), "sizes"),
        ((["a"], [0, 100], {"a": 1}, 0.1), "sizes"),
        ((["a"], SIZES, {}, 0.1), r"cost_per_example\['a'\] = 'missing'"),
        ((["a"], SIZES, {"a": 0}, 0.1), "cost_per_example"),
        ((["a"], SIZES, {"a": 1}, 0), "budget_share"),
        ((["a"], SIZES, {"a": 1}, NAN), "budget_share"),
        ((["a"], SIZES, {"a": 1}, ".3"), "budget_share"),
        ((["a"], ["100"], {"a": 1}, 0.1), "sizes"),
        ((["a"], [10**400], {"a": 1}, 0.1), "sizes"),
        ((["a"], SIZES, {"a": "1"}, 0.1), "cost_per_example"),
        ((["a"], [1e300], {"a": 1e300}, 0.1), "sum is finite"),
    ],
)
def test_wrong_settings_name_themselves(arguments, message):
    with pytest.raises(ValueError, match=message):
        BudgetedSearch(*arguments)


def test_wrong_tells_name_themselves():
    search = BudgetedSearch(["a"], SIZES, {"a": 1}, 0.5)
    with pytest.raises(ValueError, match="unknown model 'b'"):
        search.tell("b", 100, 1.0)
    with pytest.raises(ValueError, match="size = 0"):
        search.tell("a", 0, 1.0)
    with pytest.raises(ValueError, match="loss = 'low'"):
        search.tell("a", 100, "low")
    assert search.spent_share == 0.0


@given(models=st.integers(2, 60), left=st.integers(1, 10), rounds=st.integers(1, 12))
def test_thinning_is_monotone_and_ends_where_it_should(models, left, rounds):
    plan = counts(models, min(left, models), rounds)
    assert plan == sorted(plan, reverse=True)
    assert plan[-1] == min(left, models)
    assert plan[0] <= models


@given(ratio=st.floats(1.1, 12), n=st.integers(2, 16), data=st.data())
def test_rounds_quadruple_the_data_as_nearly_as_the_sizes_allow(ratio, n, data):
    sizes = 50 * ratio ** np.arange(n, dtype=float)
    at = data.draw(st.integers(0, n - 2))
    end = data.draw(st.integers(at + 1, n - 1))
    steps = rungs(sizes, at, end)
    assert steps == sorted(set(steps))
    assert steps[0] > at
    assert steps[-1] == end
    growth = sizes[steps[1:]] / sizes[steps[:-1]]
    assert (np.abs(np.log(growth / 4)) <= max(np.log(ratio) / 2, np.log(ratio / 4)) + 1e-6).all()


def test_halvings_are_skipped_every_other_time():
    assert rungs(np.array(SIZES, dtype=float), 1, 7) == [3, 5, 7]
    assert rungs(np.array(SIZES, dtype=float), 2, 7) == [3, 5, 7]


@pytest.mark.parametrize("models", [2, 3, 12])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.4, 0.7])
def test_the_next_share_buys_more_than_a_spent_one(models, share):
    names = [f"m{place}" for place in range(models)]
    sizes = [6, 12, 25, 50, 100, 200]
    costs = {name: 1.0 + place % 3 for place, name in enumerate(names)}
    search = BudgetedSearch(names, sizes, costs, share)
    while runs := search.ask():
        for model, size in runs:
            search.tell(model, size, (1 + names.index(model) / 10) * size**-0.2)
    found = search.next_share()
    assert found is not None
    assert share < found <= 1.0
    assert float(f"{found:.3g}") == pytest.approx(found)
    again = BudgetedSearch(names, sizes, costs, found)
    for model in names:
        for size, loss in zip(*search._curve(model), strict=True):
            again.tell(model, size, loss)
    assert again.ask()
    assert again.spent_share <= found + 1e-9
