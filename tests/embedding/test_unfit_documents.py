"""A text without a usable vector costs no other text its own, and is not tried a second time."""

import numpy as np
import polars as pl
import pytest

from tamis.corpus.intake import remove_shards
from tamis.corpus.quarantine import show_refused
from tamis.embedding import load_encoder, storing
from tamis.embedding.storing import embed_missing
from tamis.engine import using
from tamis.engine.ray_engine import RayEngine
from tamis.settings.sections import EngineSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

MARK = "zebracrossing"
TEXTS = [f"Sentence {number} of those that are encoded." for number in range(20)]
TEXTS[7] = f"A sentence about a {MARK}."
IDS = [f"{number:032x}" for number in range(20)]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "lance")
    sizes = {"n_chars": 60, "n_bytes": 60, "language": None, "first_seen": None}
    rows = [{"doc_id": one, "text": text, **sizes} for one, text in zip(IDS, TEXTS, strict=True)]
    store.merge("documents", pl.DataFrame(rows).to_arrow().cast(schema_of("documents")))
    return store


@pytest.fixture(params=["static", "sentence"])
def encoder(request, tmp_path, monkeypatch):
    """Each kind of encoder, in a copy that a test may break."""
    if request.param == "static":
        fixed = request.getfixturevalue("static")
        return type(fixed)(fixed._tokenizer, fixed._vectors_vd, fixed.fingerprint)
    return load_encoder(str(request.getfixturevalue("tiny_folder")), cache=tmp_path, device="cpu")


def break_model(encoder, monkeypatch, value, fails=lambda text: MARK in text):
    """Let the model give vectors of this value for some texts, or raise it; returns what it was given."""
    name = "_encode_batch" if encoder.name == "static" else "_encode_group"
    whole, given = getattr(encoder, name), []

    def broken(texts, *others):
        given.extend(texts)
        failing = [place for place, text in enumerate(texts) if fails(text)]
        if failing and isinstance(value, Exception):
            raise type(value)(f"{value}: {texts}")
        vectors_nd = whole(texts, *others)
        vectors_nd[failing] = value if failing else 0
        return vectors_nd

    monkeypatch.setattr(encoder, name, broken)
    return given


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "no_vector"), (0.0, "no_vector"), (IndexError("index out of range"), "model_failed")],
    ids=["nan", "zero", "tokenizer"],
)
def test_one_text_without_a_vector_is_set_aside(store, encoder, monkeypatch, value, reason):
    given = break_model(encoder, monkeypatch, value)
    assert embed_missing(store, encoder, IDS) == [one for one in IDS if one != IDS[7]]
    (table,) = [name for name in store.names() if name.startswith("embeddings_")]
    stored = store.read(table).sort("doc_id")
    assert set(stored["doc_id"]) == set(IDS) - {IDS[7]}
    norms = np.linalg.norm(stored["vector"].to_numpy().astype(np.float32), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-2)
    (row,) = store.read("set_aside").to_dicts()
    assert (row["doc_id"], row["stage"], row["reason"]) == (IDS[7], "embeddings", reason)
    assert MARK not in row["detail"]
    given.clear()
    assert embed_missing(store, encoder, IDS) == []
    assert given == []
    encoder.fingerprint = "0123456789abcdef"
    assert len(embed_missing(store, encoder, IDS)) == len(IDS) - 1
    assert any(MARK in text for text in given)


def test_the_quarantine_names_shard_and_row_until_the_shard_is_gone(store, encoder, monkeypatch):
    break_model(encoder, monkeypatch, np.nan)
    embed_missing(store, encoder, IDS)
    places = {"doc_id": [IDS[0], IDS[7], IDS[7]], "shard": ["a", "a", "b"], "row": [0, 3, 0], "source": "x"}
    absent = dict.fromkeys(set(schema_of("occurrences").names) - places.keys())
    rows = pl.DataFrame(places | absent).select(schema_of("occurrences").names)
    store.merge("occurrences", rows.to_arrow().cast(schema_of("occurrences")))
    groups = {"a": [IDS[0], IDS[7]], "b": [IDS[7]]}
    assert show_refused(store, "embeddings", groups, [encoder.fingerprint]) == {"a": 1, "b": 1}
    shown = store.read("quarantine").sort("shard")
    assert shown["shard"].to_list() == ["stage/embeddings/a", "stage/embeddings/b"]
    assert shown["row"].to_list() == [3, 0]
    assert shown["excerpt"].to_list() == [IDS[7]] * 2
    remove_shards(store, ["a"])
    assert store.read("quarantine")["shard"].to_list() == ["stage/embeddings/b"]
    assert show_refused(store, "embeddings", {"b": [IDS[7]]}, ["another"]) == {}
    assert store.count("quarantine") == 0


@pytest.mark.parametrize("value", [np.nan, 0.0, IndexError("no model")], ids=["nan", "zero", "tokenizer"])
def test_an_encoder_without_any_usable_vector_stops(store, encoder, monkeypatch, value):
    break_model(encoder, monkeypatch, value, fails=lambda text: True)
    with pytest.raises((ValueError, IndexError)):
        embed_missing(store, encoder, IDS)
    assert store.count("set_aside") == 0


@pytest.mark.parametrize("error", [MemoryError("none left"), OSError("disk"), ConnectionError("gone")])
def test_what_no_text_can_cause_stops_at_once(store, encoder, monkeypatch, error):
    given = break_model(encoder, monkeypatch, error)
    with pytest.raises(type(error)):
        embed_missing(store, encoder, IDS)
    assert len(given) == len(IDS)


def test_nothing_missing_starts_no_cluster(store, static):
    assert embed_missing(store, static, IDS) == IDS
    with using(RayEngine(EngineSection(kind="ray", address="127.0.0.1:1"))):
        assert embed_missing(store, static, IDS) == []


@pytest.mark.parametrize("threads", ["1", "3"])
def test_vectors_are_the_same_whatever_the_threads_and_a_failure_leaves_whole_batches(
    store, static, monkeypatch, threads
):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(storing, "BATCH", 3)
    encoder = type(static)(static._tokenizer, static._vectors_vd, static.fingerprint)
    with monkeypatch.context() as broken:
        break_model(encoder, broken, ConnectionError("gone"), fails=lambda text: text == TEXTS[10])
        with pytest.raises(ConnectionError):
            embed_missing(store, encoder, IDS)
    (table,) = [name for name in store.names() if name.startswith("embeddings_")]
    assert sorted(store.read(table)["doc_id"]) == IDS[:9]
    assert embed_missing(store, encoder, IDS) == IDS[9:]
    stored = store.read(table).sort("doc_id")
    assert stored["doc_id"].to_list() == IDS
    assert np.array_equal(stored["vector"].to_numpy(), static.encode(TEXTS).astype(np.float16))


def test_a_batch_that_cannot_be_stored_stops_with_its_error(store, static, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(storing, "BATCH", 3)
    append = Store.append

    def full(self, table, rows):
        if table.startswith("embeddings_") and IDS[3] in rows["doc_id"].to_pylist():
            raise OSError(28, "No space left on device")
        append(self, table, rows)

    monkeypatch.setattr(Store, "append", full)
    with pytest.raises(OSError, match="No space left"):
        embed_missing(store, static, IDS)
    (table,) = [name for name in store.names() if name.startswith("embeddings_")]
    assert sorted(store.read(table)["doc_id"]) == IDS[:3]
