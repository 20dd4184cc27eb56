"""Moved files: the same bytes elsewhere are no loss where the same documents are read from them."""

import json

import pytest
from projects import CORPUS, corpus, plain_project, settings, texts, write

from tamis.verbs.status import read_status

QUESTIONS, ANSWERS = (corpus(name, "data", text_column=name) for name in ("question", "answer"))


def two_columns(root, *corpora):
    """Return a project of files whose rows have two texts each, with these corpora over them."""
    for number in range(2):
        pairs = zip(texts("cooking", 4, number), texts("sailing", 4, number), strict=True)
        rows = [json.dumps({"question": question, "answer": answer}) for question, answer in pairs]
        write(root / "data" / f"{number}.jsonl", rows)
    return plain_project(root, settings(*corpora), {})


def held(graph) -> set[str]:
    return {one.name for one in read_status(graph.project).held_back}


def test_a_corpus_whose_files_another_one_reads_differently_is_a_loss(tmp_path):
    graph = two_columns(tmp_path, QUESTIONS, ANSWERS)
    graph.make(CORPUS)
    graph.configure(settings(QUESTIONS))
    assert held(graph) == {"answer"}
    assert graph.make(CORPUS).removed == []
    assert graph.store.count("documents") == 16
    outcome = graph.try_making(CORPUS, allowed=["answer"])
    assert "documents[answer__0.jsonl]" in outcome.removed
    assert graph.store.count("documents") == 8


def test_a_corpus_whose_files_another_one_reads_in_the_same_way_is_no_loss(tmp_path):
    graph = two_columns(tmp_path, QUESTIONS, corpus("again", "data", text_column="question"))
    graph.make(CORPUS)
    graph.configure(settings(QUESTIONS))
    assert held(graph) == set()
    assert "documents[again__0.jsonl]" in graph.make(CORPUS).removed
    assert graph.store.count("documents") == 8


@pytest.mark.parametrize(("column", "lost"), [("question", set()), ("answer", {"question"})])
def test_a_corpus_that_is_renamed_is_a_loss_where_it_is_read_differently(tmp_path, column, lost):
    graph = two_columns(tmp_path, QUESTIONS)
    graph.make(CORPUS)
    graph.configure(settings(corpus("renamed", "data", text_column=column)))
    assert held(graph) == lost, "the status says what the next run will find"
    removed = graph.make(CORPUS).removed
    assert held(graph) == lost
    assert bool(removed) is not bool(lost)
    assert graph.store.count("documents") == (16 if lost else 8)
