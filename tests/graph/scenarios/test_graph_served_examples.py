"""Which examples a choice serves: made after it, explained of a document, withdrawn with an example."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from projects import CHOSEN, VECTORS, SmallProject

from tamis.history.explain import explain_document, explanation_lines
from tamis.selection.pool import exclusions
from tamis.transport.gaps import find_gaps
from tamis.transport.storing import load_potential, read_gaps

SERVED = "served_examples"
MADE = CHOSEN | {"target_gaps", SERVED}


@pytest.fixture(scope="module")
def first(tmp_path_factory, made_graph) -> Iterator[SmallProject]:
    graph = made_graph.copy(tmp_path_factory.mktemp("served") / "graph")
    graph.make(MADE)
    yield graph
    graph.close()


@pytest.fixture
def served(tmp_path, first, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    graph = first.copy(tmp_path / "graph")
    yield graph
    graph.close()


def test_the_page_and_the_table_name_the_same_gaps(served):
    found = read_gaps(served.store, "goal")
    assert len(found.gaps.supply_m) == 8
    served.store.replace(
        "target_gaps",
        served.store.read_arrow("target_gaps").set_column(3, "is_gap", pa.array([True] * 8)),
        "target = 'goal'",
    )
    some = read_gaps(served.store, "goal")
    assert some.lacking["supply"].is_sorted()
    listed = some.to_json(served.store)["gaps"]
    assert [row["example_id"] for row in listed] == some.lacking["example_id"].to_list()
    lines = some.lines(served.store, {listed[0]["example_id"]: "Do you cook?"})
    assert len(lines) == 9
    assert [line for line in lines if line.endswith(' "Do you cook?"')] == [lines[1]]
    assert found.answer.replace("&", "&amp;") in (served.home.reports / "served_near.html").read_text()


def test_only_documents_that_may_be_selected_count_for_a_gap(served):
    before = read_gaps(served.store, "goal").gaps.supply_m
    served.configure(f'{served.file.read_text()}\n[filters]\nsources_denied = ["web__cooking*"]\n')
    served.make(MADE)
    excluded = exclusions(served.store, served.project.settings.filters)
    assert "source" in set(excluded["reason"])
    pool = served.store.read(VECTORS, ["doc_id", "vector"]).sort("doc_id")
    pool = pool.filter(~pl.col("doc_id").is_in(excluded["doc_id"].implode()))
    examples = served.store.read("target_embeddings_static", where="target = 'goal'").sort("doc_id")
    train = served.store.read("target_examples", where="target = 'goal' AND split = 'train'")["doc_id"]
    examples = examples.filter(pl.col("doc_id").is_in(train.implode()))
    center = load_potential(next(served.home.fitted.glob("target_potential/goal/*"))).center
    matrices = [np.array(one["vector"].to_list(), np.float32) for one in (examples, pool)]
    expected = find_gaps(*matrices, center=center, seed=served.project.seed).supply_m
    after = read_gaps(served.store, "goal").gaps.supply_m
    np.testing.assert_allclose(after, np.sort(expected), rtol=1e-6)
    assert not np.array_equal(after, before)


def test_a_document_names_the_examples_that_it_serves(served):
    chosen = served.store.read("selected_subset", where="selection = 'near'").sort("rank")["doc_id"].to_list()
    found = explain_document(served.home, chosen[0])
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
    assert explain_document(served.home, rejected["doc_id"][0])["serves"] == []


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
    found = explain_document(served.home, chosen)
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
    assert explain_document(served.home, gone)["serves"] == []


def test_a_withdrawn_example_is_on_no_page_and_in_no_row_after_the_next_run(served):
    page = served.home.reports / "served_near.html"
    text = page.read_text()
    shown = [one for one in served.store.read("target_examples")["doc_id"] if one in text]
    served.withdraw([shown[0]])
    assert not page.exists()
    served.make(MADE)
    assert shown[0] not in page.read_text()
    assert shown[0] not in set(served.store.read(SERVED)["example_id"])
    assert shown[0] not in set(served.store.read("target_gaps")["doc_id"])
