"""Documents that a model or a server cannot work with: the graph is made without them, and says so."""

import polars as pl
import pytest
from projects import CHOSEN, COOKING, CORPUS, GRAPH, SAILING, lines, texts, write
from refusing_judge import refusing_judge

from tamis.corpus import document_id
from tamis.embedding.static import StaticEncoder
from tamis.history.explain import explain_document, explanation_lines

REFUSED, WITHOUT = COOKING[3], SAILING[4]
EXAMPLE = texts("algebra", 14, 2)[0]  # of the target
JUDGED = """
[judge]
url = "{url}"
model = "m"
prompt = "examples"
sample = 100
active_share = 0.0

[[selection]]
name = "liked"
sampler = "ask-llm"
budget = 5

[[selection]]
name = "drawn"
sampler = "random"
budget = 5
"""
QUALITY = {"judge_sample", "judge_scores", "quality_grader", "quality_scores"}


@pytest.fixture
def no_vector(monkeypatch):
    """The static encoder gives NaN for one document and one example; returns every text it encodes."""
    whole, given = StaticEncoder._encode_batch, []

    def broken(self, batch):
        given.extend(batch)
        vectors_nd = whole(self, batch)
        failing = [place for place, text in enumerate(batch) if text in (WITHOUT, EXAMPLE)]
        vectors_nd[failing] = float("nan")
        return vectors_nd

    monkeypatch.setattr(StaticEncoder, "_encode_batch", broken)
    return given


def test_selections_are_made_without_what_was_refused_and_say_why(new_graph, no_vector, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    refused, without = document_id(REFUSED), document_id(WITHOUT)
    with refusing_judge(lambda question: 400 if REFUSED in question else None) as server:
        graph = new_graph("refusing", GRAPH + JUDGED.format(url=server.url))
        graph.make(CHOSEN | QUALITY)
        asked = len(server.asked)
        assert sum(REFUSED in question for question in server.asked) == 1
        decided = graph.store.read("decisions", ["selection", "doc_id", "verdict", "reason"])
        pool = graph.store.count("documents")
        assert decided.group_by("selection").len()["len"].to_list() == [pool] * 4
        reasons = {row["selection"]: row["reason"] for row in of(decided, refused)}
        assert reasons.pop("liked") == "judge_refused"
        assert set(reasons.values()) <= {"within_budget", "over_budget"}
        reasons = {row["selection"]: row["reason"] for row in of(decided, without)}
        assert reasons.pop("drawn") in ("within_budget", "over_budget")
        assert reasons == dict.fromkeys(("near", "thin", "liked"), "no_vector")
        assert (decided.filter(pl.col("verdict") == "selected").group_by("selection").len()["len"] == 5).all()
        shown = graph.store.read("quarantine").filter(pl.col("excerpt").is_in([refused, without]))
        assert {(row["reason"], row["excerpt"]) for row in shown.to_dicts()} == {
            ("judge_refused", refused),
            ("no_vector", without),
        }
        examples = graph.store.count("target_examples")
        assert graph.store.count("target_embeddings_static") == examples - 1
        place = "shard = 'stage/target_embeddings/goal'"
        assert graph.store.read("quarantine", None, place)["excerpt"].to_list() == [document_id(EXAMPLE)]
        assert audit_of(graph, "red") == []
        found = explain_document(graph.home, refused)
        assert [row["reason"] for row in found["set_aside"]] == ["judge_refused"]
        assert any("judge refused" in line for line in explanation_lines(found))
        assert not [text for text in (REFUSED, WITHOUT) if any(text in entry for entry in graph.logged())]

        before = graph.state()
        no_vector.clear()
        graph.make(CHOSEN | QUALITY)
        assert {name: graph.state()[name] for name in ("runs", "tables", "heads")} == {
            name: before[name] for name in ("runs", "tables", "heads")
        }
        write(graph.landing / "more.jsonl", lines(["A new document about the oven and the sauce of today."]))
        graph.make(CORPUS | QUALITY | {"embeddings"})
        assert WITHOUT not in no_vector
        assert sum(REFUSED in question for question in server.asked) == 1
        assert len(server.asked) > asked
        assert audit_of(graph, "red") == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("none left"),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (TypeError("no list"), KeyError("vector"))),
    ],
)
def test_a_stage_that_fails_for_good_is_not_begun_again(new_graph, monkeypatch, error):
    begun = []

    def failing(*_arguments, **_named):
        begun.append(error)
        raise error

    monkeypatch.setattr("tamis.platform.assets.embedding.embed_missing", failing)
    graph = new_graph("failing")
    assert "embeddings" in graph.try_making(CORPUS | {"embeddings"}).failed
    assert begun == [error] * 3  # both shards together, then each alone, and none of them again


def of(decided, doc_id):
    return decided.filter(pl.col("doc_id") == doc_id).to_dicts()


def audit_of(graph, status):
    return [(node.name, node.details) for node in graph.audit().nodes.values() if node.status == status]
