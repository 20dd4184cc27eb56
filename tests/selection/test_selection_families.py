"""Samplers that name a model: parsing, the paper's nineteen places, scores that are kept."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.base.errors import UnknownNameError
from tamis.samplers.paper import NEEDS_A_MODEL, paper_samplers
from tamis.samplers.target_path import warm_up
from tamis.selection import SAMPLERS, find_sampler
from tamis.selection.computing import (
    BATCH,
    TABLE,
    ModelScorer,
    ScoringOptions,
    method_scores,
    model_scores,
    path_scorer,
    perplexity_scorer,
)
from tamis.settings.config import SelectionSection, TransportSection
from tamis.settings.samplers import BadModelSamplerError, model_of
from tamis.store.retained import retain
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of
from tamis.training import document_bits_per_byte, fold_of


@given(st.text(min_size=1).filter(lambda name: ":" not in name))
def test_a_name_without_a_colon_names_no_model(name):
    assert model_of(name) is None


@pytest.mark.parametrize(
    ("name", "model", "share"),
    [
        ("perplexity:small", "small", None),
        ("perplexity:small@0.25", "small", 0.25),
        ("target-path:small", "small", None),
        ("ask-llm:org/name@revision", "org/name@revision", None),
        ("ask-llm:C:/models/judge", "C:/models/judge", None),
    ],
)
def test_a_family_and_a_model_make_a_sampler(name, model, share):
    found = model_of(name)
    assert (found.model, found.checkpoint) == (model, share)
    sampler = find_sampler(name)
    assert (sampler.name, sampler.rule, sampler.score_columns) == (name, "top_k", ("method_score",))
    assert model in sampler.description


@pytest.mark.parametrize(
    "name",
    ["perplexity:", "target-path:", "perplexity:a@2", "perplexity:a@x", "perplexity:@0.5", "density:a", ":a"],
)
def test_what_is_no_sampler_of_a_model_says_the_forms(name):
    with pytest.raises(BadModelSamplerError, match="perplexity:MODEL@SHARE"):
        find_sampler(name)


def test_an_unknown_name_lists_the_families_too():
    with pytest.raises(UnknownNameError, match="ask-llm:MODEL"):
        find_sampler("qualty")


def test_all_nineteen_are_listed_and_none_is_made_up():
    bare = paper_samplers([], [], [])
    assert [one.number for one in bare] == list(range(1, 20))
    assert [one.sampler for one in bare[:4]] == ["random", "density", "semdedup", "prototypes"]
    assert {one.status for one in bare[4:]} == {NEEDS_A_MODEL}
    assert all(one.needs for one in bare[4:])
    shares = [("b", 0.1), ("b", 0.5)]
    some = paper_samplers(["a", "b", "c", "d", "e", "f"], shares, ["smollm2-135m", "org/judge"])
    assert [one.sampler for one in some[4:9]] == [f"perplexity:{name}" for name in "abcde"]
    assert [one.sampler for one in some[9:12]] == ["perplexity:b@0.1", "perplexity:b@0.5", None]
    assert [one.sampler for one in some[14:17]] == ["ask-llm", "ask-llm:org/judge", None]
    for one in some:
        assert one.sampler is None or find_sampler(one.sampler)
    assert len({one.name for one in some}) == 19


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(tmp_path / "lance")
    ids = [f"{number:032x}" for number in range(BATCH + 10)]
    schema = schema_of("documents")
    rows = pl.DataFrame({"doc_id": ids, "text": [f"text {i}" for i in ids]})
    nulls = [pl.lit(None).alias(name) for name in schema.names if name not in rows.columns]
    made.overwrite("documents", rows.with_columns(nulls).select(schema.names).to_arrow().cast(schema))
    return made


def counting(fingerprint: str, fail_after: int | None = None) -> tuple[ModelScorer, list[str]]:
    asked: list[str] = []

    def score(doc_ids, texts):
        if fail_after is not None and len(asked) >= fail_after:
            raise KeyboardInterrupt
        assert texts == [f"text {doc_id}" for doc_id in doc_ids]
        asked.extend(doc_ids)
        return np.array([np.nan if int(doc_id, 16) == 3 else int(doc_id, 16) for doc_id in doc_ids])

    return ModelScorer(fingerprint=fingerprint, score=score), asked


def test_a_model_reads_every_document_once_whatever_interrupts_it(store):
    ids = store.read("documents", ["doc_id"])["doc_id"].sort(descending=True).to_list()
    cut, before = counting("one", fail_after=BATCH)
    with pytest.raises(KeyboardInterrupt):
        model_scores(store, cut, ids)
    whole, after = counting("one")
    found = model_scores(store, whole, ids)
    assert sorted(before + after) == sorted(ids)
    assert found["doc_id"].to_list() == ids
    assert found["method_score"].null_count() == 1
    assert model_scores(store, counting("one")[0], ids).equals(found)
    _, asked = again = counting("two")
    model_scores(store, again[0], ids)
    assert len(asked) == len(ids)
    assert store.count(TABLE) == 2 * len(ids)


def test_a_score_of_a_document_that_left_is_not_computed_again_when_it_is_back(store):
    ids = store.read("documents", ["doc_id"])["doc_id"].sort().to_list()
    found = model_scores(store, counting("one")[0], ids)
    retain(store, TABLE, ids[:7])
    store.delete(TABLE, one_of("doc_id", ids[:7]))
    other, asked = counting("two")
    model_scores(store, other, ids[:7])
    assert len(asked) == 7, "another model's score is not taken for its own"
    again, asked = counting("one")
    assert model_scores(store, again, ids).equals(found)
    assert asked == []
    assert store.count(f"retained_{TABLE}") == 0


def test_each_document_is_measured_by_the_model_of_its_fold(tiny_models):
    first, twin, texts = tiny_models
    ids = [f"{number:032x}" for number in range(len(texts))]
    found = perplexity_scorer({0: twin, 1: first}, "v", 32).score(ids, texts)
    folds = np.asarray(fold_of(ids))
    for fold, folder in ((0, twin), (1, first)):
        expected = document_bits_per_byte(folder, texts, max_tokens=32)
        assert found[folds == fold] == pytest.approx(expected[folds == fold], abs=1e-5)
    assert set(folds) == {0, 1}


def scorer_of(models, examples, folder, seed=0, version="v"):
    first, twin, _texts = models
    folders = {0: twin, 1: first}
    return path_scorer(folders, version, 32, examples, seed=seed, resume=folder / "resume")


def test_each_document_loses_under_the_model_of_its_fold_after_that_ones_warm_up(tiny_models, tmp_path):
    first, twin, texts = tiny_models
    ids = [f"{number:032x}" for number in range(len(texts))]
    examples = {"b": "the scale of an array and a mean", "a": "a sample of the mean"}
    scorer = scorer_of(tiny_models, examples, tmp_path)
    parts = [scorer.score(ids[:5], texts[:5]), scorer.score(ids[5:], texts[5:])]
    folds = np.asarray(fold_of(ids))
    for fold, folder in ((0, twin), (1, first)):
        path = warm_up(folder, [examples["a"], examples["b"]], tmp_path / "own", max_tokens=32)
        expected = -path.drops(texts).score_n
        assert np.concatenate(parts)[folds == fold] == pytest.approx(expected[folds == fold], abs=1e-5)
    assert set(folds) == {0, 1}


def test_scores_of_a_path_are_of_one_target_one_seed_and_one_version_of_the_model(tiny_models, tmp_path):
    examples = {"a": "a sample", "b": "a mean"}
    scorer = scorer_of(tiny_models, examples, tmp_path)
    again = scorer_of(tiny_models, dict(reversed(examples.items())), tmp_path)
    assert again.fingerprint == scorer.fingerprint
    others = [
        scorer_of(tiny_models, {"a": "a sample"}, tmp_path),
        scorer_of(tiny_models, examples, tmp_path, seed=1),
        scorer_of(tiny_models, examples, tmp_path, version="w"),
    ]
    assert len({scorer.fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize("only", [None, frozenset({"b"})])
def test_a_model_that_learns_the_target_is_given_no_other_examples_than_the_sampler(store, only):
    schema = schema_of("target_examples")
    rows = pl.DataFrame(
        {"target": ["goal"] * 3 + ["other"], "doc_id": ["a", "b", "c", "d"], "text": ["A", "B", "C", "D"]}
    ).with_columns(pl.Series("split", ["train", "train", "held_out", "train"]))
    nulls = [pl.lit(None).alias(name) for name in schema.names if name not in rows.columns]
    store.overwrite("target_examples", rows.with_columns(nulls).select(schema.names).to_arrow().cast(schema))
    given = []

    def scorer(examples):
        given.append(dict(examples))
        return counting("one")[0]

    options = ScoringOptions(
        transport=TransportSection(), seed=0, pool_table="", target_table="", scorer=scorer, examples=only
    )
    section = SelectionSection(name="near", sampler="target-path:small", target="goal", budget=5)
    eligible = store.read("documents", ["doc_id"]).with_columns(n_tokens=pl.lit(10))
    assert len(method_scores(store, section, eligible, options)) == len(eligible)
    assert given == [{"b": "B"} if only else {"a": "A", "b": "B"}]


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory):
    from tamis.training import ModelShape, PretrainingOptions, Runtime, pretrain, train_tokenizer

    folder = tmp_path_factory.mktemp("models")
    texts = [f"the {word} of {number} and a sample" for number in range(8) for word in ("mean", "scale")]
    train_tokenizer(texts, folder / "tokenizer", vocabulary=300)
    shape = ModelShape(
        hidden_size=32, intermediate_size=64, layers=1, heads=2, vocabulary=320, maximum_positions=64
    )
    for seed in (1, 2):
        options = PretrainingOptions(tokens=500, sequence_length=32, seed=seed)
        output, resume = folder / str(seed), folder / "resume"
        pretrain(shape, texts, folder / "tokenizer", options, output, resume, runtime=Runtime(device="cpu"))
    return folder / "1", folder / "2", texts


def test_no_sampler_shadows_a_family():
    assert all(":" not in name for name in SAMPLERS)
