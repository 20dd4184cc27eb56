"""The index of near-duplicates: whatever came and went, the table is that of all documents at once."""

import random

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near_texts import doc_id, edited, pool_of, random_text

from tamis.corpus import repeats
from tamis.corpus.repeats import INDEX, TABLE, update_near_duplicates
from tamis.duplicates.minhash import NO_WORDS, buckets_of, connected, linked
from tamis.duplicates.near_duplicates import find_near_duplicates
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of


def put(store, texts):
    rows = [{"doc_id": doc_id(text), "text": text, "n_chars": len(text)} for text in texts]
    store.insert_new("documents", pa.Table.from_pylist(rows, schema=schema_of("documents")))


def take(store, ids):
    for table in ("documents", INDEX):
        if store.exists(table):
            store.delete(table, one_of("doc_id", sorted(ids)))


def rows_of(store):
    return store.read(TABLE).sort("doc_id").rows()


def expected(texts, threshold=0.8):
    found = find_near_duplicates([doc_id(text) for text in texts], texts, threshold=threshold)
    return found.with_columns(pl.col("jaccard").cast(pl.Float32)).rows()


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from([0.6, 0.8]))
def test_documents_that_come_and_go_leave_what_all_at_once_give(tmp_path_factory, seed, threshold):
    store, rng = Store(tmp_path_factory.mktemp("store")), random.Random(seed)
    _, texts = pool_of(seed)
    there = []
    for _ in range(4):
        coming = rng.sample(texts, k=rng.randint(0, len(texts) // 2))
        put(store, coming)
        there = list(dict.fromkeys(there + coming))
        going = rng.sample(there, k=rng.randint(0, len(there) // 3))
        take(store, [doc_id(text) for text in going])
        there = [text for text in there if text not in going]
        update_near_duplicates(store, threshold)
        assert rows_of(store) == expected(there, threshold)
        assert sorted(store.read(INDEX, ["doc_id"])["doc_id"]) == sorted(map(doc_id, there))


@given(st.integers(0, 10_000), st.sampled_from([5, 100, 2_000]), st.sampled_from([0.0, 0.01, 0.05, 0.5]))
def test_chains_that_are_followed_lead_to_what_all_buckets_connect(seed, values, seeds):
    rng = np.random.default_rng(seed)
    keys_nb = rng.integers(0, values, (int(rng.integers(1, 300)), int(rng.integers(1, 6)))).astype(np.uint64)
    keys_nb[rng.random(len(keys_nb)) < 0.1] = NO_WORDS
    seeds_n = rng.random(len(keys_nb)) < seeds
    every = buckets_of(keys_nb)
    linked_n = linked(keys_nb, seeds_n)
    assert np.array_equal(linked_n, connected(every, seeds_n))
    of_all, of_those = every.restricted(linked_n), buckets_of(keys_nb, linked_n)
    assert np.array_equal(of_all.members, of_those.members)
    assert np.array_equal(np.diff(of_all.bucket) > 0, np.diff(of_those.bucket) > 0)


def cluster(seed=3):
    """A text, a close copy, and some that resemble neither."""
    rng = random.Random(seed)
    first = random_text(rng)
    return first, edited(rng, first, 1), [random_text(rng) for _ in range(30)]


def test_only_what_the_new_documents_touch_is_hashed_and_decided_again(tmp_path):
    store, (first, copy, others) = Store(tmp_path), cluster()
    put(store, [first, *others])
    update_near_duplicates(store, 0.8)
    put(store, [copy])
    update = update_near_duplicates(store, 0.8)
    assert (update.hashed, update.decided, update.dropped) == (1, 2, 1)
    assert rows_of(store)[0][:2] == (max(doc_id(first), doc_id(copy)), min(doc_id(first), doc_id(copy)))


def test_the_removal_of_the_kept_one_promotes_the_next(tmp_path):
    store, (first, copy, others) = Store(tmp_path), cluster()
    put(store, [first, copy, *others])
    update_near_duplicates(store, 0.8)
    take(store, [min(doc_id(first), doc_id(copy))])
    assert update_near_duplicates(store, 0.8).decided == 1
    assert rows_of(store) == []


def test_another_threshold_decides_everything_again(tmp_path):
    store, (first, copy, others) = Store(tmp_path), cluster()
    put(store, [first, copy, *others])
    update_near_duplicates(store, 0.8)
    assert update_near_duplicates(store, 0.99).hashed == 32
    assert rows_of(store) == expected([first, copy, *others], 0.99)


@pytest.mark.parametrize("lost", [TABLE, INDEX])
def test_a_lost_table_or_index_is_made_again(tmp_path, lost):
    store, (first, copy, others) = Store(tmp_path), cluster()
    put(store, [first, copy, *others])
    update_near_duplicates(store, 0.8)
    store._connect().drop_table(lost)
    update_near_duplicates(store, 0.8)
    assert rows_of(store) == expected([first, copy, *others])


def dies(*_, **__):
    raise KeyboardInterrupt


def test_a_run_that_dies_before_the_index_is_written_is_made_good(tmp_path, monkeypatch):
    store, (first, copy, others) = Store(tmp_path), cluster()
    put(store, [first, *others])
    update_near_duplicates(store, 0.8)
    put(store, [copy])
    with monkeypatch.context() as patched:
        patched.setattr(repeats, "_write_index", dies)
        with pytest.raises(KeyboardInterrupt):
            update_near_duplicates(store, 0.8)
    take(store, [doc_id(first)])
    update_near_duplicates(store, 0.8)
    assert rows_of(store) == []


def test_no_documents_and_documents_without_words(tmp_path):
    store = Store(tmp_path)
    assert update_near_duplicates(store, 0.8).dropped == 0
    put(store, ["\U0001f600", "\U0001f601", "one"])
    assert update_near_duplicates(store, 0.8).dropped == 0
    assert store.count(INDEX) == 3
