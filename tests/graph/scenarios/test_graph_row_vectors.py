"""Vectors in a column of the rows decide as those of an encoder; rows without a usable one are set aside."""

import polars as pl
from own_vectors import COLUMN, GOAL, MADE, OWN, READ, near_copies, red, rows, vectors, write_own
from projects import COOKING, SAILING, write

from tamis.corpus import document_id
from tamis.history.explain import explain_document, explanation_lines

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
