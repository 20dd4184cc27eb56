from pathlib import Path

import numpy as np
import polars as pl
import pytest
from projects import base_model, plain_project, settings

from tamis.base.unfit import NoNumbersError
from tamis.corpus import document_id
from tamis.project import Project
from tamis.store.retained import retain
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of
from tamis.training import fold_of, storing
from tamis.training.storing import _scorers, pretraining_documents, score_perplexity

TEXTS = [f"the sample distribution returns an array number {number}" for number in range(60)]
IDS = [document_id(text) for text in TEXTS]


def table(name, **columns):
    frame = pl.DataFrame(columns)
    absent = [column for column in schema_of(name).names if column not in frame.columns]
    return (
        frame.with_columns(pl.lit(None).alias(c) for c in absent)
        .select(schema_of(name).names)
        .to_arrow()
        .cast(schema_of(name))
    )


def scoring(folder: Path, model: Path, **more: int) -> Project:
    """A project whose documents this model scores."""
    perplexity = "".join(f"{name} = {value}\n" for name, value in more.items())
    parts = (base_model("small", None, path=str(model)), f'[perplexity]\nmodel = "small"\n{perplexity}')
    return plain_project(folder, settings(*parts), {}).project


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "lance")
    store.merge("documents", table("documents", doc_id=IDS, text=TEXTS))
    return store


@pytest.mark.parametrize("fold", [0, 1])
def test_a_base_model_never_sees_what_it_is_evaluated_on(store, tiny, fold):
    splits = ["held_out"] * 10 + ["train"] * 10 + ["unused"] * 10
    store.merge("target_examples", table("target_examples", doc_id=IDS[:30], split=splits, target=["t"] * 30))
    store.merge("contamination", table("contamination", doc_id=IDS[30:40], target=["t"] * 10))
    given_away = {"doc_id": IDS[40:46], "benchmark": ["exam"] * 6}
    store.merge("kept_out", table("kept_out", **given_away, runs=[[1]] * 6))
    allowed = IDS[20:30] + IDS[46:]
    expected = {doc_id for doc_id, found in zip(allowed, fold_of(allowed), strict=True) if found == fold}
    assert set(pretraining_documents(store, tiny.tokenizer, fold, 10**9, seed=0)) == expected


def test_the_token_budget_takes_a_prefix_of_the_same_order(store, tiny):
    whole = pretraining_documents(store, tiny.tokenizer, 0, 10**9, seed=0)
    part = pretraining_documents(store, tiny.tokenizer, 0, 40, seed=0)
    assert 0 < len(part) < len(whole)
    assert part == whole[: len(part)]


def test_no_document_is_scored_by_a_model_that_was_trained_on_it(store, tiny, tmp_path):
    """A base model trains on fold 0, its twin on fold 1; each scores what the other one saw."""
    trained = {
        name: set(pretraining_documents(store, tiny.tokenizer, fold, 10**9, seed=0))
        for name, fold in (("small", 0), ("small-twin", 1))
    }
    both = _scorers("small", "small-twin", dict.fromkeys(trained, tmp_path), IDS)
    assert sorted(doc_id for _model, wanted in both for doc_id in wanted) == sorted(IDS)
    for model, wanted in both:
        assert wanted
        assert trained[model].isdisjoint(wanted), model
    assert _scorers("small", "small-twin", {"small": tmp_path}, IDS) == [("small", IDS)]


def test_bits_of_a_document_that_left_are_not_computed_again_when_it_is_back(store, tmp_path):
    project = scoring(tmp_path, tmp_path / "no model is here")
    marks = [f"{'v' * 32}:{project.settings.perplexity.max_tokens}"] * len(IDS)
    bits = [float(number) for number in range(len(IDS))]
    rows = table("scores_perplexity", doc_id=IDS, bits_per_byte=bits, fingerprint=marks)
    store.merge("scores_perplexity", rows)
    retain(store, "scores_perplexity", IDS[:9])
    store.delete("scores_perplexity", one_of("doc_id", IDS[:9]))
    versions, advanced = {"small": "v" * 40}, list[int]()
    args = (store, project, {"small": tmp_path}, versions, IDS, advanced.append)
    assert score_perplexity(*args) == set()
    assert sum(advanced) == 9
    assert store.read_arrow("scores_perplexity").sort_by("doc_id").equals(rows.sort_by("doc_id"))


@pytest.mark.parametrize("fault", ["tokenizer", "nan"])
def test_one_text_that_a_model_cannot_read_gets_null_and_is_not_read_again(
    store, tiny, tmp_path, monkeypatch, fault
):
    given = []
    measure = storing.document_bits_per_byte

    def broken(loaded, texts, **named):
        given.extend(texts)
        if fault == "tokenizer" and TEXTS[7] in texts:
            raise IndexError(f"out of range in {texts}")
        return np.where([text == TEXTS[7] for text in texts], np.nan, measure(loaded, texts, **named))

    monkeypatch.setattr(storing, "document_bits_per_byte", broken)
    project = scoring(tmp_path, tiny.model, max_tokens=16)

    def score():
        versions = {"small": "v" * 40}
        return score_perplexity(store, project, {"small": tiny.model}, versions, IDS)

    assert score() == set(IDS)
    stored = store.read("scores_perplexity")
    assert stored.filter(pl.col("bits_per_byte").is_null())["doc_id"].to_list() == [IDS[7]]
    assert stored["bits_per_byte"].is_finite().sum() == len(IDS) - 1
    (row,) = store.read("set_aside").to_dicts()
    assert (row["doc_id"], row["stage"]) == (IDS[7], "perplexity_scores")
    assert row["reason"] == ("model_failed" if fault == "tokenizer" else "no_score")
    assert TEXTS[7] not in row["detail"]
    given.clear()
    assert score() == set()
    assert given == []


def test_a_model_without_any_finite_number_stops(store, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        storing, "document_bits_per_byte", lambda _loaded, texts, **_named: np.full(len(texts), np.nan)
    )
    project = scoring(tmp_path, tiny.model, max_tokens=16)
    versions = {"small": "v" * 40}
    with pytest.raises(NoNumbersError, match="plain sentence"):
        score_perplexity(store, project, {"small": tiny.model}, versions, IDS)
    assert store.count("scores_perplexity") == 0
