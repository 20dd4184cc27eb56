"""Domains by their distance to a target: against POT, blind to blocks and order, right about what is near."""

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import Blocks

from tamis.base.progress import ignore
from tamis.samplers.contrast import _sample, nearest_domains, rank_domains
from tamis.transport import BadShapeError, BadVectorError
from tamis.transport.cost import RowSource

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)


def domains_of(seed, sizes=(80, 150, 220, 60), d=8):
    """Domains around their own centres; the target mixes the second and, less, the third."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(len(sizes), d))

    def draw(kinds):
        return centres[kinds] + 0.6 * rng.normal(size=(len(kinds), d))

    domains = {f"d{kind}": draw(np.full(size, kind)) for kind, size in enumerate(sizes)}
    return draw(np.where(rng.random(90) < 0.8, 1, 2)), domains


def entropic(y, x, epsilon):
    """Entropic distance under KL(P | a x b), by POT."""
    cost = ot.dist(x, y)
    a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
    log = ot.bregman.sinkhorn_log(a, b, cost, epsilon, stopThr=1e-6, numItermax=2_000, log=True)[1]
    return epsilon * (a @ (log["log_u"] - np.log(a)) + b @ (log["log_v"] - np.log(b)))


@given(seed=seeds)
@settings(deadline=None, max_examples=2)
def test_distances_are_those_of_pot(seed):
    target, domains = domains_of(seed, sizes=(80,) * 4)
    ranking = rank_domains(target, domains, relative_epsilon=0.1, tolerance=1e-6)
    centre = np.mean([rows.mean(0) for rows in domains.values()], axis=0)
    points = {
        name: (rows - centre) / np.linalg.norm(rows - centre, axis=1, keepdims=True)
        for name, rows in {"target": target, **domains}.items()
    }
    mean = np.mean([ot.dist(points[name], points["target"]).mean() for name in domains])
    own = entropic(points["target"], points["target"], 0.1 * mean)
    for found in ranking:
        x, y = points[found.domain], points["target"]
        distance = entropic(y, x, 0.1 * mean)
        assert found.distance == pytest.approx(distance, abs=1e-4)
        expected = distance - (own + entropic(x, x, 0.1 * mean)) / 2
        assert found.divergence == pytest.approx(expected, abs=1e-4)
        assert found.divergence >= -1e-6
        assert found.rows == found.sampled == len(domains[found.domain])
    assert [found.divergence for found in ranking] == sorted(found.divergence for found in ranking)


@pytest.mark.parametrize("by", ["divergence", "distance", "gradient"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_domain_the_target_is_made_of_is_nearest(by, seed):
    target, domains = domains_of(seed)
    ranking = rank_domains(target, domains, by=by)
    assert ranking[0].domain == "d1"
    assert ranking[0].mean_gradient < 0
    kept = nearest_domains(target, domains, 2, by=by)
    assert list(kept) == [found.domain for found in ranking[:2]]
    assert kept["d1"] is domains["d1"]
    assert sum(found.mean_gradient for found in ranking) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("by", ["divergence", "distance"])
@pytest.mark.parametrize("size", [30, 100])
def test_a_domain_is_not_farther_because_it_is_small(by, size):
    target, domains = domains_of(7, sizes=(400, 400, 400))
    far, near = domains["d0"], domains["d1"]
    ranking = rank_domains(target, {"large": near[size:], "small": near[:size], "far": far}, by=by)
    found = {one.domain: getattr(one, by) for one in ranking}
    assert abs(found["small"] - found["large"]) < 0.1 * (found["far"] - found["large"])


def test_a_domain_that_is_the_target_has_no_divergence():
    target, domains = domains_of(3, sizes=(90, 150, 220, 100))
    ranking = rank_domains(target, {"same": target, **domains}, tolerance=1e-6)
    assert ranking[0].domain == "same"
    assert ranking[0].divergence == pytest.approx(0, abs=1e-6)
    assert ranking[1].divergence > 0.01


def test_blocks_generators_and_the_order_of_domains_do_not_matter():
    target, domains = domains_of(4)
    options = {"sample_rows": 50, "seed": 3}
    base = rank_domains(target, domains, **options)
    assert all(found.sampled == 50 for found in base)
    blocks = {name: Blocks(rows, [7, 40]) for name, rows in domains.items()}
    assert rank_domains(target, blocks, **options) == base
    generators = {name: iter([rows[:5], rows[5:]]) for name, rows in domains.items()}
    assert rank_domains(target, generators, **options) == base
    turned = rank_domains(target, dict(reversed(domains.items())), **options)
    assert [found.domain for found in turned] == [found.domain for found in base]
    assert turned[0].distance == pytest.approx(base[0].distance, abs=1e-4)


@given(seed=seeds, count=st.integers(1, 90), size=st.integers(1, 40), block=st.integers(1, 30))
@settings(deadline=None, max_examples=25)
def test_a_sample_is_rows_in_order_whatever_the_blocks(seed, count, size, block):
    rows = np.arange(1.0, count + 1)[:, None]
    sample, read = _sample(RowSource(rows, "rows"), "a", size, seed, ignore)
    assert read == count
    assert len(sample) == min(size, count)
    assert (np.diff(sample[:, 0]) > 0).all()
    assert set(sample[:, 0]) <= set(rows[:, 0])
    again = RowSource(Blocks(rows, [block]), "rows")
    assert (_sample(again, "a", size, seed, ignore)[0] == sample).all()


def test_every_row_is_as_likely_to_be_sampled():
    rows = np.arange(60.0)[:, None]
    source = RowSource(rows, "rows")
    drawn = np.concatenate([_sample(source, "a", 15, seed, ignore)[0][:, 0] for seed in range(800)])
    counts = np.bincount(drawn.astype(int), minlength=60)
    assert np.abs(counts - 200).max() < 5 * np.sqrt(200 * 0.75)


def test_what_does_not_fit_is_refused():
    target, domains = domains_of(5)
    for keep in (0, 5):
        with pytest.raises(ValueError, match="keep"):
            nearest_domains(target, domains, keep)
    with pytest.raises(ValueError, match="domains"):
        rank_domains(target, {})
    with pytest.raises(ValueError, match="domain empty: no rows"):
        rank_domains(target, {**domains, "empty": np.zeros((0, 8))})
    with pytest.raises(ValueError, match="only once"):
        nearest_domains(target, {"a": iter([target])}, 1)


@pytest.mark.parametrize(
    "call", [rank_domains, lambda *given, **options: nearest_domains(*given, 1, **options)]
)
def test_a_row_that_is_no_point_is_named_with_its_domain(call):
    target, domains = domains_of(6)
    for bad, problem in ((np.nan, "not finite"), (np.inf, "not finite"), (0.0, "a zero vector")):
        rows = domains["d2"].copy()
        rows[137] = bad
        for given_rows in (rows, Blocks(rows, [50])):
            with pytest.raises(BadVectorError, match=f"domain d2 row 137: {problem}"):
                call(target, {**domains, "d2": given_rows}, sample_rows=20)
    zero = np.where(np.arange(90)[:, None] == 4, 0, target)
    with pytest.raises(BadVectorError, match="target row 4: a zero vector"):
        call(zero, domains)
    call(zero, {**domains, "d2": rows}, sample_rows=20, normalize=False)
    with pytest.raises(BadShapeError, match="domain d1: shape"):
        call(target, {**domains, "d1": np.zeros(8)})
