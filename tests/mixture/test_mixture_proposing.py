"""Mixtures to run: on the simplex, under their caps, unlike one another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.mixture import (
    BadMixtureSettingError,
    BadWeightsError,
    InfeasibleCapsError,
    fit_mixture_law,
    propose_runs,
    runs_needed,
)


@given(sources=st.integers(2, 24), runs=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_proposed_runs_are_distinct_mixtures_under_the_caps(sources, runs, seed):
    prior = np.random.default_rng(seed).dirichlet(np.ones(sources))
    found = propose_runs(prior, runs, seed)
    assert found.shape == (runs, sources)
    assert found.min() >= 0
    assert np.abs(found.sum(1) - 1).max() < 1e-9
    assert (found <= np.minimum(1, 15 * prior) + 1e-9).all()
    apart = np.abs(found[:, None] - found).sum(2) + 9 * np.eye(runs)
    assert apart.min() > 5e-4
    assert np.array_equal(found, propose_runs(prior, runs, seed))


def test_another_seed_proposes_others():
    prior = [0.5, 0.3, 0.2]
    assert not np.array_equal(propose_runs(prior, 10, 0), propose_runs(prior, 10, 1))


@pytest.mark.parametrize("maximum", [0.3, [0.2, 0.3, 0.4, 0.5]])
def test_caps_may_be_tight(maximum):
    found = propose_runs([0.7, 0.1, 0.1, 0.1], 30, maximum=maximum)
    assert (found <= np.asarray(maximum) + 1e-9).all()
    assert found.sum(1) == pytest.approx(np.ones(30))


def test_runs_reach_far_from_the_prior_and_tell_every_source():
    prior = np.random.default_rng(0).dirichlet(np.full(10, 2.0))
    found = propose_runs(prior, 33)
    assert (found.max(0) > 0.25 * np.minimum(1, 15 * prior)).all()
    slopes = np.random.default_rng(1).normal(size=10)
    law = fit_mixture_law(found, 2 + np.exp(np.sqrt(found) @ slopes), "root")
    others = propose_runs(prior, 100, seed=9)
    assert law.predict(others) == pytest.approx(2 + np.exp(np.sqrt(others) @ slopes), rel=0.05)


def test_sources_of_prior_zero_are_left_out():
    found = propose_runs([0.5, 0.0, 0.5], 10, maximum=1.0)
    assert (found[:, 1] == 0).all()
    assert (propose_runs([1.0], 3) == 1).all()


def test_what_cannot_be_proposed_is_refused():
    with pytest.raises(InfeasibleCapsError):
        propose_runs([0.5, 0.5], 4, maximum=0.4)
    with pytest.raises(BadMixtureSettingError, match="more mixtures that differ enough"):
        propose_runs([0.5, 0.5], 4, maximum=0.5)
    for runs in (0, -1, 1.5, True):
        with pytest.raises(BadMixtureSettingError):
            propose_runs([0.5, 0.5], runs)
    with pytest.raises(BadMixtureSettingError):
        propose_runs([0.5, 0.5], 4, maximum=[1, 1, 1])
    with pytest.raises(BadWeightsError):
        propose_runs([0.5, 0.6], 4)


def test_a_first_swarm_has_three_runs_a_parameter():
    assert [runs_needed(sources) for sources in (1, 3, 8, 17)] == [12, 12, 27, 54]
