"""Compared runs that Tamis trains, by the user's evaluation: their checkpoints last until it has ended."""

from made_evaluations import TRAINED
from test_graph_controls import COMPARED

from tamis.comparison.analysis import stored_report


def test_runs_are_evaluated_on_a_checkpoint_that_is_erased(evaluated):
    evaluated.configure(evaluated.text + COMPARED)
    evaluated.make(TRAINED | {"sampler_trials"})
    runs = evaluated.store.read("sampler_trials")["run"].to_list()
    scores = evaluated.store.read("sampler_trials_scores")
    assert sorted(scores["run"].unique()) == sorted(runs)
    assert scores.select("task", "example").n_unique() == 10
    assert list((evaluated.home.cache / "compared").glob("*")) == []
    found = stored_report(evaluated.store, evaluated.project.settings, 0)
    assert found.scores["kitchen"].arms[0].loss == 0.5, "the mean of five right answers of ten"
