"""Shards in a store, as a run over their files leaves them: documents with their places."""

import pyarrow as pa

from tamis.corpus import document_id
from tamis.corpus.intake import delete_orphans, find_orphans, remove_shards
from tamis.store.schemas import schema_of


def add_shard(store, shard, texts):
    rows = [{"doc_id": document_id(text), "text": text, "n_chars": len(text)} for text in texts]
    store.insert_new("documents", pa.Table.from_pylist(rows, schema=schema_of("documents")))
    places = [{"doc_id": document_id(t), "shard": shard, "row": i} for i, t in enumerate(texts)]
    store.replace(
        "occurrences", pa.Table.from_pylist(places, schema=schema_of("occurrences")), f"shard = '{shard}'"
    )


def remove_shard(store, shard):
    remove_shards(store, [shard])
    delete_orphans(store, find_orphans(store), retained_days=30)
