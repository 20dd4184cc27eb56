"""The potential as an object: scores of new rows, column sums, files, and the cats and dogs it is for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import centred, clustered, costs, prepared

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
        "error_bound",
        "passes",
        "converged",
        "contraction",
    ):
        assert getattr(loaded, field) == getattr(potential, field)
        assert type(getattr(loaded, field)) is type(getattr(potential, field))
    warm = solve_potential(problem.y, problem.x, warm_start=loaded, center=center)
    assert warm.passes == 1


def test_a_file_that_is_none_or_was_altered_is_refused(tmp_path):
    problem = clustered(9)
    path = tmp_path / "potential"
    path.write_bytes(b"not a potential")
    with pytest.raises(UnreadablePotentialError):
        TargetPotential.load(path)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(UnreadablePotentialError, match="format"):
        TargetPotential.load(tmp_path / "other.npz")
    solve_potential(problem.y, problem.x).save(path)
    with np.load(path) as archive:
        values = {name: archive[name] for name in archive.files}
    values["potential"] = values["potential"] + np.linspace(0, 1e-3, 25)
    with path.open("wb") as file:
        np.savez(file, **values)
    with pytest.raises(UnreadablePotentialError, match="fingerprint"):
        TargetPotential.load(path)
    with pytest.raises(FileNotFoundError):
        TargetPotential.load(tmp_path / "absent")


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
