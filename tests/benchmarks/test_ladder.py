"""The ladder of sizes: rank correlations of figures that are known, and what a size states."""

import pytest
from test_warm_up import TASKS, run, scores

from benchmarks._warm_up_runs import NONE, _require_precision
from benchmarks.ladder import RUNGS, SAMPLERS, agreement, main
from benchmarks.warm_up import Scores
from tamis.base.precision import computing_in

ARMS = (NONE, "random", "knn", "got-d")


def test_sizes_that_rank_alike_agree_and_the_interval_holds_the_mean():
    small = scores(no_warm_up=100, random=200, knn=260, got_d=280)
    large = scores(no_warm_up=150, random=220, knn=300, got_d=350)
    assert agreement(small, small, TASKS, ARMS)[0] == 1.0
    mean, low, high = agreement(small, large, TASKS, ARMS)
    assert mean == 1.0
    assert 0.8 < low <= mean <= high <= 1.0


def test_sizes_that_rank_the_other_way_round_disagree():
    small = scores(no_warm_up=100, random=200, knn=260, got_d=340)
    large = scores(no_warm_up=340, random=260, knn=200, got_d=100)
    mean, _low, high = agreement(small, large, TASKS, ARMS)
    assert mean == -1.0
    assert high < 0


def test_an_interval_is_wide_where_the_seeds_disagree():
    counts = {
        NONE: (200, 240, 200),
        "random": (210, 200, 240),
        "knn": (240, 210, 200),
        "got-d": (205, 245, 210),
    }
    runs = [
        run(task, arm, seed, count)
        for task in TASKS
        for arm, of_seeds in counts.items()
        for seed, count in enumerate(of_seeds)
    ]
    mean, low, high = agreement(Scores(TASKS, runs), Scores(TASKS, runs), TASKS, ARMS)
    assert mean == 1.0
    assert high - low > 0.5


@pytest.mark.parametrize("name", RUNGS)
def test_every_size_compares_the_same_samplers(name):
    assert {"random", "knn", "tsds", "got-d"} == set(SAMPLERS)
    assert RUNGS[name].needs_gpu == (RUNGS[name].parameters > 100_000_000)


@pytest.mark.parametrize(("more", "why"), [([], "2"), (["--home", "empty"], "does not hold the choices")])
def test_only_training_needs_a_folder_with_the_choices(tmp_path, monkeypatch, more, why):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ladder", "--chosen", *more])
    with pytest.raises(SystemExit, match=why):
        main()


def test_runs_of_two_precisions_do_not_share_a_folder(tmp_path):
    with computing_in("float32"):
        _require_precision(tmp_path)
        _require_precision(tmp_path)
    with (
        computing_in("bfloat16"),
        pytest.raises(SystemExit, match="made in float32, and this machine uses bf"),
    ):
        _require_precision(tmp_path)
