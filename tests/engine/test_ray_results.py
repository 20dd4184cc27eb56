"""As in one process, so on a Ray cluster: the same bits where they are exact, else within bounds."""

import random

import numpy as np
import polars as pl
import pytest

from tamis.embedding.storing import embed_missing, table_name
from tamis.engine import using
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

WORDS = [f"{syllable}{number}" for syllable in ("ka", "lo", "mi", "su") for number in range(60)]


def some_texts(count: int) -> list[str]:
    draw = random.Random(7)
    return [" ".join(draw.choices(WORDS, k=draw.randint(4, 40))) for _ in range(count)]


def store_of(folder, texts: list[str]) -> tuple[Store, list[str]]:
    """A store that holds these documents, and their ids."""
    store, ids = Store(folder), [f"{number * 7919:032x}" for number in range(len(texts))]
    frame = pl.DataFrame({"doc_id": ids, "text": texts}).with_columns(
        n_chars=60, n_bytes=60, language=None, first_seen=None
    )
    names = schema_of("documents").names
    store.merge("documents", frame.select(names).to_arrow().cast(schema_of("documents")))
    return store, ids


@pytest.fixture
def twins(tmp_path):
    """Two stores with the same 5,000 documents: one for each engine."""
    texts = some_texts(5_000)
    (local, ids), (spread, _) = store_of(tmp_path / "local", texts), store_of(tmp_path / "spread", texts)
    return local, spread, ids


def test_static_vectors_have_the_same_bits_and_the_same_commits(twins, static, ray_engine):
    local, spread, ids = twins
    assert embed_missing(local, static, ids) == sorted(ids)
    rows: list[int] = []
    with using(ray_engine):
        assert embed_missing(spread, static, ids, rows.append) == sorted(ids)
    table = table_name("static")
    ours, theirs = (store.read_arrow(table) for store in (local, spread))
    assert ours.equals(theirs)
    assert local.version(table) == spread.version(table)
    assert sum(rows) == len(ids)


@pytest.mark.slow
def test_a_sentence_model_gives_the_same_vectors(tiny_folder, twins, ray_engine):
    from tamis.embedding import load_encoder

    local, spread, ids = twins
    encoder = load_encoder(str(tiny_folder), cache=local.folder)
    embed_missing(local, encoder, ids)
    with using(ray_engine):
        embed_missing(spread, encoder, ids)
    ours, theirs = (store.read(table_name(encoder.name)) for store in (local, spread))
    assert ours["doc_id"].equals(theirs["doc_id"])
    difference = np.abs(ours["vector"].to_numpy() - theirs["vector"].to_numpy())
    assert difference.max() <= 2e-3
