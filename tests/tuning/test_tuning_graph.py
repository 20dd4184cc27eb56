"""A recipe found and tested through the graph, on a command whose losses follow from a surface in a file."""

import pytest
from tuned_project import FLAT, HELPFUL, WANTED, answer_of, calls, rows_of, shape


def test_documents_that_help_are_chosen_and_the_gain_is_proven(project):
    shape(project, HELPFUL)
    outcome = project.make(WANTED)
    assert not outcome.failed
    answer, rows = answer_of(project), rows_of(project)
    assert answer["recipe"] in ("got-d, rate 0.001", "knn, rate 0.001", "examples alone, rate 0.001")
    assert answer["shipped"]
    assert answer["difference"] < 0
    assert answer["high"] < 0
    assert len(calls(project)) == len(set(calls(project))) == len(rows)
    assert set(rows["part"]) == {"rate", "search", "guard"}
    assert rows.filter(part="guard").height == 6
    spent = answer["choosing_flop"] + answer["search_flop"] + answer["guard_flop"]
    assert spent <= answer["budget_flop"] * 1.000001
    assert "recipe" not in project.make(WANTED).made, "nothing is due"
    assert len(calls(project)) == len(rows)


@pytest.mark.slow  # a minute of programs that start
def test_the_search_warms_a_model_up_on_the_examples_to_fit_alone(project):
    shape(project, FLAT)
    project.reconfigure('samplers = ["got-d", "knn", "score:edu"]', 'samplers = ["target-path:given"]')
    project.reconfigure("recipes = 8", "recipes = 4")
    assert not project.make(WANTED).failed
    assert any(name.startswith("target-path:given") for name in project.store.read("recipes")["recipe"])
    scored = project.store.read("scores_by_model")
    with_all = answer_of(project)["recipe"].startswith("target-path")
    assert scored["fingerprint"].n_unique() == 1 + with_all, "one warm-up for all runs of the search"
    assert not scored.select("doc_id", "fingerprint").is_duplicated().any()
