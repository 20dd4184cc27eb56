"""What certificates state: a gap that is never larger, an error as estimated, calibration as published."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import clustered

from tamis.transport import NotConverged, calibrate, estimated_top_k, solve_potential, union_certificate
from tamis.transport.cost import TargetSide
from tamis.transport.iteration import iterate
from tamis.transport.rows import StoredRows
from tamis.transport.sinkhorn import Kernel, evaluate

pytestmark = [
    pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints"),
    pytest.mark.filterwarnings("ignore::tamis.transport.NotConverged"),
]
seeds = st.integers(0, 10_000)


@given(seed=seeds, relative=st.sampled_from([0.02, 0.05, 0.1]), tolerance=st.sampled_from([1e-2, 1e-3, 1e-4]))
@settings(deadline=None, max_examples=12)
def test_the_gap_is_bounded_and_the_error_is_as_estimated_on_plain_problems(seed, relative, tolerance):
    problem = clustered(seed, n=300, m=40)
    options = {"relative_epsilon": relative, **problem.weights}
    rough = solve_potential(problem.y, problem.x, tolerance=tolerance, **options)
    exact = solve_potential(problem.y, problem.x, tolerance=1e-9, max_passes=5_000, **options)
    assert 0 <= exact.dual_value - rough.dual_value + 1e-7 <= rough.gap_bound + 2e-7
    scores, truth = rough.gradient(problem.x), exact.gradient(problem.x)
    assert np.ptp(scores - truth) / 2 <= rough.error_estimate + 1e-6
    for k in (1, 30, 150, 300):
        split = estimated_top_k(rough, scores, k)
        top = set(np.argsort(truth, kind="stable")[:k])
        assert set(split.likely_in) <= top
        assert not set(split.likely_out) & top
        counts = split.counts
        assert counts["in"] + counts["out"] + counts["undecided"] == 300
        assert counts["in"] <= k <= counts["in"] + counts["undecided"]


def test_a_sharp_solve_decides_nearly_everything():
    problem = clustered(1, n=500, m=50)
    potential = solve_potential(problem.y, problem.x, tolerance=1e-7)
    split = estimated_top_k(potential, potential.gradient(problem.x), 50)
    assert split.counts["undecided"] <= 2
    assert split.counts["in"] >= 48
    with pytest.raises(ValueError, match="k = 0"):
        estimated_top_k(potential, potential.gradient(problem.x), 0)
    with pytest.raises(ValueError, match="k = 501"):
        estimated_top_k(potential, potential.gradient(problem.x), 501)


@given(seed=seeds)
@settings(deadline=None, max_examples=10)
def test_the_dual_value_never_falls_and_the_error_vanishes(seed):
    import torch

    problem = clustered(seed, n=200, m=30)
    side = TargetSide(torch.from_numpy(problem.y), problem.b)
    rows = StoredRows(torch.from_numpy(problem.x), problem.a, side)
    values, errors, g = [], [], np.zeros(30)
    for _ in range(30):
        result = evaluate(rows, Kernel(side, g, 0.5))
        values.append(result.dual_value)
        errors.append(result.marginal_error)
        g = g + 0.5 * (np.log(problem.b) - result.log_column_sum_k)
    assert (np.diff(values) >= -1e-12).all()
    assert (np.diff(errors) <= 1e-12).all()
    solution = iterate(
        lambda g_k: evaluate(rows, Kernel(side, g_k, 0.5)),
        np.zeros(30),
        problem.b,
        epsilon=0.5,
        tolerance=1e-10,
        max_passes=300,
    )
    assert solution.result.marginal_error <= 1e-10
    assert solution.result.dual_value >= values[-1] - 1e-12
    assert solution.contraction is not None
    assert 0 < solution.contraction < 1


@given(seed=seeds)
@settings(deadline=None, max_examples=15)
def test_calibration_keeps_the_order_and_is_the_published_formula(seed):
    rng = np.random.default_rng(seed)
    scores, masses = rng.normal(size=50), rng.dirichlet(np.ones(50))
    uniform = calibrate(scores)
    others = (scores.sum() - scores) / 49
    assert np.abs(uniform - (scores - others)).max() < 1e-5
    assert (np.argsort(uniform) == np.argsort(scores)).all()
    weighted = calibrate(scores, masses)
    assert (np.argsort(weighted) == np.argsort(scores)).all()
    assert masses @ weighted == pytest.approx(0, abs=1e-6)
    assert np.abs(calibrate(scores, np.full(50, 0.02)) - uniform).max() < 1e-6


def test_calibration_of_one_document_is_zero_and_of_none_an_error():
    assert calibrate(np.array([3.0])).tolist() == [0.0]
    with pytest.raises(ValueError, match="gradient"):
        calibrate(np.zeros(0))


def test_the_certificate_of_a_union_equals_that_of_reading_it_all():
    problem = clustered(3, n=600, m=50, clusters=3)
    potential = solve_potential(problem.y, problem.x[:400])
    parts = [problem.x[:400], problem.x[400:]]
    sums = [potential.column_sums(part) for part in parts]
    union = union_certificate(potential, sums, [400, 200])
    read = np.abs(potential.column_sums(problem.x) - potential.target_weights).sum()
    assert union.marginal_error == pytest.approx(read, abs=1e-5)
    alone = union_certificate(potential, sums[:1], [400])
    assert alone.advice == "accept"
    assert alone.marginal_error == pytest.approx(potential.marginal_error, abs=1e-5)
    exact = solve_potential(
        problem.y,
        problem.x,
        center=potential.center,
        epsilon=potential.epsilon,
        tolerance=1e-8,
        max_passes=2_000,
    )
    measured = np.ptp(potential.gradient(problem.x) - exact.gradient(problem.x)) / 2
    assert measured <= union.error_estimate
    with pytest.raises(ValueError, match="column_sums"):
        union_certificate(potential, sums, [400])


def test_a_shard_that_fills_the_deficit_calls_for_a_solve():
    rng = np.random.default_rng(5)
    centres = np.eye(6)
    pool = centres[rng.integers(1, 6, size=500)] + 0.1 * rng.normal(size=(500, 6))
    target = centres[np.zeros(60, dtype=int)] + 0.1 * rng.normal(size=(60, 6))
    rich = centres[np.zeros(250, dtype=int)] + 0.1 * rng.normal(size=(250, 6))
    potential = solve_potential(target, pool)
    sums = [potential.column_sums(part) for part in (pool, rich)]
    assert union_certificate(potential, sums, [500, 250]).advice == "solve"


def test_an_unfinished_solve_reports_what_it_measured():
    problem = clustered(9, n=300, m=40)
    with pytest.warns(NotConverged):
        stopped = solve_potential(problem.y, problem.x, relative_epsilon=0.005, max_passes=3)
    measured = np.abs(stopped.column_sums(problem.x) - 1 / 40).sum()
    assert stopped.marginal_error == pytest.approx(measured, abs=1e-4)
    assert not stopped.converged


@pytest.mark.parametrize("place", ["tamis/transport", "docs/transport.md", "docs/concepts/transport.md"])
def test_the_error_of_scores_is_called_an_estimate_and_nothing_more(place):
    """The bound on the gap alone is exact; a person must not read more into the estimated error."""
    root = Path(__file__).parents[2] / place
    pages = sorted(root.glob("*.py")) if root.is_dir() else [root]
    words = re.compile(r"\bprov(e|es|en)\b|guarantee|error.bound|\bsurely\b|\bcertainly\b", re.IGNORECASE)
    assert {page.name: found for page in pages if (found := words.findall(page.read_text()))} == {}
