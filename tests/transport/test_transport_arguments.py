"""Rows in any form give the same scores, and what cannot be read is named."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tamis.samplers.contrast import contrast, nearest_domains, rank_domains
from tamis.samplers.rounds import select_in_rounds
from tamis.transport import (
    BadShapeError,
    bootstrap_stability,
    calibrate,
    estimated_top_k,
    join,
    nearest_cost,
    smallest_first,
    solve_potential,
    union_certificate,
)
from tamis.transport.exact import distances_to
from tamis.transport.shards import ShardSums

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
DRAW = np.random.default_rng(0)
POOL, TARGET = DRAW.normal(size=(60, 4)), DRAW.normal(size=(20, 4)) + 0.5
FORMS = {
    "list": np.ndarray.tolist,
    "vectors": list,
    "pandas": lambda rows: pd.DataFrame(rows, index=range(5, 5 + len(rows))),
    "polars": pl.DataFrame,
    "column of lists": lambda rows: pl.Series(rows.tolist()),
    "column of arrays": lambda rows: pl.Series(rows.tolist(), dtype=pl.Array(pl.Float64, rows.shape[1])),
    "objects": lambda rows: pd.Series(list(rows)),
}
IDS = [f"d{row}" for row in range(60)]


@pytest.fixture(scope="module")
def potential():
    return solve_potential(TARGET, POOL)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_rows_in_any_form_give_the_same_scores(form, potential):
    pool, target = form(POOL), form(TARGET)
    assert solve_potential(target, pool).fingerprint == potential.fingerprint
    assert np.array_equal(potential.gradient(pool), potential.gradient(POOL))
    assert np.array_equal(nearest_cost(target, pool), nearest_cost(TARGET, POOL))
    assert join(potential, ShardSums.none(potential), "a", pool)[0].rows == {"a": 60}
    assert rank_domains(target, {"a": pool}) == rank_domains(TARGET, {"a": POOL})
    assert distances_to(target, {"a": pool}) == distances_to(TARGET, {"a": POOL})
    chosen = [select_in_rounds(*given, 5, rounds=2).chosen for given in ((target, pool), (TARGET, POOL))]
    assert np.array_equal(*chosen)


def test_the_index_of_a_column_of_ids_means_nothing():
    ids, score_n = pd.Series(IDS, index=range(7, 67)), np.zeros(60)
    assert np.array_equal(smallest_first(score_n, 5, ids=ids), smallest_first(score_n, 5, ids=IDS))


@pytest.mark.parametrize("rows", [[[1, 2], [3]], ["a"], {"a": POOL}, None, 3])
def test_what_are_no_rows_is_named(rows, potential):
    for call in (
        lambda: solve_potential(rows, POOL),
        lambda: solve_potential(TARGET, rows),
        lambda: potential.gradient(rows),
        lambda: distances_to(rows, {"a": POOL}),
    ):
        with pytest.raises(BadShapeError):
            call()


@pytest.mark.parametrize("documents", [{}, None, [POOL], POOL])
def test_sets_of_rows_have_names(documents):
    for call in (distances_to, rank_domains, lambda target, sets: nearest_domains(target, sets, 1)):
        with pytest.raises(BadShapeError, match="a dict of rows"):
            call(TARGET, documents)


def test_sets_are_as_wide_as_the_examples():
    with pytest.raises(BadShapeError, match="b: width 3; expected width 4"):
        distances_to(TARGET, {"a": POOL, "b": POOL[:, :3]})


@pytest.mark.parametrize("wrong", [1.5, None, "a"])
def test_numbers_of_rows_are_whole(wrong, potential):
    gradient = potential.gradient(POOL)
    for call in (
        lambda: estimated_top_k(potential, gradient, wrong),
        lambda: smallest_first(gradient, wrong if wrong else "a"),
        lambda: select_in_rounds(TARGET, POOL, wrong),
        lambda: select_in_rounds(TARGET, POOL, 5, rounds=wrong),
        lambda: select_in_rounds(TARGET, POOL, 5, mixing=wrong),
        lambda: nearest_domains(TARGET, {"a": POOL, "b": POOL}, wrong),
        lambda: rank_domains(TARGET, {"a": POOL}, sample_rows=wrong),
        lambda: bootstrap_stability(TARGET, POOL, potential, wrong),
        lambda: bootstrap_stability(TARGET, POOL, potential, 5, resamples=wrong),
        lambda: bootstrap_stability(TARGET, POOL, potential, 5, sample=wrong),
    ):
        with pytest.raises(BadShapeError):
            call()


@pytest.mark.parametrize("seed", [-1, 1.5, None, "a"])
def test_a_seed_is_a_whole_number(seed, potential):
    for call in (
        lambda: solve_potential(TARGET, POOL, seed=seed),
        lambda: distances_to(TARGET, {"a": POOL}, seed=seed),
        lambda: bootstrap_stability(TARGET, POOL, potential, 5, seed=seed),
    ):
        with pytest.raises(BadShapeError, match="seed"):
            call()


def test_other_arguments_are_named(potential):
    gradient = potential.gradient(POOL)
    for option in ({"relative_epsilon": None}, {"tolerance": None}, {"warm_start": "potential.npz"}):
        with pytest.raises(BadShapeError, match=next(iter(option))):
            solve_potential(TARGET, POOL, **option)
    for weight in (None, "a"):
        with pytest.raises(BadShapeError, match="weight"):
            contrast(potential, POOL, good=potential, weight=weight)
        with pytest.raises(BadShapeError, match="quality_weight"):
            select_in_rounds(TARGET, POOL, 5, quality=np.ones(60), quality_weight=weight)
    for scores in ("a", ["a"]):
        for call in (calibrate, smallest_first, lambda given: estimated_top_k(potential, given, 1)):
            with pytest.raises(BadShapeError):
                call(scores)
    sums = potential.column_sums(POOL)
    assert union_certificate(potential, [sums], [60]) == union_certificate(potential, sums[None], [60])
    for rows in (["a"], None):
        with pytest.raises(BadShapeError):
            union_certificate(potential, [sums], rows)
    assert len(gradient) == 60
