"""A solve of many rows: corrections on a sample, bfloat16 first and float32 last, scores on the way."""

import dataclasses

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import RAW, Blocks, centred, clustered, costs, prepared

from tamis.base.precision import PRECISIONS, computing_in
from tamis.transport import BadShapeError, NotConverged, prepare, solve_and_score, solve_potential
from tamis.transport.cost import Geometry, RowSource, TargetSide
from tamis.transport.rows import KeptPlan, StoredRows, StreamedRows, keeps_plan
from tamis.transport.sinkhorn import Kernel, evaluate

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)


def wide(seed, n=3_000, m=60):
    problem = clustered(seed, n=n, m=m, d=64, clusters=12)
    return dataclasses.replace(problem, x=problem.x.astype(np.float32), y=problem.y.astype(np.float32))


@pytest.fixture
def small_sample(monkeypatch):
    monkeypatch.setattr(prepare, "SAMPLE_ROWS", 600)
    monkeypatch.setattr(prepare, "KEPT_SAMPLE_ROWS", 300)


READ_EACH_PASS, PLAN_IS_KEPT = 0, 2**20


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("precision", "memory"), [*((p, READ_EACH_PASS) for p in PRECISIONS), (PRECISIONS[0], PLAN_IS_KEPT)]
)
def test_a_solve_in_parts_is_finished_in_float32_and_agrees_with_the_converged_answer(
    seed, precision, memory
):
    problem = wide(seed)
    with computing_in(precision):
        potential = solve_potential(problem.y, problem.x, memory=memory)
    assert potential.converged
    cost = costs(prepared(dataclasses.replace(problem, a=np.full(3_000, 1 / 3_000), b=np.full(60, 1 / 60))))
    exponent = (potential.potential - cost) / potential.epsilon
    plan = np.exp(exponent - exponent.max(1, keepdims=True))
    sums = (plan / plan.sum(1, keepdims=True)).mean(0)
    assert np.abs(sums - 1 / 60).sum() == pytest.approx(potential.marginal_error, abs=1e-5)
    exact = solve_potential(problem.y, problem.x, tolerance=1e-8, max_passes=5_000)
    chosen, truth = (set(np.argsort(p.gradient(problem.x))[:300]) for p in (potential, exact))
    assert len(chosen & truth) >= 297


@pytest.mark.usefixtures("small_sample")
def test_a_correction_on_the_sample_saves_readings_of_the_whole(monkeypatch):
    problem = wide(3)
    errors = []
    original = evaluate

    def spy(rows, *args, **options):
        result = original(rows, *args, **options)
        if not isinstance(rows, StoredRows):
            errors.append(result.marginal_error)
        return result

    monkeypatch.setattr("tamis.transport.prepare.evaluate", spy)
    assert solve_potential(problem.y, problem.x, memory=READ_EACH_PASS).converged
    assert len(errors) <= 6
    assert errors[1] < errors[0] / 4
    assert errors[2] < errors[1] / 3


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("max_passes", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("relative", "memory"), [(0.002, READ_EACH_PASS), (0.03, READ_EACH_PASS), (0.002, PLAN_IS_KEPT)]
)
def test_a_limit_on_passes_is_kept_and_what_to_change_is_said(max_passes, relative, memory):
    problem = wide(4)
    with pytest.warns(NotConverged, match="raise max_passes") as caught:
        stopped = solve_potential(
            problem.y,
            problem.x,
            relative_epsilon=relative,
            max_passes=max_passes,
            tolerance=2e-4,
            memory=memory,
        )
    assert stopped.passes <= max_passes + 1e-9
    assert caught[0].filename == __file__
    measured = np.abs(stopped.column_sums(problem.x) - 1 / 60).sum()
    assert stopped.marginal_error == pytest.approx(measured, abs=1e-4)


@pytest.mark.usefixtures("small_sample")
@given(seed=seeds, sizes=st.lists(st.integers(20, 900), min_size=1, max_size=4), warm=st.booleans())
@settings(deadline=None, max_examples=2)
def test_scores_of_a_solve_are_those_of_its_potential_bit_for_bit(seed, sizes, warm):
    problem = wide(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "SAMPLE_ROWS", 600)
        start = solve_potential(problem.y, problem.x[:2_000]) if warm else None
        for more in ({}, problem.weights, {"tolerance": 1e-7, "max_passes": 5_000}):
            options = {"memory": READ_EACH_PASS} | more
            potential, scores = solve_and_score(
                problem.y, Blocks(problem.x, sizes), warm_start=start, **options
            )
            assert (scores == potential.gradient(problem.x)).all()
            again = solve_potential(problem.y, problem.x, warm_start=start, **options)
            assert again.fingerprint == potential.fingerprint


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("tolerance", [1e-3, 1e-8])
def test_scores_of_a_kept_plan_are_those_of_its_potential_but_for_rounding(tolerance):
    problem = wide(5)
    options = {"tolerance": tolerance, "max_passes": 5_000, "memory": 2 * PLAN_IS_KEPT, **problem.weights}
    potential, scores = solve_and_score(problem.y, Blocks(problem.x, [700, 41]), **options)
    gradient = potential.gradient(problem.x)
    assert np.abs(scores - gradient).max() <= 4e-6 * potential.mean_cost
    assert solve_potential(problem.y, problem.x, **options).fingerprint == potential.fingerprint


@given(seed=seeds, relative=st.sampled_from([1e-3, 1e-2, 0.1]), spread=st.sampled_from([0.1, 20.0, 200.0]))
@settings(deadline=None, max_examples=15)
def test_a_pass_over_a_kept_plan_is_a_pass_over_its_rows(seed, relative, spread):
    problem = wide(seed, n=700)
    side, rows, epsilon = streamed(problem, relative)
    kept, draw = KeptPlan(rows), np.random.default_rng(seed)
    start_k = draw.normal(size=60) * epsilon
    for move in (0.0, 1.0, 0.5, -1.0):  # in units of the spread: columns leave the plan's range and return
        kernel = Kernel(side, start_k + move * spread * epsilon * draw.random(60), epsilon)
        ours, theirs = (evaluate(one, kernel, keep_gradient=True) for one in (kept, rows))
        # Similarities are about 1 / relative, and their last float32 bits show up in the column sums.
        rounding = max(1e-4, 2.0**-21 / relative)
        np.testing.assert_allclose(ours.log_column_sum_k, theirs.log_column_sum_k, atol=rounding)
        assert ours.dual_value == pytest.approx(theirs.dual_value, abs=1e-5 * epsilon / relative)
        np.testing.assert_allclose(ours.gradient_n, theirs.gradient_n, atol=1e-5 * epsilon / relative)


def test_a_plan_is_kept_where_it_fits():
    _, rows, _ = streamed(wide(1, n=700), 0.03)
    points_md = torch.zeros(60, 64)
    assert keeps_plan(rows, points_md, 700 * 60 * 4)
    assert not keeps_plan(rows, points_md, 700 * 60 * 4 - 1)
    assert not keeps_plan(rows, points_md.double(), 700 * 60 * 4)
    with pytest.raises(BadShapeError, match="memory"):
        solve_potential(np.eye(3), np.eye(3) + 1, memory=-1)


def streamed(problem, relative):
    """The target side and the streamed rows of a problem, and epsilon."""
    points = [torch.from_numpy(np.asarray(one, dtype=np.float32)) for one in (problem.x, problem.y)]
    side = TargetSide(points[1], np.full(len(points[1]), 1 / len(points[1])))
    mass_n = np.random.default_rng(1).random(len(points[0]))
    source = RowSource(points[0], "reference")
    rows = StreamedRows(source, Geometry(center_d=None, normalize=False), mass_n / mass_n.sum())
    return side, rows, relative * float(torch.cdist(*points).square().mean())


def test_scores_of_few_rows_and_wrong_options():
    problem = clustered(6)
    potential, scores = solve_and_score(problem.y, problem.x)
    assert (scores == potential.gradient(problem.x)).all()
    with pytest.raises(TypeError, match="epsilons"):
        solve_and_score(problem.y, problem.x, epsilons=3)


@given(seed=seeds, relative=st.sampled_from([1e-3, 1e-2, 0.1]))
@settings(deadline=None, max_examples=10)
def test_row_sums_out_of_range_are_done_again(seed, relative):
    problem = clustered(seed)
    cost = costs(problem)
    epsilon = relative * float(cost.mean())
    g = np.random.default_rng(seed).normal(size=25) * epsilon
    side = TargetSide(torch.from_numpy(problem.y).float(), problem.b)
    rows = StoredRows(torch.from_numpy(problem.x).float(), problem.a, side)
    result = evaluate(rows, Kernel(side, g, epsilon), keep_gradient=True)
    exponent = np.log(problem.b) + (g - cost) / epsilon
    largest = exponent.max(1)
    total = np.exp(exponent - largest[:, None]).sum(1)
    expected = -epsilon * (largest + np.log(total))
    plan = np.exp(exponent - (largest + np.log(total))[:, None])
    assert np.abs(result.gradient_n - expected).max() < 2e-5 * np.abs(cost).max()
    assert np.abs(result.column_sum_k - problem.a @ plan).sum() < 3e-6 / relative
    assert np.isfinite(result.log_column_sum_k).all()


def test_roundings_in_turn_average_to_the_points():
    points = torch.randn(500, 32, generator=torch.Generator().manual_seed(0))
    side = TargetSide(points, np.full(500, 1 / 500))
    mean = torch.stack([side.half_points_dm(turn).float() for turn in range(4)]).mean(0)
    once = (side.points_dm.bfloat16().float() - side.points_dm).abs().mean()
    assert (mean - side.points_dm).abs().mean() < once / 3
    assert (side.half_points_dm(4) == side.half_points_dm(0)).all()


def test_bfloat16_products_give_the_same_plan_to_two_digits():
    problem = wide(7)
    unit = prepared(dataclasses.replace(problem, a=np.full(3_000, 1 / 3_000), b=np.full(60, 1 / 60)))
    side = TargetSide(torch.from_numpy(unit.y).float(), unit.b)
    results = [
        evaluate(
            StoredRows(torch.from_numpy(unit.x).float(), unit.a, side, compact=compact, reduced=compact),
            Kernel(side, np.zeros(60), 0.05),
        )
        for compact in (False, True)
    ]
    assert np.abs(results[0].column_sum_k - results[1].column_sum_k).sum() < 4e-3


def test_a_kernel_depends_on_the_potential_alone():
    problem = wide(8)
    side = TargetSide(torch.from_numpy(problem.y), np.full(60, 1 / 60))
    first, second = Kernel(side, np.zeros(60), 3.0), Kernel(side, np.zeros(60), 3.0)
    first.weigh(lambda: first.similarities(torch.from_numpy(problem.x[:100])))
    assert first.shift == second.shift
    assert (first.bias_k == second.bias_k).all()


@given(seed=seeds)
@settings(deadline=None, max_examples=4)
def test_potentials_equal_those_of_pot_lazy_and_of_solve(seed):
    problem = clustered(seed)
    epsilon = 0.05 * float(problem.a @ costs(problem) @ problem.b)
    potential = solve_potential(
        problem.y, problem.x, epsilon=epsilon, tolerance=1e-9, max_passes=5_000, **problem.weights, **RAW
    )
    lazy = ot.solve_sample(
        problem.x,
        problem.y,
        problem.a,
        problem.b,
        reg=epsilon,
        lazy=True,
        batch_size=50,
        max_iter=20_000,
        tol=1e-12,
    )
    dense = ot.solve(costs(problem), problem.a, problem.b, reg=epsilon, max_iter=20_000, tol=1e-12)
    lazy_f = epsilon * (lazy.potentials[0] - np.log(problem.a))
    assert np.abs(centred(potential.gradient(problem.x)) - centred(lazy_f)).max() < 2e-5
    plan = np.exp(
        (potential.gradient(problem.x)[:, None] + potential.potential - costs(problem)) / epsilon
    ) * np.outer(problem.a, problem.b)
    assert np.abs(plan - dense.plan).max() < 1e-4 * dense.plan.max()


@pytest.mark.parametrize("relative", [1e-3, 3e-3])
@pytest.mark.usefixtures("small_sample")
def test_small_epsilons_stay_finite_on_streamed_rows(relative):
    problem = wide(10)
    y = problem.y.copy()
    y[0] *= 50
    potential = solve_potential(
        y, problem.x, relative_epsilon=relative, tolerance=1e-2, max_passes=3_000, normalize=False
    )
    scores = potential.gradient(problem.x)
    assert np.isfinite(scores).all()
    assert np.isfinite([potential.marginal_error, potential.dual_value, potential.gap_bound]).all()
    assert np.isfinite(potential.potential).all()
