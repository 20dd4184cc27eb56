"""Selections whose documents, names or evaluation change under them: nothing is red, and others are made."""

from typing import Any

import polars as pl
import pytest
from projects import CHOSEN, lines, texts, write
from test_graph_published import MODELS, exported

from tamis.history.versions import restore
from tamis.runtime.running import Runner
from tamis.verbs.elsewhere.export import IncompleteSelectionError
from tamis.verbs.status import read_status


def test_documents_that_leave_while_a_selection_waits_make_nothing_red(graph):
    graph.make(CHOSEN | MODELS)
    graph.reconfigure("settle_seconds", "approve_selections = true\nsettle_seconds")
    chosen = exported(graph)["doc_id"]
    places = graph.rows("occurrences").filter(pl.col("doc_id").is_in(chosen.implode()))
    left = graph.landing / places["shard"][0].removeprefix("web__")
    write(left, lines(texts("algebra", 9, seed=9)))
    graph.make(MODELS | (CHOSEN - {"selected_subset", "decisions"}))
    gone = len(set(chosen) - set(graph.rows("documents")["doc_id"]))
    assert gone > 0
    (found,) = [one for one in read_status(graph.project).selections if one["selection"] == "near"]
    assert (found["documents"], found["documents_gone"]) == (5, gone)
    assert f"{gone} of them no longer in the corpora" in read_status(graph.project).selection_lines()[0]
    assert read_status(graph.project).failed_checks == []
    said = (
        f"{gone} of the 5 documents of 'near' are no longer stored.* `tamis materialize`, which chooses again"
    )
    with pytest.raises(IncompleteSelectionError, match=said):
        exported(graph)
    graph.make(CHOSEN | MODELS)
    assert len(exported(graph)) == 5


def test_a_selection_renamed_during_a_run_does_not_stop_the_others(graph, monkeypatch):
    make = Runner.make

    def renaming(self: Runner, *arguments: Any) -> None:
        if 'name = "near"' in graph.text:
            graph.reconfigure('name = "near"', 'name = "close"')
        make(self, *arguments)

    for name in ("near", "thin"):
        graph.forget(("decisions", name), ("selected_subset", name))
    monkeypatch.setattr(Runner, "make", renaming)
    outcome = graph.try_making(CHOSEN)
    assert not [error for error in outcome.failed.values() if "KeyError" in error]
    assert graph.current["decisions", "thin"].usable
    graph.make(CHOSEN)
    assert graph.current["decisions", "close"].usable


def test_a_pinned_selection_loses_what_became_a_held_out_example(graph):
    first = graph.rows("selected_subset").filter(selection="near").sort("rank")["doc_id"].to_list()
    restore(graph.project, "near", 1)
    text = graph.rows("documents").filter(doc_id=first[0])["text"][0]
    write(graph.root / "target" / "more.jsonl", lines([text]))
    graph.reconfigure("train = 8\nheld_out = 4", "train = 1\nheld_out = 14")
    graph.make(CHOSEN)
    examples = graph.rows("target_examples").filter(doc_id=first[0])
    assert examples["split"].to_list() == ["held_out"]
    decided = {row["doc_id"]: row for row in graph.rows("decisions").filter(selection="near").to_dicts()}
    assert (decided[first[0]]["verdict"], decided[first[0]]["reason"]) == ("rejected", "held_out_example")
    assert {decided[one]["verdict"] for one in first[1:]} == {"selected"}
    assert len(exported(graph)) == 4
    graph.assert_sound(amber=True)
