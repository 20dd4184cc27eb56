import polars as pl
import pytest

from tamis.config import parse_settings
from tamis.corpus import document_id
from tamis.project import Project
from tamis.store.home import Home
from tamis.store.retained import retain
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of
from tamis.training import fold_of
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
    allowed = IDS[20:30] + IDS[40:]
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
    tables = {
        "corpus": [{"name": "web", "kind": "files", "path": "web"}],
        "base_model": [{"name": "small", "path": str(tmp_path / "no model is here")}],
        "perplexity": {"model": "small"},
    }
    settings = parse_settings(tables)
    project = Project(file=tmp_path / "tamis.toml", settings=settings, home=Home(tmp_path / "home"))
    marks = [f"{'v' * 32}:{settings.perplexity.max_tokens}"] * len(IDS)
    bits = [float(number) for number in range(len(IDS))]
    rows = table("scores_perplexity", doc_id=IDS, bits_per_byte=bits, fingerprint=marks)
    store.merge("scores_perplexity", rows)
    retain(store, "scores_perplexity", IDS[:9])
    store.delete("scores_perplexity", one_of("doc_id", IDS[:9]))
    versions, advanced = {"small": "v" * 40}, list[int]()
    args = (store, project, {"small": tmp_path}, versions, settings.perplexity, IDS, advanced.append)
    assert score_perplexity(*args) == set()
    assert sum(advanced) == 9
    assert store.read_arrow("scores_perplexity").sort_by("doc_id").equals(rows.sort_by("doc_id"))
