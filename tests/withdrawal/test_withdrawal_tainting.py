"""Taint follows manifests: trained on it, built on what was, or merely fitted to a pool that held it."""

import projects
import pytest
from projects import heads_of, manifests_of
from withdrawal_home import IDS, record, train

from tamis.records.listed_rows import listing
from tamis.records.manifest import NOT_LEARNT_FROM
from tamis.withdrawal.asking import Asking
from tamis.withdrawal.tainting import Taint, find_tainted, tainted_values
from tamis.withdrawal.telling import preview_lines
from tamis.withdrawal.withdrawing import preview


@pytest.fixture
def graph(home):
    """Two base models, one of them trained on the first document, and trials on both."""
    shard = record(home, "documents", "web__a", "documents", IDS[:3])
    other = record(home, "documents", "web__b", "documents", IDS[3:])
    train(home, "seen", IDS[:2])
    train(home, "unseen", IDS[3:])
    seen = record(home, "base_models", "seen", "trained_on", IDS[:2], shard, other)
    unseen = record(home, "base_models", "unseen", "trained_on", IDS[3:], other)
    for trial, base, doc_ids in (
        ("tuned", unseen, IDS[:1]),
        ("built", seen, IDS[3:4]),
        ("clean", unseen, IDS[3:4]),
    ):
        train(home, trial, doc_ids)
        record(home, "trials", trial, "trained_on", doc_ids, base)
    record(home, "quality_grader", "", "", [], shard)
    record(home, "target_potential", "goal", "", [], other)
    return home


def taints(home, doc_ids) -> dict[str, Taint]:
    folder = manifests_of(home)
    found = tainted_values(home, heads_of(home), listing(folder, doc_ids))
    return {one.name: one.taint for one in found}


def test_each_checkpoint_is_named_by_how_it_saw_the_document(graph):
    assert taints(graph, [IDS[0]]) == {
        "trials[tuned]": Taint.FINE_TUNED,
        "base_models[seen]": Taint.PRE_TRAINED,
        "trials[built]": Taint.PRE_TRAINED,
        "quality_grader": Taint.INFLUENCED,
    }


def test_what_did_not_see_it_is_not_named(graph):
    found = taints(graph, [IDS[4]])
    assert found["base_models[unseen]"] == Taint.PRE_TRAINED
    assert found["target_potential[goal]"] == Taint.INFLUENCED
    assert "quality_grader" not in found
    assert taints(graph, ["0" * 32]) == {}


@pytest.mark.parametrize("facts", [{}, {NOT_LEARNT_FROM: ["documents"]}])
def test_inputs_that_taught_a_value_nothing_do_not_count(graph, facts):
    folder = manifests_of(graph)
    shard = folder.read(heads_of(graph)["documents", "web__a"].manifest)
    projects.record(graph, "form_model", inputs=[shard], beside=facts)
    assert ("form_model" in taints(graph, [IDS[0]])) is not bool(facts)


def test_what_was_superseded_is_named_as_such(graph):
    train(graph, "tuned", IDS[4:5])
    graph.store.delete("trained_on", f"checkpoint = 'tuned' AND doc_id = '{IDS[0]}'")
    record(graph, "trials", "tuned", "trained_on", IDS[4:5])
    folder = manifests_of(graph)
    found = find_tainted(graph, heads_of(graph), listing(folder, [IDS[0]]))
    superseded = [one for one in found if one.name == "trials[tuned]"]
    assert [(one.taint, one.current, one.documents) for one in superseded] == [(Taint.FINE_TUNED, False, 1)]
    assert superseded[0].line == "trials[tuned]: fine-tuned on it, superseded"


def test_values_of_one_name_that_were_superseded_are_named_once(graph):
    for seen in (IDS[:2], IDS[4:5]):
        train(graph, "tuned", seen)
        record(graph, "trials", "tuned", "trained_on", seen)
    asking = Asking(store=graph.store)
    asking.ids(IDS[:1])
    (line,) = [line for line in preview_lines(preview(graph, asking.done())) if "superseded" in line]
    assert line == "  tainted, fine-tuned on it, superseded: trials[tuned]"
