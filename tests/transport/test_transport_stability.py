"""The bootstrap over the target: certain where the target is many, uncertain where it is few."""

import numpy as np
import pytest
from transport_problems import Blocks, clustered

from tamis.transport import bootstrap_stability, solve_potential

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")


def test_more_target_points_are_more_stable():
    found = []
    for m in (10, 400):
        problem = clustered(1, n=1_500, m=m, d=8)
        potential = solve_potential(problem.y, problem.x)
        found.append(bootstrap_stability(problem.y, problem.x, potential, 150, resamples=5))
    assert found[0].mean_overlap < found[1].mean_overlap - 0.05
    for stability in found:
        assert 0 <= stability.lowest_overlap <= stability.mean_overlap <= 1
    assert found[1].lowest_overlap > 0.6


def test_a_sample_keeps_the_share_and_blocks_give_the_same():
    problem = clustered(2, n=1_000, m=60)
    potential = solve_potential(problem.y, problem.x)
    options = {"resamples": 3, "sample": 500, "seed": 4}
    stability = bootstrap_stability(problem.y, problem.x, potential, 100, **options)
    assert (stability.sample_rows, stability.sample_k, stability.resamples) == (500, 50, 3)
    blocks = Blocks(problem.x, [77])
    assert bootstrap_stability(problem.y, blocks, potential, 100, **options) == stability
    assert bootstrap_stability(problem.y, problem.x, potential, 100, resamples=3, sample=500, seed=5) != (
        stability
    )
    # Every document is in any choice of all of them.
    assert bootstrap_stability(problem.y, problem.x, potential, 1_000, **options).lowest_overlap == 1


def test_a_single_target_point_leaves_nothing_to_draw():
    problem = clustered(3, n=200, m=1)
    potential = solve_potential(problem.y, problem.x)
    stability = bootstrap_stability(problem.y, problem.x, potential, 20, resamples=2)
    assert stability.mean_overlap == 1


def test_settings_that_make_no_sense_are_refused():
    problem = clustered(4)
    potential = solve_potential(problem.y, problem.x)
    for k in (0, 121):
        with pytest.raises(ValueError, match="k"):
            bootstrap_stability(problem.y, problem.x, potential, k)
    with pytest.raises(ValueError, match="resamples"):
        bootstrap_stability(problem.y, np.asarray(problem.x), potential, 5, resamples=1)
