"""The pool's own potential: that of a dense solve, its gradient that of POT's values, in any order."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import RAW, Blocks, centred, clustered

from tamis.base.errors import PermanentError
from tamis.samplers.debiased import debiased, debiased_scores
from tamis.samplers.pool_potential import PoolPotential, draw_sample, solve_pool_potential
from tamis.transport import NotConverged, solve_and_score, solve_potential
from tamis.transport.cost import BadShapeError

pytestmark = [
    pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints"),
    pytest.mark.filterwarnings("ignore::tamis.transport.LargeEpsilon"),
]
seeds = st.integers(0, 10_000)
both = pytest.mark.parametrize("itself", [False, True], ids=["others", "itself"])
SHARP = {"tolerance": 1e-10, "max_passes": 5_000, **RAW}


def names(count):
    return [f"d{number}" for number in range(count)]


def square(rows):
    return ((rows[:, None, :] - rows[None, :, :]) ** 2).sum(2)


def kernel(rows, epsilon, *, itself):
    """-cost / epsilon + log mass [n, n], without the diagonal where a document is not its own neighbour."""
    log_nn = -square(rows) / epsilon - np.log(len(rows) if itself else len(rows) - 1)
    if not itself:
        np.fill_diagonal(log_nn, -np.inf)
    return log_nn


def transform(log_nm, epsilon, p_m):
    """Soft c-transform [n], row by row in the log domain."""
    exponent_nm = log_nm + p_m / epsilon
    largest_n = exponent_nm.max(1)
    return -epsilon * (np.log(np.exp(exponent_nm - largest_n[:, None]).sum(1)) + largest_n)


def dense(rows, epsilon, *, itself):
    """The symmetric potential in float64: 300 averaging steps, then Newton's until they move nothing."""
    log_nn, p_n = kernel(rows, epsilon, itself=itself), np.zeros(len(rows))
    for turn in range(320):
        averaged_n = (transform(log_nn, epsilon, p_n) - p_n) / 2
        if turn < 300:
            p_n = p_n + averaged_n
            continue
        plan_nn = np.exp(log_nn + (p_n[:, None] + p_n) / epsilon)
        sums_n = plan_nn.sum(1)
        p_n = p_n + epsilon * np.linalg.solve(np.diag(sums_n) + plan_nn, 1 - sums_n)
    return p_n


@both
@given(seed=seeds, relative=st.sampled_from([0.02, 0.05, 0.3]))
@settings(deadline=None, max_examples=5)
def test_scores_are_those_of_a_dense_solve_when_the_sample_is_the_pool(itself, seed, relative):
    problem = clustered(seed, n=60, m=12)
    potential, own, scores = debiased_scores(
        problem.y, problem.x, itself=itself, relative_epsilon=relative, **SHARP
    )
    exact = dense(problem.x, potential.epsilon, itself=itself)
    p = own.gradient(problem.x, ids=[str(row) for row in range(60)])
    np.testing.assert_allclose(p, exact, atol=1e-4 * potential.epsilon + 2 * own.sample.error_estimate)
    toward = solve_and_score(problem.y, problem.x, relative_epsilon=relative, **SHARP)[1]
    np.testing.assert_array_equal(scores, toward - p)
    assert own.sample.converged
    assert own.sample.marginal_error < 1e-8


@both
def test_the_potential_is_symmetric(itself):
    """T(p) = p: as a potential of rows and of columns, and what any solver of two potentials finds."""
    problem = clustered(3, n=80, m=10)
    like = solve_potential(problem.y, problem.x, relative_epsilon=0.3, **SHARP)
    own = solve_pool_potential(problem.x, like, ids=names(80), itself=itself)
    p = own.sample.potential
    log_nn = kernel(problem.x, like.epsilon, itself=itself)
    np.testing.assert_allclose(transform(log_nn, like.epsilon, p), p, atol=1e-8 * like.epsilon)
    plan = np.exp(log_nn + (p[:, None] + p) / like.epsilon)
    np.testing.assert_allclose(plan.sum(0), 1, atol=1e-8)
    np.testing.assert_allclose(plan.sum(1), 1, atol=1e-8)
    f, g = np.zeros(80), np.zeros(80)  # Sinkhorn's iteration, which knows nothing of symmetry
    for _ in range(2_000):
        f = transform(log_nn, like.epsilon, g)
        g = transform(log_nn.T, like.epsilon, f)
    np.testing.assert_allclose(centred(f), centred(g), atol=1e-6)
    np.testing.assert_allclose(centred(f), centred(p), atol=1e-6)


def divergence(problem, epsilon, mass_n, *, itself):
    """OT(a, b) - OT(a, a) / 2 by POT, entropy against a x b: all of the divergence that depends on a."""
    import ot

    toward = ((problem.x[:, None, :] - problem.y[None, :, :]) ** 2).sum(2)
    within = square(problem.x)
    if not itself:  # no mass may stay; the kernel is the same for all else
        np.fill_diagonal(within, 60 * epsilon + within.max())
    options = {"reg": epsilon, "reg_type": "KL", "max_iter": 20_000, "tol": 1e-13}
    uniform = np.full(len(problem.y), 1 / len(problem.y))
    between = ot.solve(toward, mass_n, uniform, **options).value
    return between - ot.solve(within, mass_n, mass_n, **options).value / 2


@both
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scores_are_the_gradient_of_the_divergence_as_pot_values_it(itself):
    problem, count = clustered(5, n=10, m=6, d=3, clusters=3), 10
    potential, _, scores = debiased_scores(problem.y, problem.x, itself=itself, relative_epsilon=0.2, **SHARP)
    uniform, found = np.full(count, 1 / count), []
    for row in range(1, count):
        values = []
        for step in (-1e-4, 1e-4):
            moved = uniform.copy()
            moved[row] += step
            moved[0] -= step
            values.append(divergence(problem, potential.epsilon, moved, itself=itself))
        found.append((values[1] - values[0]) / 2e-4)
    np.testing.assert_allclose(scores[1:] - scores[0], found, atol=2e-4)


def test_with_itself_the_divergence_is_that_of_pot():
    """ot.bregman.empirical_sinkhorn_divergence takes the same plans: their costs are equal."""
    import ot

    problem = clustered(7, n=30, m=30, d=4)
    potential, own, _ = debiased_scores(problem.y, problem.x, itself=True, relative_epsilon=0.1, **SHARP)
    _, log = ot.bregman.empirical_sinkhorn_divergence(
        problem.x, problem.y, potential.epsilon, numIterMax=100_000, stopThr=1e-12, log=True
    )
    p = own.gradient(problem.x, ids=[str(row) for row in range(30)]).astype(np.float64)
    plan = np.exp(kernel(problem.x, potential.epsilon, itself=True) + (p[:, None] + p) / potential.epsilon)
    assert (plan * square(problem.x)).mean(0).sum() == pytest.approx(log["sinkhorn_loss_a"], rel=1e-4)


@both
def test_a_moved_pool_and_goal_have_the_same_scores(itself):
    problem, away = clustered(9, n=100, m=20), 3.0 * np.arange(6)
    options = {"itself": itself, "sample": 40, "relative_epsilon": 0.05}
    here = debiased_scores(problem.y, problem.x, **options)[2]
    there = debiased_scores(problem.y + away, problem.x + away, **options)[2]
    np.testing.assert_allclose(here, there, atol=2e-4)


@both
@given(seed=seeds)
@settings(deadline=None, max_examples=5)
def test_the_order_of_the_documents_changes_nothing(itself, seed):
    problem, ids = clustered(seed, n=90, m=15), names(90)
    order = np.random.default_rng(seed).permutation(90)
    options = {"itself": itself, "sample": 30, "relative_epsilon": 0.05, "tolerance": 1e-8}
    _, own, scores = debiased_scores(problem.y, problem.x, ids=ids, **options)
    _, moved, other = debiased_scores(problem.y, problem.x[order], ids=[ids[row] for row in order], **options)
    assert moved.ids == own.ids
    np.testing.assert_allclose(other, scores[order], atol=1e-4)


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4))
@settings(deadline=None, max_examples=6)
def test_blocks_change_nothing(sizes):
    problem = clustered(1, n=200, m=15)
    options = {"sample": 50, "relative_epsilon": 0.05, "memory": 0}
    whole = debiased_scores(problem.y, problem.x, **options)
    cut = debiased_scores(problem.y, Blocks(problem.x, sizes), **options)
    np.testing.assert_array_equal(cut[1].sample.potential, whole[1].sample.potential)
    np.testing.assert_allclose(cut[2], whole[2], atol=1e-5)


@both
def test_copies_in_the_pool_have_the_same_score(itself):
    """All copies are neighbours of each other: a crowd has a small potential, and so a large score."""
    problem = clustered(2, n=40, m=10)
    rows = np.concatenate([problem.x, np.repeat(problem.x[:1], 20, 0)])
    potential, own, scores = debiased_scores(problem.y, rows, itself=itself, relative_epsilon=0.05)
    copies = scores[[0, *range(40, 60)]]
    np.testing.assert_allclose(copies, copies[0], atol=1e-5)
    single = debiased_scores(
        problem.y, problem.x, itself=itself, epsilon=potential.epsilon, center=potential.center
    )
    p, alone = own.sample.potential, single[1].sample.potential
    place, before = own.ids.index("0"), single[1].ids.index("0")
    assert p[place] < alone[before] - potential.epsilon


def test_a_document_of_the_sample_and_one_beside_it_are_scored_alike():
    """p at documents of the sample and at others differ by no more than two draws do; with itself they do."""
    rng = np.random.default_rng(0)
    pool, goal = rng.normal(size=(2_000, 40)), rng.normal(size=(100, 40)) + 0.5
    inside = {}
    for itself in (False, True):
        _, own, _ = debiased_scores(goal, pool, itself=itself, sample=300)
        p = own.gradient(pool, ids=[str(row) for row in range(2_000)])
        drawn = np.isin(np.arange(2_000), [int(name) for name in own.ids])
        inside[itself] = float(p[drawn].mean() - p[~drawn].mean()) / float(p[~drawn].std())
    assert abs(inside[False]) < 1
    assert inside[True] < -3, "the sample would rank last, whatever it says"


@both
def test_the_own_potential_of_a_part_is_near_that_of_the_whole_pool(itself):
    problem = clustered(4, n=1_500, m=20, d=3)
    options = {"itself": itself, "relative_epsilon": 0.1}
    whole = debiased_scores(problem.y, problem.x, sample=1_500, **options)[2]
    errors = [
        np.abs(centred(debiased_scores(problem.y, problem.x, sample=size, **options)[2] - whole)).mean()
        for size in (60, 600)
    ]
    assert errors[1] < 0.6 * errors[0]
    assert errors[1] < 0.15 * whole.std()


@both
def test_pools_of_one_two_and_fifty_documents(itself):
    problem = clustered(6, n=50, m=10)
    for count in (2, 3, 50):
        _, own, scores = debiased_scores(problem.y, problem.x[:count], itself=itself, **RAW)
        assert np.isfinite(scores).all()
        assert len(own.ids) == count
        chosen = debiased(problem.y, problem.x[:count], 1, itself=itself, ids=names(count), **RAW).chosen
        assert len(chosen) == 1
    like = solve_potential(problem.y, problem.x, **RAW)
    alone = solve_pool_potential(problem.x[:1], like, ids=["a"], itself=itself)
    assert alone.gradient(problem.x[:1], ids=["a"]).tolist() == [0.0]


@both
def test_equal_vectors_have_equal_scores(itself):
    rows, goal = np.ones((30, 4)), np.eye(4)
    scores = debiased_scores(goal, rows, itself=itself, **RAW)[2]
    np.testing.assert_allclose(scores, scores[0], atol=1e-6)
    with pytest.raises(ValueError, match="no direction"):
        debiased_scores(goal, rows, itself=itself)


def hard_pools():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(400, 8)).astype(np.float32)
    return {
        "fifty": (drawn[:50], drawn[50:60]),
        "one": (drawn[:1], drawn[50:60]),
        "copies by thousands": (np.concatenate([np.repeat(drawn[:3], 1_000, 0), drawn[3:]]), drawn[50:60]),
        "nothing but copies of two": (np.repeat(drawn[:2], 500, 0), drawn[50:60]),
        "the goal": (drawn, drawn),
        "one far from all": (np.concatenate([drawn[:60], 1e4 + drawn[:1]]), drawn[50:60]),
        "16 bits": (drawn.astype(np.float16), drawn[50:60]),
    }


@both
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("raw", [False, True], ids=["unit", "raw"])
@pytest.mark.parametrize("name", hard_pools())
def test_hard_pools_are_scored_or_the_error_says_what_is_wrong(itself, raw, name):
    pool, goal = hard_pools()[name]
    options = {"sample": 300, "itself": itself, **(RAW if raw else {})}
    if name == "one" and not raw:
        with pytest.raises(PermanentError, match="row 0"):
            debiased_scores(goal, pool, **options)
        return
    _, own, scores = debiased_scores(goal, pool, **options)
    assert np.isfinite(scores).all()
    assert np.isfinite(own.sample.potential).all()
    assert own.sample.marginal_error < 1e-8
    assert len(own.ids) == min(300, len(pool))
    assert len(debiased(goal, pool, len(pool), **options).chosen) == len(pool)


def test_zero_vectors_are_named():
    problem = clustered(1, n=50, m=10)
    like = solve_potential(problem.y, problem.x, center=False)
    rows = problem.x.copy()
    rows[7] = 0
    with pytest.raises(PermanentError, match="reference row 7: a zero vector"):
        debiased_scores(problem.y, rows, center=False)
    with pytest.raises(PermanentError, match="sample row 7"):
        solve_pool_potential(rows, like, ids=names(50))
    rows[7] = np.nan
    with pytest.raises(PermanentError, match="sample row 7"):
        solve_pool_potential(rows, like, ids=names(50))


@pytest.mark.parametrize("relative", [0.003, 0.01])
def test_far_groups_and_pairs_at_a_small_epsilon_are_solved(relative):
    rng = np.random.default_rng(0)
    far = 50 * rng.normal(size=(8, 5))
    rows = np.concatenate(
        [place + 0.1 * rng.normal(size=(2 + 3 * turn, 5)) for turn, place in enumerate(far)]
    )
    like = solve_potential(rows[:20] + 0.1, rows, relative_epsilon=0.1, **RAW)
    own = solve_pool_potential(rows, replace(like, epsilon=relative * like.epsilon), ids=names(len(rows)))
    assert own.sample.converged
    assert np.isfinite(own.sample.potential).all()


@both
def test_the_error_is_within_the_estimate(itself, monkeypatch):
    problem = clustered(8, n=70, m=10)
    like = solve_potential(problem.y, problem.x, relative_epsilon=0.05)
    exact = solve_pool_potential(problem.x, like, ids=names(70), itself=itself)
    monkeypatch.setattr("tamis.samplers.pool_potential.MOST_STEPS", 40)
    monkeypatch.setattr("tamis.samplers.pool_potential.FIRST_STEPS", 99)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        rough = solve_pool_potential(problem.x, like, ids=names(70), itself=itself)
    off = np.abs(rough.sample.potential - exact.sample.potential).max()
    assert off <= rough.sample.error_estimate * 1.1 + 1e-9
    monkeypatch.setattr("tamis.samplers.pool_potential.MOST_STEPS", 1)
    with pytest.warns(NotConverged, match="after 1 steps"):
        assert not solve_pool_potential(problem.x, like, ids=names(70), itself=itself).sample.converged


def test_a_draw_moves_by_what_comes_and_goes():
    ids = names(500)
    first = {ids[row] for row in draw_sample(ids, 100, 3)}
    assert len(first) == 100
    with_one = [*ids, "new"]
    later = {with_one[row] for row in draw_sample(with_one, 100, 3)}
    assert len(first - later) <= 1
    assert {ids[row] for row in draw_sample(ids, 100, 4)} != first
    assert len(draw_sample(ids[:7], 100, 3)) == 7


def test_saved_and_loaded_it_is_the_same(tmp_path):
    problem = clustered(1, n=50, m=10)
    _, own, _ = debiased_scores(problem.y, problem.x, sample=20)
    own.save(tmp_path)
    again = PoolPotential.load(tmp_path)
    ids = [str(row) for row in range(50)]
    np.testing.assert_array_equal(again.gradient(problem.x, ids=ids), own.gradient(problem.x, ids=ids))
    assert (again.ids, again.itself, again.pool_rows) == (own.ids, False, 50)
    assert again.change(own.ids) == 0
    assert again.change(["a"]) == 2
    facts = json.loads((tmp_path / "pool_potential.json").read_text())
    (tmp_path / "pool_potential.json").write_text(json.dumps({**facts, "ids": []}))
    with pytest.raises(PermanentError, match="do not match"):
        PoolPotential.load(tmp_path)


def test_what_does_not_fit_is_refused():
    problem = clustered(1, n=50, m=10)
    like = solve_potential(problem.y, problem.x)
    own = solve_pool_potential(problem.x[:20], like, ids=names(20), pool_rows=50)
    other = solve_potential(problem.y, problem.x, epsilon=2 * like.epsilon)
    with pytest.raises(BadShapeError, match="epsilon"):
        own.debias(other, problem.x)
    with pytest.raises(BadShapeError, match="ids"):
        own.gradient(problem.x, ids=["a"])
    with pytest.raises(BadShapeError, match="ids"):
        solve_pool_potential(problem.x[:20], like, ids=["a"])
    with pytest.raises(BadShapeError, match="pool_rows"):
        solve_pool_potential(problem.x[:20], like, ids=names(20), pool_rows=3)
    with pytest.raises(BadShapeError, match="size"):
        draw_sample(names(3), 0)
    np.testing.assert_array_equal(
        own.debias(like, problem.x), like.gradient(problem.x) - own.gradient(problem.x)
    )
