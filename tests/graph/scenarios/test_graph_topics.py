"""Topics in the graph: a budget by topic, its pages, arrivals, a withdrawal, and nothing where none asks."""

from collections.abc import Iterator

import polars as pl
import pytest
from projects import (
    CHOSEN,
    GRAPH,
    SmallProject,
    corpus,
    make_project,
    selection,
    sentences,
    settings,
    target,
    write_jsonl,
)

from tamis.graph.plan import full_plan
from tamis.history.explain import explain_document, explanation_lines
from tamis.topics.storing import read_names
from tamis.verbs.mix import plan_lines
from tamis.withdrawal.places import pages_naming

TOPICS = ("algebra", "cooking", "sailing")
MADE = (CHOSEN - {"density_sketch", "density_scores"}) | {"topics", "selection_pages"}
SPREAD = selection("spread", "random", 30, per="topic", minimum_shares=0.2, maximum_shares=0.34)
TEXT = settings(
    corpus(path="landing"), target("algebra", train=20, held_out=10), "[topics]\ncount = 3\n", SPREAD
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, encoder_cache) -> Iterator[SmallProject]:
    project = make_project(tmp_path_factory.mktemp("topics") / "project", encoder_cache, TEXT)
    for topic in TOPICS:
        write_jsonl(project.landing / f"{topic}.jsonl", sentences(topic, 90, 1))
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def project(made, tmp_path, nowhere) -> Iterator[SmallProject]:
    copied = made.copy(tmp_path / "copied")
    yield copied
    copied.close()


def test_shares_by_topic_are_held_decided_once_explained_and_shown(made):
    decisions = made.rows("decisions")
    pool, topics = made.rows("documents"), made.rows("topics")
    assert len(decisions) == decisions["doc_id"].n_unique() == len(pool) == len(topics)
    assert decisions["reason"].null_count() == decisions["verdict"].null_count() == 0
    groups = dict(decisions.select("doc_id", "budget_group").iter_rows())
    assert groups == dict(topics.iter_rows())
    chosen = decisions.filter(verdict="selected")
    assert len(chosen) == 30
    counts = dict(chosen.group_by("budget_group").len().iter_rows())
    assert set(counts) == set(topics["topic"]) == set(made.rows("topic_centers")["topic"])
    assert len(counts) == 3
    assert all(6 <= count <= 10 for count in counts.values())
    over = decisions.filter(reason="over_topic_budget")
    explained = explain_document(made.home, over["doc_id"][0])
    topic, lines = over["budget_group"][0], explanation_lines(explained)
    said = f"spread: rejected, over the topic's budget: {topic} may fill 34 %: 10 of 30 documents, rank"
    assert any(said in line for line in lines)
    words = read_names(made.store).words[topic]
    assert explained["topic"] == {"topic": topic, "words": words}
    assert f"  in {topic}: {', '.join(words)}" in lines


def test_the_pages_show_the_topics_that_are_stored(made):
    names = read_names(made.store)
    assert len(names.words) == 3
    for page in ("selection", "map", "mix"):
        shown = (made.home.reports / f"{page}_spread.html").read_text()
        for topic in names.words:
            assert names.label(topic) in shown
    shown = (made.home.reports / "selection_spread.html").read_text().split("The budget by topic")[1]
    assert shown.split("</table>")[0].count("20 % to 34 %") == 3


@pytest.mark.slow
def test_nothing_is_due_again_and_an_arrival_moves_no_other_document(project):
    assert not project.make(MADE).made
    before, centers = dict(project.rows("topics").iter_rows()), project.rows("topic_centers")
    write_jsonl(project.landing / "later.jsonl", sentences("cooking", 40, 5))
    project.make(MADE)
    now = dict(project.rows("topics").iter_rows())
    assert len(now) > len(before)
    assert {doc_id: now[doc_id] for doc_id in before} == before
    assert project.rows("topic_centers").equals(centers)
    (origin,) = [one for one in project.manifest("topics").inputs if one.asset == "topics"]
    assert origin.manifest
    (project.landing / "later.jsonl").unlink()
    project.make(MADE)
    assert dict(project.rows("topics").iter_rows()) == before
    project.assert_sound(MADE)


@pytest.mark.with_pages
def test_a_withdrawal_erases_rows_and_words_at_once_and_removes_the_pages_that_show_them(project):
    names = read_names(project.store)
    topic, words = next(iter(names.words.items()))
    gone = project.rows("topic_words").filter(topic=topic, word=words[0])["doc_id"].to_list()
    pages = [project.home.reports / f"{page}_spread.html" for page in ("selection", "map", "mix")]
    assert set(pages) <= set(pages_naming(project.home, gone[:1]))
    project.withdraw(gone)
    assert set(project.rows("topics")["doc_id"]).isdisjoint(gone)
    assert words[0] not in read_names(project.store).words.get(topic, [])
    assert not any(page.exists() for page in pages)
    centers = project.rows("topic_centers")
    project.make(MADE)
    assert project.rows("topic_centers").equals(centers)
    for page in pages:
        assert f"{topic}: {', '.join(words)}" not in page.read_text()
        assert topic in page.read_text()
    project.assert_sound(MADE)


@pytest.mark.slow
def test_another_number_of_topics_fits_again_and_without_use_all_rows_leave(project, capsys):
    project.reconfigure("count = 3", "count = 2")
    project.make(MADE)
    assert len(project.rows("topic_centers")) == 2
    assert (
        "topics were fitted again, since the number of topics, the encoder or the seed"
        in capsys.readouterr().err
    )
    project.reconfigure('per = "topic"', 'per = "source"')
    assert not {one.asset for one in full_plan(project.snapshot, project.current)} & {"topics"}
    project.make(MADE)
    assert {project.store.count(table) for table in ("topics", "topic_centers", "topic_words")} == {0}
    assert ("topics", "") not in project.current


def test_a_project_that_divides_nothing_by_topics_has_none_in_its_plan(new_graph):
    plain = new_graph("plain", GRAPH)
    assert "topics" not in {one.asset for one in full_plan(plain.snapshot, plain.current)}
    assert "topics" not in {key.path[-1] for key in plain.definitions().resolve_all_asset_keys()}


MIXTURE = """
[mixture]
target = "algebra"
model = "llama-0.3m"
sources = "topics"
run_tokens = 1_000
train_tokens = 4_000
"""


def test_topics_are_the_sources_of_a_mixture(project):
    project.reconfigure(SPREAD, MIXTURE + "[pretraining]\nvocabulary = 512\nsequence_length = 32\n")
    assert "12 runs of llama-0.3m to train" in plan_lines(project.project)[0]
    project.try_making((MADE | {"tokenizer", "mixture_design"}) - {"selected_subset"}, allowed={"spread"})
    topics = project.rows("topics")
    documents = project.store.read("mixture_documents", ["doc_id", "source"])
    known = dict(topics.iter_rows())
    assert len(documents)
    assert all(known[doc_id] == source for doc_id, source in documents.iter_rows())
    assert set(project.rows("mixture_sources")["source"]) == set(topics["topic"])
    planned = project.store.read("mixture_plan")
    assert set(planned["source"]) == set(topics["topic"])
    assert planned.select(pl.col("run").n_unique()).item() == 12
