"""Shards that come and go: sums that add up, and files of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import clustered

from tamis.base.archives import UnreadableFileError
from tamis.transport import (
    OtherPotentialError,
    ShardNameError,
    ShardSums,
    UnknownShardError,
    join,
    leave,
    solve_potential,
)

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)


def joined(potential, shards):
    sums = ShardSums.none(potential)
    for shard, rows in shards.items():
        sums, _ = join(potential, sums, shard, rows)
    return sums


@given(seed=seeds, cut=st.integers(1, 299))
@settings(deadline=None, max_examples=10)
def test_sums_of_shards_are_those_of_the_union_in_any_order(seed, cut):
    problem = clustered(seed, n=300, m=30)
    potential = solve_potential(problem.y, problem.x)
    shards = {"b": problem.x[:cut], "a": problem.x[cut:]}
    forth = joined(potential, shards).certificate(potential)
    back = joined(potential, dict(reversed(shards.items()))).certificate(potential)
    assert forth == back
    whole = joined(potential, {"all": problem.x}).certificate(potential)
    assert forth.marginal_error == pytest.approx(whole.marginal_error, abs=1e-6)
    assert forth.marginal_error == pytest.approx(potential.marginal_error, abs=1e-5)


def test_a_shard_that_leaves_takes_its_sums_with_it_and_one_that_joins_again_replaces_them():
    problem = clustered(1, n=300, m=30)
    potential = solve_potential(problem.y, problem.x)
    base = joined(potential, {"a": problem.x[:200]})
    more, scores = join(potential, base, "b", problem.x[200:])
    assert (scores == potential.gradient(problem.x[200:])).all()
    assert more.certificate(potential) != base.certificate(potential)
    assert leave(more, "b").certificate(potential) == base.certificate(potential)
    again, _ = join(potential, more, "b", problem.x[200:210])
    assert again.rows == {"a": 200, "b": 10}
    with pytest.raises(UnknownShardError, match="'c'"):
        leave(more, "c")


def test_a_shard_without_rows_weighs_nothing_and_no_rows_at_all_have_no_certificate():
    problem = clustered(2, n=200, m=30)
    potential = solve_potential(problem.y, problem.x)
    base = joined(potential, {"a": problem.x})
    empty, scores = join(potential, base, "nothing", problem.x[:0])
    assert scores.shape == (0,)
    assert empty.certificate(potential) == base.certificate(potential)
    alone = leave(empty, "a")
    with pytest.raises(ValueError, match="0 rows in 1 parts"):
        alone.certificate(potential)
    with pytest.raises(ValueError, match="0 rows in 0 parts"):
        ShardSums.none(potential).certificate(potential)


def test_a_column_that_nothing_reaches_is_finite():
    problem = clustered(3, n=200, m=30)
    potential = solve_potential(problem.y, problem.x)
    sums = ShardSums(
        fingerprint=potential.fingerprint, rows={"a": 5}, sums={"a": np.eye(30)[0].astype(np.float64)}
    )
    certificate = sums.certificate(potential)
    assert certificate.advice == "solve"
    assert np.isfinite([certificate.marginal_error, certificate.gap_bound, certificate.error_estimate]).all()


@pytest.mark.parametrize("name", ["sums", "sums.bin", "a b.npz"])
def test_a_file_is_exactly_the_path_and_everything_comes_back(tmp_path, name):
    problem = clustered(4, n=200, m=30)
    potential = solve_potential(problem.y, problem.x)
    sums = joined(potential, {"é/1.txt": problem.x[:50], "b": problem.x[50:]})
    sums.save(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    loaded = ShardSums.load(tmp_path / name)
    assert loaded.rows == sums.rows
    assert loaded.certificate(potential) == sums.certificate(potential)
    ShardSums.none(potential).save(tmp_path / name)
    assert ShardSums.load(tmp_path / name).rows == {}


def test_other_files_and_other_potentials_are_refused(tmp_path):
    problem = clustered(5, n=200, m=30)
    potential = solve_potential(problem.y, problem.x)
    potential.save(tmp_path / "potential")
    with pytest.raises(UnreadableFileError):
        ShardSums.load(tmp_path / "potential")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(UnreadableFileError):
        ShardSums.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        ShardSums.load(tmp_path / "absent")
    sums = joined(potential, {"a": problem.x})
    other = solve_potential(problem.y, problem.x, tolerance=1e-6)
    with pytest.raises(OtherPotentialError):
        sums.certificate(other)
    with pytest.raises(OtherPotentialError):
        join(other, sums, "b", problem.x)


def test_blocks_without_rows_are_an_empty_shard():
    problem = clustered(9, n=200, m=30)
    potential = solve_potential(problem.y, problem.x)
    base = joined(potential, {"a": problem.x})
    for nothing in ([], [problem.x[:0]], iter([])):
        empty, scores = join(potential, base, "e", nothing)
        assert scores.shape == (0,)
        assert empty.rows == {"a": 200, "e": 0}
        assert empty.certificate(potential) == base.certificate(potential)
    late, scores = join(potential, base, "a", iter([problem.x[:0], problem.x[:30], problem.x[30:]]))
    assert (scores == potential.gradient(problem.x)).all()
    assert late.rows == {"a": 200}


def test_a_shard_is_named_by_a_text():
    problem = clustered(10, n=200, m=30)
    potential = solve_potential(problem.y, problem.x)
    with pytest.raises(ShardNameError, match="shard name 3 is of type int; expected str"):
        join(potential, ShardSums.none(potential), 3, problem.x)
    with pytest.raises(ShardNameError, match="NoneType"):
        ShardSums(fingerprint="", rows={"a": 1, None: 2}, sums={})
