"""Which examples a choice serves: made after it, explained of a document, withdrawn with an example."""

import pytest
from projects import CHOSEN

from tamis.history.explain import explain_document, explanation_lines

SERVED = "served_examples"


@pytest.fixture
def served(graph):
    graph.make(CHOSEN | {SERVED})
    return graph


def test_a_document_names_the_examples_that_it_serves(served):
    chosen = served.store.read("selected_subset", where="selection = 'near'").sort("rank")["doc_id"].to_list()
    found = explain_document(served.store, chosen[0], served.manifests)
    examples = set(served.store.read("target_examples", where="split = 'train'")["doc_id"])
    assert found["serves"]
    assert {row["example_id"] for row in found["serves"]} <= examples
    assert sum(row["share"] for row in found["serves"]) == pytest.approx(1)
    assert sum(row["mass"] for row in found["serves"]) == pytest.approx(1 / len(chosen))
    lines = explanation_lines(found)
    assert [row["example_id"] for row in found["serves"][:10]] == [
        line.split()[0] for line in lines if ", cost " in line
    ]
    rejected = served.store.read("decisions", where="selection = 'near' AND verdict = 'rejected'")
    assert explain_document(served.store, rejected["doc_id"][0], served.manifests)["serves"] == []


def test_of_many_examples_ten_are_shown(served):
    row = {
        "selection": "near",
        "example_id": "e" * 32,
        "source": "x",
        "mass": 0.1,
        "share": 0.05,
        "cost": 1.0,
    }
    chosen = served.store.read("selected_subset", where="selection = 'near'")["doc_id"][0]
    found = explain_document(served.store, chosen, served.manifests)
    lines = explanation_lines(found | {"serves": [row] * 13})
    assert sum(", cost " in line for line in lines) == 10
    assert "    and 3 more; --json lists all" in lines


def test_a_selection_without_a_target_serves_nothing_and_has_no_page(served):
    pages = {page.name for page in served.home.reports.glob("served_*.html")}
    assert pages == {"served_near.html"}
    assert set(served.store.read(SERVED)["selection"]) == {"near"}
    assert "served_near.html" in (served.home.reports / "selection_near.html").read_text()
    assert "served_" not in (served.home.reports / "selection_thin.html").read_text()


def test_of_a_document_that_is_not_chosen_any_more_nothing_is_said(served):
    before = set(served.store.read("selected_subset", where="selection = 'near'")["doc_id"])
    served.reconfigure("budget = 5", "budget = 2")
    served.make()
    after = set(served.store.read("selected_subset", where="selection = 'near'")["doc_id"])
    gone = min(before - after)
    assert gone in set(served.store.read(SERVED)["doc_id"]), "it is made again by a later run"
    assert explain_document(served.store, gone, served.manifests)["serves"] == []


def test_a_withdrawn_example_is_on_no_page_and_in_no_row_after_the_next_run(served):
    page = served.home.reports / "served_near.html"
    text = page.read_text()
    shown = [one for one in served.store.read("target_examples")["doc_id"] if one in text]
    served.withdraw([shown[0]])
    assert not page.exists()
    served.make(CHOSEN | {SERVED})
    assert shown[0] not in page.read_text()
    assert shown[0] not in set(served.store.read(SERVED)["example_id"])
