"""Vectors in a column of the rows decide as those of an encoder; rows without a usable one are set aside."""

import json
import warnings

import numpy as np
import polars as pl
import pytest
import torch
from own_vectors import COLUMN, GOAL, MADE, OWN, READ, near_copies, red, rows, vectors, write_own
from projects import COOKING, SAILING, corpus, score, selection, settings, target, write

import tamis
from tamis.corpus import document_id
from tamis.history.explain import explain_document, explanation_lines
from tamis.transport import FewTargetPoints

WHERE = "in column meta.vector"
ODD: dict[str, tuple[object, str]] = {
    COOKING[1]: (None, f"its row has no value {WHERE}"),
    COOKING[2]: ("a", f"its value {WHERE} is no list of numbers"),
    COOKING[3]: ([1.0, 2.0], f"its list {WHERE} has 2 numbers, not 256"),
    COOKING[4]: ([], f"its list {WHERE} is empty"),
    COOKING[5]: ([0.0] * 256, f"its list {WHERE} has nothing but zeros"),
    COOKING[6]: ([float("nan")] * 256, f"its list {WHERE} has a value that is no finite number"),
    COOKING[7]: (["1"] * 256, f"its list {WHERE} has a value that is no finite number"),
    COOKING[8]: ({"a": [1]}, f"its value {WHERE} is no list of numbers"),
}


def test_vectors_of_the_built_in_encoder_in_a_column_decide_as_the_encoder_does(new_graph, static):
    project = write_own(new_graph("own", OWN), static)
    project.make(MADE)
    own = project.store.read("decisions").sort("doc_id"), near_copies(project), vectors(project)
    project.reconfigure(COLUMN, "")
    project.make(MADE - {"row_vectors"})
    assert own[0].equals(project.store.read("decisions").sort("doc_id"))
    assert own[1].equals(near_copies(project))
    assert own[2] == vectors(project)
    assert not red(project)


def test_rows_without_a_usable_vector_are_set_aside_one_by_one_with_the_reason(new_graph, static):
    project = write_own(new_graph("own", OWN), static)
    other = {text: value for text, (value, _why) in ODD.items()}
    write(project.landing / "cooking.jsonl", rows(static, COOKING, other))
    write(project.root / "target" / "goal.jsonl", rows(static, GOAL, {GOAL[0]: [1.0]}))
    project.make(MADE)
    assert set(vectors(project)) == {document_id(text) for text in [*COOKING, *SAILING] if text not in ODD}
    noted = project.store.read("set_aside", ["doc_id", "detail"], "stage = 'embeddings'")
    assert dict(noted.iter_rows()) == {document_id(text): why for text, (_value, why) in ODD.items()}
    why = project.store.read("decisions").filter(pl.col("doc_id") == document_id(COOKING[3]))
    assert why["reason"].to_list() == ["no_vector"]
    lines = explanation_lines(explain_document(project.home, document_id(COOKING[3])))
    assert any("has 2 numbers, not 256" in line for line in lines), lines
    place = "shard = 'stage/target_embeddings/goal'"
    assert project.store.read("quarantine", None, place)["excerpt"].to_list() == [document_id(GOAL[0])]
    assert not red(project)

    write(project.landing / "cooking.jsonl", rows(static, COOKING))
    project.make(READ)
    assert len(vectors(project)) == len(COOKING) + len(SAILING)
    assert not project.store.count("set_aside", "stage = 'embeddings'")


def test_python_chooses_by_vectors_and_quality_as_a_project_with_these_columns(new_graph, static):
    draw = np.random.default_rng(5)
    pool, goal = [*COOKING, *SAILING], GOAL[:10]
    pool_nd, goal_md = draw.normal(size=(len(pool), 7)) * 3, draw.normal(size=(len(goal), 7))
    quality_n = draw.uniform(size=len(pool))
    project = new_graph(
        "own",
        settings(
            corpus(path="landing"),
            target(train=len(goal), held_out=0),
            '[encoder]\ncolumn = "vector"\n',
            score("good", "good", range=[0, 1]),
            selection("near", "got-d-quality", 6, target="goal", quality="good"),
        ),
    )
    for path in (*project.landing.glob("*"), *(project.root / "target").glob("*")):
        path.unlink()
    columns = zip(pool, pool_nd.tolist(), quality_n.tolist(), strict=True)
    rows = [json.dumps({"text": text, "vector": vector, "good": good}) for text, vector, good in columns]
    write(project.landing / "pool.jsonl", rows)
    examples = zip(goal, goal_md.tolist(), strict=True)
    rows = [json.dumps({"text": text, "vector": vector}) for text, vector in examples]
    write(project.root / "target" / "goal.jsonl", rows)
    project.make((MADE - {"near_copies"}) | {"column_scores"})
    graph = project.store.read("decisions").sort("rank")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewTargetPoints)
        found = tamis.select(
            pool,
            goal,
            6,
            sampler="got-d-quality",
            vectors={"texts": pool_nd, "goal": torch.tensor(goal_md)},
            quality=quality_n,
        )
    assert found["doc_id"].to_list() == graph["doc_id"].to_list()
    assert found["verdict"].to_list() == graph["verdict"].to_list()
    combined = graph["transport_gradient"] + 1 - graph["quality"]
    assert found["score"].to_list() == pytest.approx(combined.to_list(), abs=1e-4)
