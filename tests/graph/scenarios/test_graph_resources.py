"""A resource that a test or a deployment puts in place of another one is the one that the steps use."""

from pathlib import Path

import numpy as np
import pytest
from projects import CORPUS, GRAPH, SmallProject

from tamis.base.progress import ignore
from tamis.embedding import encoder_identity
from tamis.embedding.storing import current_table
from tamis.engine import LocalEngine
from tamis.platform.resources.encoder import EncoderResource
from tamis.platform.resources.engine import EngineResource
from tamis.platform.resources.judge import JudgeResource
from tamis.quality import AskLLM
from tamis.quality.ask_llm import Asked, _frame
from tamis.quality.judging import configured_judge

DONE: list[str] = []
"""What the counting engine has run; Dagster copies a resource for each run."""
JUDGE = "\n[judge]\nsample = 40\nmax_tokens = 16\nactive_share = 0.0\n"


class ByLength(AskLLM):
    """A judge that prefers long texts, and loads no model."""

    def ask(self, texts, advance=ignore) -> Asked:
        yes_n = np.clip(np.array([len(text) for text in texts]) / 1_000, 0.01, 0.9)
        scores_n3 = np.stack([np.log(yes_n), np.log(yes_n), np.log1p(-yes_n)], axis=1).astype(np.float32)
        return Asked(scores=_frame(scores_n3, np.zeros(len(texts), dtype=np.bool_)))


class JudgeByLength(JudgeResource):
    def open(self, project, model=None) -> AskLLM:
        return ByLength(configured_judge(project), max_tokens=project.settings.judge.max_tokens)


class FirstLetter:
    """An encoder of the static one's name and fingerprint whose vectors follow a text's first letter."""

    name, dimension = "static", 256

    @property
    def fingerprint(self) -> str:
        return encoder_identity("static")

    def encode(self, texts, advance=ignore):
        vectors_nd = np.zeros((len(texts), self.dimension), dtype=np.float32)
        vectors_nd[np.arange(len(texts)), [ord(text[0]) % self.dimension for text in texts]] = 1.0
        return vectors_nd


class EncoderByFirstLetter(EncoderResource):
    def open(self, project) -> FirstLetter:
        return FirstLetter()


class Counting(LocalEngine):
    def __init__(self, done: list[str]) -> None:
        self.done = done

    def map(self, work, state, blocks, advance=ignore):
        self.done.append(work.__name__)
        return super().map(work, state, blocks, advance)


class CountingEngine(EngineResource):
    def open(self, project) -> Counting:
        return Counting(DONE)


@pytest.fixture
def graph(new_graph) -> SmallProject:
    return new_graph("graph", GRAPH + JUDGE)


def test_a_judge_that_answers_by_itself_takes_the_place_of_the_configured_one(graph):
    graph.replaced["judge"] = JudgeByLength()
    graph.make(CORPUS | {"judge_sample", "judge_scores"})
    documents = graph.store.read("documents", ["doc_id", "n_chars"])
    rows = graph.store.read("scores_judge", ["doc_id", "margin"]).join(documents, on="doc_id").sort("n_chars")
    assert len(rows) >= 8
    assert rows["margin"].is_sorted()
    assert rows["margin"][0] < rows["margin"][-1]


def test_an_encoder_of_ones_own_takes_the_place_of_the_configured_one(graph):
    graph.replaced["encoder"] = EncoderByFirstLetter()
    graph.make({"raw_shards", "documents", "embeddings", "target_examples", "target_embeddings"})
    texts = dict(graph.store.read("documents", ["doc_id", "text"]).iter_rows())
    vectors = dict(graph.store.read(current_table(graph.project), ["doc_id", "vector"]).iter_rows())
    assert vectors.keys() == texts.keys()
    assert all(vector[ord(texts[one][0]) % 256] == 1.0 for one, vector in vectors.items())
    examples = graph.store.read("target_embeddings_static", ["vector"])["vector"].to_list()
    assert examples
    assert all(sorted(vector)[-2:] == [0.0, 1.0] for vector in examples)


def test_an_engine_in_its_place_does_the_long_work(graph):
    DONE.clear()
    graph.replaced["engine"] = CountingEngine()
    graph.make({"raw_shards", "documents", "embeddings"})
    embedded = len(DONE)
    assert embedded
    graph.make({"density_sketch"})
    assert len(DONE) > embedded


def test_without_another_one_input_keys_are_those_of_tamis_toml(graph, tmp_path: Path):
    keys = []
    for replaced in ({}, {"encoder": EncoderByFirstLetter()}):
        graph.replaced.update(replaced)
        graph.forget(*graph.current)
        graph.make({"raw_shards", "documents", "embeddings"})
        keys.append({entry: value.input_key for entry, value in graph.current.items()})
    assert keys[0] == keys[1]
