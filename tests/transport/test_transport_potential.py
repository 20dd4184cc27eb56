"""The potential as an object: scores of new rows, column sums, files, and the cats and dogs it is for."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import centred, clustered, costs, prepared

from tamis.base.archives import write_npz
from tamis.transport import TargetPotential, UnreadablePotentialError, nearest_cost, solve_potential

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)


@given(seed=seeds, relative=st.sampled_from([0.005, 0.03, 0.1]))
@settings(deadline=None, max_examples=15)
def test_scores_and_column_sums_are_their_formulas(seed, relative):
    problem = clustered(seed)
    potential = solve_potential(
        problem.y, problem.x, relative_epsilon=relative, tolerance=1e-2, **problem.weights
    )
    cost = costs(prepared(problem))
    exponent = np.log(problem.b) + (potential.g - cost) / potential.epsilon
    largest = exponent.max(1)
    terms = np.exp(exponent - largest[:, None])
    expected = -potential.epsilon * (largest + np.log(terms.sum(1)))
    sums = (problem.a[:, None] * terms / terms.sum(1, keepdims=True)).sum(0)
    assert np.abs(potential.gradient(problem.x) - expected).max() < 1e-5
    assert np.abs(potential.column_sums(problem.x, problem.a) - sums).max() < 1e-5
    assert potential.column_sums(problem.x).sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(sums - problem.b).sum() == pytest.approx(potential.marginal_error, abs=1e-4)
    assert potential.dual_value == pytest.approx(problem.a @ expected + problem.b @ potential.g, abs=1e-5)
    assert problem.b @ potential.g == pytest.approx(0, abs=1e-6)


@given(seed=seeds, split=st.integers(1, 119))
@settings(deadline=None, max_examples=10)
def test_shards_scored_apart_add_up_and_row_costs_are_added(seed, split):
    problem = clustered(seed)
    potential = solve_potential(problem.y, problem.x)
    whole, parts = potential.gradient(problem.x), [problem.x[:split], problem.x[split:]]
    apart = np.concatenate([potential.gradient(part) for part in parts])
    assert np.abs(whole - apart).max() < 1e-6
    share = split / 120
    summed = share * potential.column_sums(parts[0]) + (1 - share) * potential.column_sums(parts[1])
    assert np.abs(summed - potential.column_sums(problem.x)).max() < 1e-6
    penalty = np.random.default_rng(seed).random(120)
    assert np.abs(potential.gradient(problem.x, row_cost=penalty) - (whole + penalty)).max() < 1e-6
    both = potential.score(problem.x)
    assert (both[0] == whole).all()
    assert (both[1] == potential.column_sums(problem.x)).all()


def test_a_row_cost_is_the_same_as_a_cost_in_the_problem():
    problem = clustered(3)
    penalty = np.random.default_rng(3).random(120)
    cost = costs(prepared(problem)) + penalty[:, None]
    potential = solve_potential(problem.y, problem.x, tolerance=1e-8, **problem.weights)
    import ot

    log = ot.bregman.sinkhorn_log(problem.a, problem.b, cost, potential.epsilon, stopThr=1e-11, log=True)[1]
    expected = potential.epsilon * (log["log_u"] - np.log(problem.a))
    found = potential.gradient(problem.x, row_cost=penalty)
    assert np.abs(centred(found) - centred(expected)).max() < 1e-5


def test_the_same_inputs_and_seed_give_the_same_bits():
    problem = clustered(5, n=500)
    potentials = [solve_potential(problem.y, problem.x) for _ in range(2)]
    assert potentials[0].fingerprint == potentials[1].fingerprint
    assert (potentials[0].gradient(problem.x) == potentials[1].gradient(problem.x)).all()
    assert solve_potential(problem.y, problem.x, tolerance=1e-5).fingerprint != potentials[0].fingerprint


@pytest.mark.parametrize("name", ["potential", "potential.bin", "a b.npz"])
@pytest.mark.parametrize("center", [True, False])
def test_a_file_is_exactly_the_path_and_everything_comes_back(tmp_path, name, center):
    problem = clustered(7)
    potential = solve_potential(problem.y, problem.x, center=center)
    potential.save(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    loaded = TargetPotential.load(tmp_path / name)
    assert loaded.fingerprint == potential.fingerprint
    assert (loaded.gradient(problem.x) == potential.gradient(problem.x)).all()
    for field in (
        "epsilon",
        "marginal_error",
        "gap_bound",
        "error_estimate",
        "passes",
        "converged",
        "contraction",
    ):
        assert getattr(loaded, field) == getattr(potential, field)
        assert type(getattr(loaded, field)) is type(getattr(potential, field))
    warm = solve_potential(problem.y, problem.x, warm_start=loaded, center=center)
    assert warm.passes == 1


def test_a_file_that_is_none_or_was_altered_is_refused(tmp_path):
    path = tmp_path / "potential"
    path.write_bytes(b"not a potential")
    with pytest.raises(UnreadablePotentialError):
        TargetPotential.load(path)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(UnreadablePotentialError, match="format"):
        TargetPotential.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        TargetPotential.load(tmp_path / "absent")


def stored(path):
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.parametrize("name", [field.name for field in fields(TargetPotential)] + ["fingerprint"])
def test_no_field_of_a_file_can_be_altered_or_dropped_unnoticed(tmp_path, name):
    problem, path = clustered(9), tmp_path / "potential"
    solve_potential(problem.y, problem.x).save(path)
    values = stored(path)
    value = values.pop(name)
    altered = (
        np.asarray("0" * 64)
        if value.dtype.kind == "U"
        else (value == 0 if value.dtype == bool else value * 1.0001)
    )
    for changed in (values, {**values, name: altered}):
        write_npz(path, **changed)
        with pytest.raises(
            UnreadablePotentialError, match="the content does not match its digest; expected a"
        ):
            TargetPotential.load(path)
    write_npz(path, **values, **{name: value})
    assert TargetPotential.load(path).converged


def test_files_of_the_first_format_are_refused_as_such(tmp_path):
    problem, path = clustered(9), tmp_path / "potential"
    solve_potential(problem.y, problem.x).save(path)
    values = {name: value for name, value in stored(path).items() if name != "content"}
    write_npz(path, **{**values, "format": np.asarray(1)})
    with pytest.raises(UnreadablePotentialError, match="unsupported file format; expected a file written by"):
        TargetPotential.load(path)


def test_a_fingerprint_is_over_what_scores_depend_on_and_the_same_in_every_version():
    potential = TargetPotential(
        points=np.arange(6, dtype=np.float32).reshape(3, 2),
        potential=np.array([0.5, -0.25, -0.25]),
        target_weights=np.array([0.5, 0.25, 0.25]),
        center=np.array([1.0, 2.0]),
        normalize=True,
        epsilon=0.125,
        mean_cost=2.0,
        marginal_error=0.01,
        dual_value=1.0,
        gap_bound=0.1,
        error_estimate=0.1,
        passes=3.0,
        converged=True,
        optimal_range=4.0,
        contraction=0.5,
    )
    # Fixed: versions of data are made from it.
    assert potential.fingerprint == "14e369197abf5c051dde7531b7072d50a9e56aa33f27f69004d01e9d4b0bcf25"
    assert replace(potential, marginal_error=0.02, passes=4.0).fingerprint == potential.fingerprint


@pytest.mark.parametrize("tolerance", [1e-6, 1e-7])
@given(seed=seeds)
@settings(deadline=None, max_examples=4)
def test_a_potential_shows_the_error_that_was_measured_where_float32_could_not(tolerance, seed):
    problem = clustered(seed, n=2_000, m=200)
    potential = solve_potential(problem.y, problem.x, tolerance=tolerance, max_passes=5_000)
    assert potential.points.dtype == np.float64
    sums = potential.column_sums(problem.x).astype(np.float64)
    assert np.abs(sums - potential.target_weights).sum() == pytest.approx(potential.marginal_error, abs=3e-8)
    assert solve_potential(problem.y, problem.x, tolerance=1e-4).points.dtype == np.float32


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dogs_are_chosen_where_the_pool_has_cats_enough(seed):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, 64)) / 8

    def draw(topics):
        return centres[topics] + 0.1 * rng.normal(size=(len(topics), 64))

    cats, dogs, others = [0.25], [0.005] * 4, [0.73 / 25] * 25
    topics = rng.choice(30, size=3_000, p=[*cats, *dogs, *others])
    pool, target = draw(topics), draw(rng.choice(5, size=500, p=[0.1, *[0.225] * 4]))
    is_dog = np.isin(topics, [1, 2, 3, 4])
    chosen = np.argsort(solve_potential(target, pool).gradient(pool))[:300]
    nearest = np.argsort(nearest_cost(target, pool))[:300]
    assert (topics[chosen] == 0).mean() < 0.1
    assert is_dog[chosen].sum() >= 0.95 * is_dog.sum()
    assert (topics[nearest] == 0).mean() > 0.5


@given(seed=seeds)
@settings(deadline=None, max_examples=8)
def test_the_nearest_cost_is_that_of_brute_force(seed):
    problem = clustered(seed)
    raw = nearest_cost(problem.y, problem.x, center=False, normalize=False)
    assert np.abs(raw - costs(problem).min(1)).max() < 1e-4
    unweighted = clustered(seed)
    same_centre = nearest_cost(problem.y, problem.x, center=unweighted.x.mean(0))
    assert (nearest_cost(problem.y, problem.x) == same_centre).all()
    assert (nearest_cost(problem.y, problem.y, center=None) < 1e-5).all()
