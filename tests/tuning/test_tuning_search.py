"""The search: what it may spend, remembers and keeps, and its fit against other ways to compute it."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from tamis.base.errors import BadArgumentError
from tamis.tuning.errors import BudgetTooSmallError, RecipesError, UnknownRecipeError
from tamis.tuning.search import MOST_SEEDS, SEEDS, SHARES, Asked, Recipe, Search, sub_pool

NAN = float("nan")
FIXED = ("random", "got-d", "knn", "none")


def recipes(free=8, flop=100.0):
    return [Recipe(name=name, flop=flop, fixed=True) for name in FIXED] + [
        Recipe(name=f"free {i}", flop=flop) for i in range(free)
    ]


def truth_of(search, seed=0, spread=0.5):
    """A loss for any run: effect of the recipe, of seed and share, and noise, whoever asks and when."""
    draw = np.random.default_rng(seed)
    effect = {name: spread * draw.normal() for name in sorted(search)}

    def loss(run: Asked) -> float:
        own = np.random.default_rng([seed, sum(map(ord, run.recipe)), run.seed, int(64 * run.share)])
        common = np.random.default_rng([seed, run.seed, int(64 * run.share)])
        return effect[run.recipe] + float(common.normal()) + 0.2 * float(own.normal())

    return loss, effect


def run_to_the_end(search, loss):
    """Answer every ask; returns the runs in order."""
    runs = []
    while asked := search.ask():
        for run in asked:
            search.tell(*run, loss(run))
            runs.append(run)
        assert len(runs) < 5_000
    return runs


@settings(max_examples=25, deadline=None)
@given(
    free=st.integers(0, 20),
    budget=st.floats(700, 30_000),
    seed=st.integers(0, 99),
    failing=st.sampled_from([0, 0.5, 1]),
    dearer=st.floats(0.5, 2),
)
def test_the_budget_holds_all_runs_and_the_guard_whatever_runs_cost(free, budget, seed, failing, dearer):
    given_recipes = [
        Recipe(name=recipe.name, flop=50.0 + 10 * (i % 6), fixed=recipe.fixed)
        for i, recipe in enumerate(recipes(free))
    ]
    search = Search(given_recipes, budget, seed=seed)
    dearest = max(recipe.flop for recipe in given_recipes[1:])
    assert search.reserved == pytest.approx(3 * (dearest + 50.0))
    draw, flop, spent = np.random.default_rng(seed), {r.name: r.flop for r in given_recipes}, 0.0
    seen = set()
    while asked := search.ask():
        assert search.ask() == asked
        assert not seen & set(asked)
        # Run by run, as one trainer would: each is asked for again while the budget lasts.
        for run in asked:
            if run not in search.ask():
                continue
            cost = run.share * flop[run.recipe]
            assert spent + cost + search.reserved <= budget * (1 + 1e-6)
            cost *= dearer
            spent += cost
            seen.add(run)
            search.tell(*run, NAN if draw.random() < failing else float(draw.normal()), cost)
    assert search.spent == pytest.approx(spent)
    assert (search.choice is None) == (failing == 1)


def test_rounds_halve_the_free_recipes_and_keep_the_fixed_ones_to_the_end():
    search = Search(recipes(), 12_000)
    loss, effect = truth_of([recipe.name for recipe in recipes()], spread=0.1)
    rounds = []
    while asked := search.ask():
        rounds.append(asked)
        for run in asked:
            search.tell(*run, loss(run))
    kept = [{run.recipe for run in asked} for asked in rounds]
    assert [len(names - set(FIXED)) for names in kept] == [8, 4, 2]
    assert all(set(FIXED) <= names for names in kept)
    assert all(len({run.seed for run in asked}) >= SEEDS for asked in rounds)
    for asked in rounds:  # in pairs: all recipes of a round run the same seeds
        assert len(asked) == len({run.recipe for run in asked}) * len({run.seed for run in asked})
    assert search.choice in sorted(set(effect) - {"random"}, key=effect.get)[:2]


def test_at_the_last_size_recipes_that_are_proven_worse_are_dropped_at_once_and_else_not():
    """One recipe is better than all others by twenty deviations; the others are equal."""
    for budget, left in ((12_000, 1), (3_000, 2)):
        search = Search(recipes(), budget)
        draw = np.random.default_rng(0)
        runs = run_to_the_end(search, lambda run, d=draw: 0.1 * d.normal() - 2 * (run.recipe == "free 2"))
        assert (search.shares[0] == 1.0) == (left == 1)
        assert len({run.recipe for run in runs if run.seed == runs[-1].seed} - set(FIXED)) == left
        assert search.choice == "free 2"


def test_what_a_run_costs_changes_later_rounds_and_not_its_own():
    """Each run takes half of what was expected."""
    search = Search(recipes(), 12_000)
    asked = search.ask()
    for place, run in enumerate(asked):
        search.tell(*run, float(place % 5), 0.5 * run.share * 100)
        assert search.ask() == asked[place + 1 :] or place == len(asked) - 1
    expected = Search(recipes(), 12_000)
    for place, run in enumerate(asked):
        expected.tell(*run, float(place % 5))
    assert len({run.seed for run in search.ask()}) > len({run.seed for run in expected.ask()})


@pytest.mark.parametrize("failing", [0.0, 0.5])
def test_a_search_is_rebuilt_from_its_tells_in_any_order(failing):
    search = Search(recipes(), 3_000)
    loss, _ = truth_of([recipe.name for recipe in recipes()])
    draw, told = np.random.default_rng(1), []
    while asked := search.ask():
        for run in asked:
            told.append((*run, NAN if draw.random() < failing else loss(run)))
            search.tell(*told[-1])
            if len(told) % 17 == 0:
                other = Search(recipes(), 3_000)
                for place in draw.permutation(len(told)):
                    other.tell(*told[place])
                assert other.ask() == search.ask()
                assert repr(other.standings) == repr(search.standings)
                assert other.choice == search.choice


@pytest.mark.parametrize("seed", range(6))
def test_trainers_that_fail_half_of_the_time_hang_nothing_and_seeds_mislead_no_one(seed):
    """Seeds move losses by five times what recipes do, so means over unlike seeds would rank by luck."""
    search = Search(recipes(), 20_000, seed=seed)
    names = [recipe.name for recipe in recipes()]
    draw = np.random.default_rng(seed)
    loss, effect = truth_of(names, seed, spread=0.2)
    common = {}

    def failing(run):
        moved = common.setdefault((run.seed, run.share), 5 * draw.normal())
        return NAN if draw.random() < 0.5 else loss(run) / 5 + moved

    runs = run_to_the_end(search, failing)
    order = sorted(set(effect) - {"random"}, key=effect.get)
    assert search.choice in order[:3]
    assert sum(one.failed for one in search.standings) > len(runs) / 4


def test_a_recipe_that_always_fails_is_given_up():
    search = Search(recipes(), 60_000)
    loss, _ = truth_of([recipe.name for recipe in recipes()])
    runs = run_to_the_end(search, lambda run: NAN if run.recipe == "free 3" else loss(run))
    assert sum(run.recipe == "free 3" for run in runs) <= 2 * MOST_SEEDS
    standing = next(one for one in search.standings if one.recipe == "free 3")
    assert math.isnan(standing.loss)
    assert standing.best == 0
    assert standing.failed == standing.runs > 0


def test_the_last_round_is_at_the_largest_size_that_the_budget_pays_for():
    by_budget = [Search(recipes(), budget).shares for budget in (800, 1_500, 3_000, 6_000, 12_000)]
    assert [shares[-1] for shares in by_budget] == sorted(shares[-1] for shares in by_budget)
    assert by_budget[-1] == [1.0, 1.0, 1.0]
    assert all(set(shares) <= set(SHARES) and shares == sorted(shares) for shares in by_budget)
    assert Search(recipes(), 800).left_out
    assert not set(FIXED) & set(Search(recipes(), 700).left_out)


def test_ties_go_by_the_hash_of_a_name_and_the_seed():
    def first(seed):
        search = Search(recipes(), 12_000, seed=seed)
        run_to_the_end(search, lambda run: float(run.seed))
        return search.choice

    assert first(0) == first(0)
    assert len({first(seed) for seed in range(12)}) > 3


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_noise_and_effects_are_those_of_an_additive_fit(missing):
    """Against alternating means, which converge to the least squares of an additive model."""
    draw = np.random.default_rng(3)
    search = Search(recipes(4), 100_000)
    names = [recipe.name for recipe in recipes(4)]
    loss = {(name, seed): draw.normal() for name in names for seed in range(6)}
    kept = {key: value for key, value in loss.items() if draw.random() >= missing}
    for (name, seed), value in kept.items():
        search.tell(name, seed, 1.0, value)
    arm, common = dict.fromkeys(names, 0.0), dict.fromkeys(range(6), 0.0)
    for _ in range(3_000):
        arm = {n: np.mean([v - common[s] for (m, s), v in kept.items() if m == n]) for n in names}
        common = {s: np.mean([v - arm[m] for (m, t), v in kept.items() if t == s]) for s in range(6)}
    squares = sum((v - arm[m] - common[s]) ** 2 for (m, s), v in kept.items())
    freedom = len(kept) - len(names) - 5
    assert search.noise.freedom == freedom
    assert search.noise.variance == pytest.approx(squares / freedom, rel=1e-6)
    standing = {one.recipe: one.loss for one in search.standings}
    for name, other in combinations(names, 2):
        assert standing[name] - standing[other] == pytest.approx(arm[name] - arm[other], abs=1e-6)


def test_the_probability_of_being_best_is_that_of_draws():
    search = Search(recipes(2), 100_000)
    loss, _ = truth_of([recipe.name for recipe in recipes(2)], seed=4, spread=0.1)
    for recipe in recipes(2):
        for seed in range(3):
            search.tell(recipe.name, seed, 1.0, loss(Asked(recipe.name, seed, 1.0)))
    standings = search.standings
    assert sum(one.best for one in standings) == pytest.approx(1)
    # Beliefs: normal around the shrunken losses; their variances follow from the weights of the shrinkage.
    means = np.array([one.loss for one in standings])
    between = max(means.var(ddof=1) - search.noise.variance / 3, 0.01 * search.noise.variance)
    deviation = (1 / (1 / between + 3 / search.noise.variance)) ** 0.5
    draws = norm.rvs(
        loc=[one.shrunken for one in standings],
        scale=deviation,
        size=(200_000, len(standings)),
        random_state=0,
    )
    share = np.bincount(draws.argmin(1), minlength=len(standings)) / len(draws)
    assert [one.best for one in standings] == pytest.approx(share.tolist(), abs=0.006)


def test_the_cheapest_recipe_within_the_noise_is_chosen():
    dear = [
        Recipe(name="random", flop=100.0),
        Recipe(name="large", flop=300.0),
        Recipe(name="small", flop=100.0),
    ]
    for gap, expected in ((0.02, "small"), (1.0, "large")):
        search = Search(dear, 100_000)
        level, draw = {"random": 1.0, "large": 0.0, "small": gap}, np.random.default_rng(0)
        run_to_the_end(search, lambda run, of=level, d=draw: of[run.recipe] + 0.1 * d.normal())
        assert search.choice == expected
        assert search.alike(expected) == (["large"] if expected == "small" else [])
        assert Search(dear, 100_000).alike("small") == []


def test_runs_at_a_smaller_size_count_less_where_ranks_turn():
    """The two sizes say the opposite; at the large one the recipes ran as often."""
    names = [recipe.name for recipe in recipes(4)]

    def told(turn):
        search = Search(recipes(4), 100_000)
        draw = np.random.default_rng(5)
        for place, name in enumerate(names):
            for seed in range(2):
                search.tell(name, seed, 0.25, place * (-1 if turn else 1) + 0.05 * draw.normal())
                search.tell(name, seed, 1.0, place + 0.05 * draw.normal())
        return search

    for turn in (False, True):
        search = told(turn)
        assert [one.recipe for one in search.standings] == names
        assert search.agreement.share == (0.0 if turn else 1.0)
        assert search.agreement.recipes == len(names)
    alike, turned = (told(turn).standings[0].error for turn in (False, True))
    assert alike < 0.8 * turned
    few = Search(recipes(0), 100_000)
    for name in FIXED[:2]:
        few.tell(name, 0, 0.5, 1.0)
        few.tell(name, 0, 1.0, 1.0)
    assert few.agreement is None


@given(rows=st.integers(1, 10**7), share=st.floats(1e-4, 1), per_row=st.floats(0.01, 300))
def test_a_sub_pool_has_equal_tokens_for_each_row(rows, share, per_row):
    tokens = max(1, int(rows * per_row))
    part = sub_pool(rows, tokens, share)
    assert 1 <= part.rows <= rows
    assert abs(part.tokens - tokens * part.rows / rows) <= 1
    assert abs(part.rows - rows * share) <= 1


def test_what_cannot_be_searched_says_what_is_needed():
    with pytest.raises(
        BudgetTooSmallError, match=r"takes 650 FLOP: 600 for the 6 runs .* 4 recipes with 2 seeds"
    ) as caught:
        Search(recipes(), 100)
    assert Search(recipes(), caught.value.needed).ask()
    with pytest.raises(BudgetTooSmallError):
        Search(recipes(), caught.value.needed * 0.999)
    with pytest.raises(RecipesError, match="random is the only recipe; at least 2"):
        Search(recipes()[:1], 10_000)
    with pytest.raises(RecipesError, match="at most 24"):
        Search(recipes(21), 1e6)
    with pytest.raises(RecipesError, match="same name: got-d"):
        Search([*recipes(), recipes()[1]], 1e6)
    with pytest.raises(RecipesError, match="no recipe 'random'"):
        Search(recipes()[1:], 1e6)
    for budget in (0, -1, NAN, math.inf):
        with pytest.raises(BadArgumentError):
            Search(recipes(), budget)
    search = Search(recipes(), 10_000)
    with pytest.raises(UnknownRecipeError, match="did you mean 'got-d'"):
        search.tell("gotd", 0, 1.0, 1.0)
    for arguments in (
        ("knn", -1, 1.0, 1.0),
        ("knn", 0, 1.5, 1.0),
        ("knn", 0, 1.0, "good"),
        ("knn", 0, 1.0, 1.0, -3),
    ):
        with pytest.raises(BadArgumentError):
            search.tell(*arguments)
    with pytest.raises(BadArgumentError):
        sub_pool(100, 100, 0)
