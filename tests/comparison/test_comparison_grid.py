"""The planned runs: pairs are whole, baselines always there."""

from tamis.comparison.runs import FULL, RANDOM, planned_runs


def test_every_pair_of_seeds_meets_every_sampler_and_both_baselines():
    runs = planned_runs(["got-d", RANDOM], ["10%", 500], 3, 2)
    assert len(runs) == len(set(runs)) == 3 * 2 * (1 + 2 * 2)
    first_pair = runs[: 1 + 2 * 2]
    assert {(run.data_seed, run.training_seed) for run in first_pair} == {(0, 0)}
    assert [run.sampler for run in first_pair] == [FULL, RANDOM, "got-d", RANDOM, "got-d"]
    assert {run.budget for run in first_pair} == {"100%", "10%", "500"}
