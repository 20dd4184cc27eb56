"""Selection in rounds: a lower joint objective than one round, exactly and by the solver."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import Blocks, clustered, costs, prepared

from tamis.samplers.rounds import rows_at, select_in_rounds
from tamis.transport import solve_potential
from tamis.transport.ordering import ranks_of, smallest_first

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)


def modes(seed, n=400, m=60, d=16):
    """A pool and a target of six modes in unlike shares."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, d))
    pool, target = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6) / 2)
    draw = [(rng.choice(6, size=n, p=pool), n), (rng.choice(6, size=m, p=target), m)]
    x, y = (centres[mode] + 0.7 * rng.normal(size=(size, d)) for mode, size in draw)
    return y, x


def unit(points, centre):
    return (points - centre) / np.linalg.norm(points - centre, axis=1, keepdims=True)


def exact_objective(y, x, chosen, mixing, cost=None):
    """J by the linear program, in the geometry of the pool."""
    centre = x.mean(0)
    masses = np.full(len(x), (1 - mixing) / len(x))
    masses[chosen] += mixing / len(chosen)
    value = ot.emd2(masses, np.full(len(y), 1 / len(y)), ot.dist(unit(x, centre), unit(y, centre)))
    return value + (0 if cost is None else cost[chosen].mean())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rounds", [4, 10])
def test_rounds_lower_the_exact_objective(seed, rounds):
    y, x = modes(seed)
    one = select_in_rounds(y, x, 40, rounds=1)
    several = select_in_rounds(y, x, 40, rounds=rounds)
    values = [exact_objective(y, x, selection.chosen, 0.5) for selection in (one, several)]
    assert values[1] < 0.985 * values[0]
    rng = np.random.default_rng(seed)
    assert values[1] < 0.9 * exact_objective(y, x, rng.permutation(400)[:40], 0.5)


@given(
    seed=seeds,
    mixing=st.sampled_from([0.05, 0.3, 0.7, 1.0]),
    k=st.integers(1, 120),
    rounds=st.integers(1, 6),
    weighted=st.booleans(),
)
@settings(deadline=None, max_examples=12)
def test_rounds_never_raise_the_objective_and_choose_what_was_asked(seed, mixing, k, rounds, weighted):
    problem = clustered(seed)
    quality = np.random.default_rng(seed).random(120) if weighted else None
    options = {"mixing": mixing, "quality": quality, "quality_weight": 0.4}
    found = select_in_rounds(problem.y, problem.x, k, rounds=rounds, **options)
    single = select_in_rounds(problem.y, problem.x, k, rounds=1, **options)
    assert len(set(found.chosen.tolist())) == len(found.chosen) == k
    assert found.chosen.min() >= 0
    assert found.chosen.max() < 120
    assert found.objectives[-1] <= single.objectives[-1]
    assert found.one_round_objective == pytest.approx(single.objectives[-1], abs=1e-6)
    assert (np.diff(found.round_of) >= 0).all()
    sizes = np.bincount(found.round_of)[1:]
    assert sizes.sum() == k
    assert sizes.max() - sizes.min() <= 1
    assert len(found.objectives) == len(sizes) + 1
    assert (smallest_first(found.rank, k) == found.chosen).all()
    assert sorted(found.rank) == list(range(120))


@given(seed=seeds, mixing=st.sampled_from([0.2, 0.6]))
@settings(deadline=None, max_examples=3)
def test_the_objective_is_the_entropic_value_of_the_mixture_plus_the_cost(seed, mixing):
    problem = clustered(seed)
    cost = np.random.default_rng(seed).random(120)
    options = {"mixing": mixing, "row_cost": cost, "rounds": 3, "tolerance": 1e-7, "max_passes": 5_000}
    found = select_in_rounds(
        problem.y, problem.x, 30, reference_weights=problem.a, target_weights=problem.b, **options
    )
    masses = (1 - mixing) * problem.a
    masses[found.chosen] += mixing / 30
    matrix = costs(prepared(problem))
    epsilon = found.potential.epsilon
    log = ot.bregman.sinkhorn_log(
        masses, problem.b, matrix, epsilon, stopThr=1e-8, numItermax=5_000, log=True
    )[1]
    f, g = epsilon * (log["log_u"] - np.log(masses)), epsilon * (log["log_v"] - np.log(problem.b))
    assert found.objectives[-1] == pytest.approx(
        masses @ f + problem.b @ g + cost[found.chosen].mean(), abs=1e-5
    )
    first = solve_potential(problem.y, problem.x, tolerance=1e-7, max_passes=5_000, **problem.weights)
    assert found.objectives[0] == pytest.approx(first.dual_value + cost.mean(), abs=1e-6)


def test_one_round_is_the_gradient_with_the_cost_in_its_units():
    problem = clustered(3)
    quality = np.random.default_rng(3).random(120)
    found = select_in_rounds(
        problem.y, problem.x, 25, rounds=1, mixing=0.2, quality=quality, quality_weight=0.1
    )
    gradient = solve_potential(problem.y, problem.x).gradient(problem.x, row_cost=0.1 / 0.2 * (1 - quality))
    assert set(found.chosen) == set(np.argsort(gradient)[:25])
    assert found.round_of.tolist() == [1] * 25
    heavy = select_in_rounds(problem.y, problem.x, 25, rounds=4, quality=quality, quality_weight=1e4)
    assert set(heavy.chosen) == set(np.argsort(-quality)[:25])


def test_blocks_arrays_and_repeats_give_the_same_choice():
    problem = clustered(5, n=700)
    base = select_in_rounds(problem.y, problem.x, 60, rounds=4)
    again = select_in_rounds(problem.y, problem.x, 60, rounds=4)
    blocks = select_in_rounds(problem.y, Blocks(problem.x, [61, 200]), 60, rounds=4)
    for other in (again, blocks):
        assert (other.chosen == base.chosen).all()
        assert (other.objectives == base.objectives).all()


def test_candidates_may_be_other_documents_than_the_reference():
    rng = np.random.default_rng(1)
    centres = 3 * np.eye(4)

    def draw(kinds):
        return centres[kinds] + 0.3 * rng.normal(size=(len(kinds), 4))

    target, model_knows = draw(np.arange(60) % 2), draw(np.zeros(300, dtype=int))
    kinds = rng.integers(0, 4, size=200)
    found = select_in_rounds(target, draw(kinds), 20, reference=model_knows, rounds=2)
    assert (kinds[found.chosen] == 1).all()
    assert found.objectives[-1] < found.objectives[0]


def test_one_mode_is_no_longer_over_served():
    rng = np.random.default_rng(2)
    centres = np.linalg.qr(rng.normal(size=(16, 16)))[0]

    def draw(kinds, spread):
        return centres[kinds] + spread[kinds][:, None] * rng.normal(size=(len(kinds), 16))

    spread = np.array([0.05, 0.12, 0.12])
    kinds = np.repeat([0, 1, 2], [150, 150, 900])
    pool, target = draw(kinds, spread), draw(np.repeat([0, 1], [150, 150]), spread)
    one = select_in_rounds(target, pool, 100, rounds=1, mixing=0.9)
    several = select_in_rounds(target, pool, 100, rounds=8, mixing=0.9)
    shares = [np.bincount(kinds[found.chosen], minlength=3) / 100 for found in (one, several)]
    assert abs(shares[0][0] - 0.5) > 0.3
    assert abs(shares[1][0] - 0.5) < 0.15


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"k": 0}, "k: 0"),
        ({"k": 121}, "k: 121"),
        ({"mixing": 0.0}, "mixing"),
        ({"mixing": 1.1}, "mixing"),
        ({"rounds": 0}, "rounds"),
        ({"quality": np.zeros(3)}, "quality"),
        ({"row_cost": np.full(120, np.nan)}, "row_cost"),
        ({"row_cost": "low"}, "row_cost: a str that is not an array of numbers"),
        ({"reference_weights": np.ones(120)}, "sum to 1"),
        ({"ids": ["a"]}, "ids"),
    ],
)
def test_what_does_not_fit_is_refused(settings_, message):
    problem = clustered(7)
    options = {"k": 10, **settings_}
    with pytest.raises(ValueError, match=message):
        select_in_rounds(problem.y, problem.x, **options)
    with pytest.raises(ValueError, match="only once"):
        select_in_rounds(problem.y, iter([problem.x]), 10)


def test_a_cost_may_be_a_tensor_with_a_gradient():
    problem = clustered(8)
    cost = torch.linspace(0, 1, 120, requires_grad=True)
    found = select_in_rounds(problem.y, problem.x, 10, rounds=2, row_cost=cost)
    plain = select_in_rounds(problem.y, problem.x, 10, rounds=2, row_cost=cost.detach().numpy())
    assert (found.chosen == plain.chosen).all()


@given(seed=seeds, k=st.integers(1, 40))
@settings(deadline=None, max_examples=25)
def test_equal_scores_are_ordered_by_id_and_not_by_row(seed, k):
    rng = np.random.default_rng(seed)
    scores, ids = rng.integers(0, 4, size=40) / 4, np.array([f"doc{row}" for row in range(40)])
    order = rng.permutation(40)
    first = ids[smallest_first(scores, k, ids=list(ids), seed=seed)]
    shuffled = ids[order][smallest_first(scores[order], k, ids=list(ids[order]), seed=seed)]
    assert (first == shuffled).all()
    assert (np.diff(scores[smallest_first(scores, k, ids=list(ids), seed=seed)]) >= 0).all()
    assert sorted(scores)[:k] == sorted(scores[smallest_first(scores, k)])
    rank = ranks_of(order[:k], scores)
    assert (np.argsort(rank)[:k] == order[:k]).all()
    assert (np.diff(scores[np.argsort(rank)[k:]]) >= 0).all()


def test_what_no_round_chose_is_ranked_by_id_where_scores_are_equal():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(30, 8)), rng.normal(size=(20, 8))
    x, ids = np.concatenate([x, x[:10]]), np.array([f"d{row:02d}" for row in range(40)])
    ranks = [
        dict(
            zip(
                ids[order], select_in_rounds(y, x[order], 5, rounds=3, ids=list(ids[order])).rank, strict=True
            )
        )
        for order in (np.arange(40), np.arange(40)[::-1])
    ]
    assert ranks[0] == ranks[1]


@given(seed=seeds, sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4))
@settings(deadline=None, max_examples=20)
def test_rows_are_gathered_in_the_order_asked(seed, sizes):
    rng = np.random.default_rng(seed)
    rows, wanted = rng.normal(size=(90, 3)), rng.permutation(90)[:25]
    assert (rows_at(rows, wanted) == rows[wanted]).all()
    assert (rows_at(Blocks(rows, sizes), wanted) == rows[wanted]).all()
