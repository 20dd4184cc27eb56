"""Exact transport: plans against the assignment problem, potentials against it, distances between sets."""

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from tamis.transport import BadShapeError, BadVectorError, exact, solve_potential
from tamis.transport.exact import NotSolvedError, check_exactly, distances_to, exact_coupling

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)


def drawn(seed, *sizes, d=6):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(size, d)) for size in sizes]


def cost(x, y):
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
    return np.square(x[:, None] - y[None]).sum(2)


@given(seed=seeds, size=st.integers(1, 40))
@settings(deadline=None, max_examples=25)
def test_as_many_documents_as_examples_are_assigned_one_to_one(seed, size):
    x, y = drawn(seed, size, size)
    found = exact_coupling(x, y)
    rows, columns = linear_sum_assignment(cost(x, y))
    assert found.value == pytest.approx(cost(x, y)[rows, columns].mean(), abs=1e-12)
    assert found.document_k.tolist() == rows.tolist()
    assert found.example_k.tolist() == columns.tolist()


@given(seed=seeds, n=st.integers(1, 60), m=st.integers(1, 30))
@settings(deadline=None, max_examples=25)
def test_a_plan_has_the_masses_that_were_asked_for_and_no_plan_is_cheaper(seed, n, m):
    x, y = drawn(seed, n, m)
    rng = np.random.default_rng([seed, 1])
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    center = rng.normal(size=6)
    found = exact_coupling(x, y, document_weights=a, example_weights=b, center=center)
    assert np.bincount(found.document_k, found.mass_k, n) == pytest.approx(a, abs=1e-12)
    assert np.bincount(found.example_k, found.mass_k, m) == pytest.approx(b, abs=1e-12)
    assert len(found.mass_k) <= n + m - 1
    assert found.mass_k @ found.cost_k == pytest.approx(found.value, abs=1e-12)
    # Strong duality: the example's side of the dual follows from the document's.
    price_m = (cost(x - center, y - center) - found.document_dual[:, None]).min(0)
    assert a @ found.document_dual + b @ price_m == pytest.approx(found.value, abs=1e-9)


@given(seed=seeds, n=st.integers(2, 8), m=st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_the_dual_of_a_document_without_mass_is_what_its_first_mass_costs(seed, n, m):
    x, y = drawn(seed, n, m)
    some = np.random.default_rng([seed, 2]).dirichlet(np.ones(n - 1))
    mass, step, uniform = np.append(some, 0.0), 1e-6, np.full(m, 1 / m)
    dual = exact_coupling(x, y, document_weights=mass).document_dual
    moved = mass * (1 - step) + np.append(np.zeros(n - 1), step)
    found = (ot.emd2(moved, uniform, cost(x, y)) - ot.emd2(mass, uniform, cost(x, y))) / step
    # Where the dual is not unique, the value has a kink, and its slope is that of one of the duals.
    assert found >= dual[-1] - mass @ dual - 1e-4


def test_the_dual_of_a_document_without_mass_is_the_slope_where_that_is_unique():
    x, y = drawn(1, 6, 4)
    mass = np.array([0.13, 0.24, 0.2, 0.21, 0.22, 0.0])
    uniform, step = np.full(4, 0.25), 1e-6
    dual = exact_coupling(x, y, document_weights=mass).document_dual
    moved = mass * (1 - step) + np.eye(6)[5] * step
    found = (ot.emd2(moved, uniform, cost(x, y)) - ot.emd2(mass, uniform, cost(x, y))) / step
    assert found == pytest.approx(dual[5] - mass @ dual, abs=1e-5)


def test_costs_too_many_to_keep_give_the_same_plan(monkeypatch):
    x, y = drawn(3, 50, 20)
    kept = exact_coupling(x, y)
    monkeypatch.setattr(exact, "DENSE_CELLS", 0)
    lazy = exact_coupling(x, y)
    assert lazy.value == pytest.approx(kept.value, abs=1e-12)
    assert (lazy.document_k == kept.document_k).all()
    assert (lazy.example_k == kept.example_k).all()
    assert lazy.mass_k == pytest.approx(kept.mass_k, abs=1e-12)


@given(seed=seeds)
@settings(deadline=None, max_examples=5)
def test_a_potential_of_less_entropy_agrees_more_and_its_value_comes_down_to_the_exact_one(seed):
    x, y = drawn(seed, 150, 40)
    checks = [
        check_exactly(solve_potential(y, x, relative_epsilon=share, tolerance=1e-4, max_passes=5_000), x)
        for share in (0.1, 0.02)
    ]
    assert checks[0].exact_value == pytest.approx(checks[1].exact_value, abs=0.05)
    assert checks[1].rank_agreement > 0.97
    assert checks[1].rank_agreement >= checks[0].rank_agreement - 0.005
    assert checks[0].difference > checks[1].difference > -0.01


def test_a_potential_of_another_pool_does_not_agree():
    x, other, y = drawn(7, 300, 300, 40)
    own = solve_potential(y, x + 3 * np.eye(6)[0])
    assert check_exactly(own, other - 3 * np.eye(6)[0]).rank_agreement < 0.9


def test_the_masses_of_a_target_are_those_of_its_potential():
    x, y = drawn(11, 90, 30)
    weights = np.random.default_rng(1).dirichlet(np.ones(30))
    weights[3] = 0
    weights /= weights.sum()
    found = check_exactly(solve_potential(y, x, target_weights=weights, center=False), x)
    assert found.exact_value == pytest.approx(ot.emd2(np.full(90, 1 / 90), weights, cost(x, y)), rel=1e-3)


def test_a_set_of_the_examples_own_kind_is_nearer_than_another():
    near, far, y = drawn(5, 200, 200, 60)
    near, y = near + 4 * np.eye(6)[0], y + 4 * np.eye(6)[0]
    found = distances_to(y, {"near": near, "far": far}, draws=10)
    assert found["near"].high < found["far"].low
    assert all(one.low <= one.value <= one.high for one in found.values())
    assert found == distances_to(y, {"near": near, "far": far}, draws=10)


def test_a_distance_does_not_grow_because_a_set_is_small():
    whole, y = drawn(9, 600, 50)
    found = distances_to(y, {"whole": whole, "part": whole[::10]}, draws=30)
    assert abs(found["whole"].value - found["part"].value) < 0.1 * found["whole"].value


def test_examples_that_are_all_alike_and_sets_of_one_have_a_distance():
    x, y = drawn(2, 1, 1)
    alike = np.repeat(y, 5, axis=0)
    assert exact_coupling(x, alike).value == pytest.approx(cost(x, y)[0, 0])
    assert distances_to(alike, {"one": x}, draws=2)["one"].value == pytest.approx(cost(x, y)[0, 0])


@pytest.mark.filterwarnings("ignore:numItermax")
def test_rows_that_are_no_points_and_sizes_that_do_not_fit_are_refused(monkeypatch):
    x, y = drawn(4, 5, 3)
    with pytest.raises(BadVectorError, match=r"documents.*row 2"):
        exact_coupling(np.where(np.arange(5)[:, None] == 2, np.nan, x), y)
    with pytest.raises(BadShapeError, match="width 4"):
        exact_coupling(x, y[:, :4])
    with pytest.raises(BadShapeError, match="no rows"):
        exact_coupling(x[:0], y)
    with pytest.raises(BadShapeError, match="draws"):
        distances_to(y, {"x": x}, draws=0)
    monkeypatch.setattr(exact, "MOST_PIVOTS", 1)
    with pytest.raises(NotSolvedError, match="5 documents to 3 examples"):
        exact_coupling(x, y)
