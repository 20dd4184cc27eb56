"""Near copies by vector against brute force, whatever came and went."""

import hashlib

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tamis.embedding.near_copies import INDEX, TABLE, bits_and_bands, sign_keys, update_near_copies
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of, vector_column

VECTORS = "embeddings_static"


def doc_id(number):
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def pool_of(seed, families=15, loners=40, d=32):
    """Vectors in families on both sides of the threshold, around a common direction as embeddings have."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=d)
    rows = [rng.normal(size=d) + common for _ in range(loners)]
    for _ in range(families):
        middle = rng.normal(size=d) + common
        for _ in range(rng.integers(1, 5)):
            rows.append(
                middle + rng.normal(size=d) * np.linalg.norm(middle) * rng.choice([0.005, 0.02, 0.05])
            )
    return np.array(rows, dtype=np.float16)


def put(store, vectors_nd, numbers):
    ids = [doc_id(number) for number in numbers]
    texts = [{"doc_id": one, "text": one, "n_chars": 1} for one in ids]
    store.insert_new("documents", pa.Table.from_pylist(texts, schema=schema_of("documents")))
    schema = schema_of(VECTORS, vectors_nd.shape[1])
    store.insert_new(
        VECTORS, pa.table([ids, vector_column(vectors_nd[numbers]), ["f"] * len(ids)], schema=schema)
    )


def greedy(vectors_nd, numbers, threshold):
    """The definition, one document at a time, of the pairs that are proposed (1 in 1,000 is not)."""
    unit = {
        doc_id(n): vectors_nd[n].astype(float) / np.linalg.norm(vectors_nd[n].astype(float)) for n in numbers
    }
    keys_nb = sign_keys(vectors_nd[numbers], *bits_and_bands(threshold))
    keys = dict(zip(map(doc_id, numbers), keys_nb, strict=True))

    def alike(one, other):
        return unit[one] @ unit[other] >= threshold and (keys[one] == keys[other]).any()

    kept, dropped = [], {}
    for one in sorted(unit):
        near = next((other for other in kept if alike(one, other)), None)
        kept += [one] if near is None else []
        dropped |= {one: near} if near else {}
    return dropped


def found(store):
    return dict(store.read(TABLE, ["doc_id", "kept"]).iter_rows())


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from([0.95, 0.98, 0.999]))
@example(595, 0.95)  # a pair of cosine .959 is not proposed
def test_vectors_that_come_and_go_leave_what_brute_force_finds(tmp_path_factory, seed, threshold):
    store, rng = Store(tmp_path_factory.mktemp("store")), np.random.default_rng(seed)
    vectors_nd = pool_of(seed)
    there = []
    for _ in range(3):
        coming = sorted(set(rng.choice(len(vectors_nd), size=40).tolist()) - set(there))
        put(store, vectors_nd, coming)
        there += coming
        going = rng.choice(there, size=len(there) // 4, replace=False).tolist()
        for table in ("documents", VECTORS, INDEX):
            if going and store.exists(table):
                store.delete(table, one_of("doc_id", [doc_id(number) for number in going]))
        there = [number for number in there if number not in going]
        update_near_copies(store, VECTORS, threshold)
        assert found(store) == greedy(vectors_nd, there, threshold)


def test_what_repeats_words_takes_no_part_until_it_no_longer_does(tmp_path):
    store = Store(tmp_path)
    vectors_nd = np.repeat(np.eye(4, dtype=np.float16)[:1], 3, axis=0)
    put(store, vectors_nd, [0, 1, 2])
    first, second, third = sorted(doc_id(number) for number in range(3))
    rows = pl.DataFrame({"doc_id": [first], "kept": [second], "jaccard": [1.0]}).cast({"jaccard": pl.Float32})
    store.overwrite("near_duplicates", rows.to_arrow().cast(schema_of("near_duplicates")))
    update_near_copies(store, VECTORS, 0.98)
    assert found(store) == {third: second}
    store.overwrite("near_duplicates", schema_of("near_duplicates").empty_table())
    update_near_copies(store, VECTORS, 0.98)
    assert found(store) == {second: first, third: first}


def test_only_new_vectors_are_hashed(tmp_path):
    store, vectors_nd = Store(tmp_path), pool_of(1)
    put(store, vectors_nd, list(range(50)))
    assert update_near_copies(store, VECTORS, 0.98).hashed == 50
    put(store, vectors_nd, [50, 51])
    update = update_near_copies(store, VECTORS, 0.98)
    assert update.hashed == 2
    assert update.decided < 20


@pytest.mark.parametrize("threshold", [0.9, 0.95, 0.98, 0.999, 1.0])
def test_pairs_at_the_threshold_are_proposed(threshold):
    bits, bands = bits_and_bands(threshold)
    rng = np.random.default_rng(0)
    one = rng.normal(size=(4_000, 64))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other = rng.normal(size=one.shape)
    other -= (other * one).sum(1, keepdims=True) * one
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    other = threshold * one + np.sqrt(max(1 - threshold**2, 0)) * other
    share = (sign_keys(one, bits, bands) == sign_keys(other, bits, bands)).any(1).mean()
    assert share > 0.997
    assert bands <= 32


def test_zero_vectors_are_no_error(tmp_path):
    store = Store(tmp_path)
    put(store, np.zeros((3, 8), dtype=np.float16), [0, 1, 2])
    assert update_near_copies(store, VECTORS, 0.98).dropped == 0


def test_documents_that_are_mostly_shared_text_have_alike_vectors_and_are_no_copies(tmp_path):
    """120 chats below one prompt: the vector of each is that of the prompt, nearly."""
    store, rng = Store(tmp_path), np.random.default_rng(3)
    vectors_nd = (rng.normal(size=32) + 0.02 * rng.normal(size=(123, 32))).astype(np.float16)
    put(store, vectors_nd, list(range(120)))
    rows = [{"doc_id": doc_id(number), "fingerprint": "x", "left_out": 0.93} for number in range(120)]
    schema = schema_of("near_duplicate_bands", 1)
    store.append("near_duplicate_bands", pa.Table.from_pylist(rows, schema=schema))
    assert update_near_copies(store, VECTORS, 0.95).dropped == 0
    put(store, vectors_nd, [120, 121, 122])
    assert update_near_copies(store, VECTORS, 0.95).dropped == 2, "what shares little is compared as before"
    store.delete("near_duplicate_bands", "true")
    assert update_near_copies(store, VECTORS, 0.95).dropped == 122
