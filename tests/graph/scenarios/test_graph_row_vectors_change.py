"""Vectors in a column of the rows as files come, change and leave: nothing stale stays."""

import json
from collections.abc import Callable

import pytest
from own_vectors import (
    COLUMN,
    ENCODED,
    FIRST,
    FITTED,
    GOAL,
    MORE,
    OWN,
    READ,
    SECOND,
    near_copies,
    red,
    rows,
    vectors,
    write_own,
)
from projects import COOKING, SAILING, SmallProject, write

from tamis.corpus import document_id


@pytest.fixture
def new_own(new_graph, static) -> Callable[[str], SmallProject]:
    return lambda name: write_own(new_graph(name, OWN), static)


@pytest.fixture
def project(new_own) -> SmallProject:
    return new_own("own")


def test_a_changed_vector_of_the_same_text_is_noticed_and_nothing_stale_stays(project, static, new_own):
    project.make(FITTED)
    before = project.store.read("row_vectors")
    changed = rows(static, COOKING, {COOKING[11]: FIRST})
    write(project.landing / "cooking.jsonl", changed)
    project.make(FITTED)
    assert vectors(project)[document_id(COOKING[11])] == FIRST
    assert project.store.read("row_vectors")["edition"].to_list() != before["edition"].to_list()
    fresh = new_own("fresh")
    write(fresh.landing / "cooking.jsonl", changed)
    fresh.make(FITTED)
    scores = [one.store.read("transport_goal").drop("fingerprint").sort("doc_id") for one in (project, fresh)]
    assert scores[0].equals(scores[1])
    assert near_copies(project).equals(near_copies(fresh))
    assert not red(project)


def test_arrivals_read_their_rows_alone_and_a_known_text_keeps_its_vector(project, static):
    project.make(READ)
    before, known = project.current, vectors(project)
    write(project.landing / "more.jsonl", rows(static, [*MORE, COOKING[0]], {COOKING[0]: FIRST}))
    project.make(READ)
    now = vectors(project)
    assert now.items() >= known.items()
    assert len(now) == len(known) + len(MORE)
    same = ("embeddings", "web__cooking.jsonl")
    assert project.current[same] == before[same]


def test_the_same_text_with_two_vectors_takes_one_whatever_the_files_are_called(new_own, static):
    taken = []
    for name, (one, two) in {"a": (FIRST, SECOND), "b": (SECOND, FIRST)}.items():
        project = new_own(name)
        write(project.landing / "cooking.jsonl", rows(static, COOKING, {COOKING[0]: one}))
        write(project.landing / "sailing.jsonl", rows(static, [*SAILING, COOKING[0]], {COOKING[0]: two}))
        project.make(READ)
        taken.append(vectors(project)[document_id(COOKING[0])])
    assert taken[0] == taken[1]
    assert taken[0] in (FIRST, SECOND)


def test_most_rows_decide_on_the_width_and_another_width_is_another_encoder(project, static):
    write(project.landing / "a.jsonl", rows(static, MORE, {text: [1.0, 2.0] for text in MORE}))
    project.make(READ)
    assert project.store.read("row_vectors")["width"].to_list() == [256]
    assert {document_id(text) for text in MORE}.isdisjoint(vectors(project))

    (project.landing / "sailing.jsonl").unlink()
    short = {text: [1.0, float(number)] for number, text in enumerate([*COOKING, *GOAL])}
    write(project.landing / "cooking.jsonl", rows(static, COOKING, short))
    write(project.root / "target" / "goal.jsonl", rows(static, GOAL, short))
    made = project.try_making(READ | {"target_examples", "target_embeddings"}, allowed=["all"])
    assert not made.failed
    assert project.store.read("row_vectors")["width"].to_list() == [2]
    assert {len(vector) for vector in vectors(project).values()} == {2}
    assert len(vectors(project)) == len(COOKING) + len(MORE)


def test_a_column_that_nobody_has_is_named_with_those_that_there_are(project):
    project.reconfigure("meta.vector", "meta.vectors")
    said = project.try_making(READ).failed["row_vectors"]
    assert "no row has a usable list of numbers in the corpora" in said
    assert "columns of the first rows: meta.vector;" in said
    assert "did you mean" in said


def test_a_target_without_the_column_is_a_sentence(project):
    write(project.root / "target" / "goal.jsonl", [json.dumps({"text": text}) for text in GOAL])
    said = project.try_making(READ | {"target_examples", "target_embeddings"}).failed["target_embeddings"]
    assert "no example has a list of 256 numbers, as the corpora have" in said
    assert "goal" in said


@pytest.mark.parametrize("keep", [False, ["other"]])
def test_rows_that_are_not_kept_are_read_again(project, new_own, keep):
    project.make(READ)
    before = vectors(project)
    other = new_own("other")
    kept = f'path = "landing"\nkeep_columns = {json.dumps(keep)}\n'
    other.configure(ENCODED.replace('path = "landing"\n', kept, 1) + COLUMN)
    other.make(READ)
    assert vectors(other) == before


def test_a_withdrawn_document_leaves_no_vector(project):
    project.make(READ)
    withdrawn = document_id(SAILING[0])
    project.withdraw([withdrawn])
    project.make(READ)
    assert withdrawn not in vectors(project)
    assert not red(project)
