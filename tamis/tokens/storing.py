"""Counts from and into the store: 2,000 documents a commit, so a killed run goes on where it stopped."""

from collections.abc import Sequence

import polars as pl

from tamis.base.progress import Advance, ignore
from tamis.corpus.intake import texts_of
from tamis.corpus.quarantine import note_refused
from tamis.store.schemas import schema_of
from tamis.store.tables import Store
from tamis.tokens.counting import NOT_COUNTED, TokenCounter
from tamis.tokens.stage import TOKEN_COUNTS, TOKEN_COUNTS_STAGE

BATCH = 2_000


def count_missing(
    store: Store, counter: TokenCounter, mark: str, doc_ids: Sequence[str], advance: Advance = ignore
) -> list[str]:
    """Count and store the documents without a row of this fingerprint, and return their ids.

    A document that the tokenizer fails on has a row without a number, and is noted as set aside.
    """
    known: set[str] = set()
    for block in store.by_ids(TOKEN_COUNTS.name, doc_ids, ["doc_id", "fingerprint"]):
        rows = pl.DataFrame(pl.from_arrow(block))
        known.update(rows.filter(pl.col("fingerprint") == mark)["doc_id"])
    missing = sorted(set(doc_ids) - known)
    for start in range(0, len(missing), BATCH):
        texts = texts_of(store, missing[start : start + BATCH])
        ids = list(texts)
        tokens_n, refused = counter.count(list(texts.values()))
        note_refused(
            store, TOKEN_COUNTS_STAGE.name, mark, {ids[place]: why for place, why in refused.items()}
        )
        counted = pl.DataFrame({"doc_id": ids, "n_tokens": tokens_n, "fingerprint": [mark] * len(ids)})
        counted = counted.with_columns(pl.col("n_tokens").replace(NOT_COUNTED, None))
        schema = schema_of(TOKEN_COUNTS.name)
        store.merge(TOKEN_COUNTS.name, counted.select(schema.names).to_arrow().cast(schema))
        advance(len(ids))
    return missing
