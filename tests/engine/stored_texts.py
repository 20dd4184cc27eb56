"""Stores that hold generated documents."""

import random

import polars as pl

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
