"""Embedding: a vector for each distinct document, computed once per encoder and kept."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from resources.platform import Platform
from resources.specification import described
from resources.work import Made, Rows
from tamis.corpus.intake import count_documents, shard_documents
from tamis.embedding import load_encoder
from tamis.embedding.storing import embed_missing, table_name


@dg.asset(**described("embeddings", ["lancedb", "torch"]))
def embeddings(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """Vectors of a shard's documents; only documents that this encoder has not seen are encoded."""
    with platform.work(context) as work:
        name = work.project.settings.encoder.name
        with work.progress(f"loading encoder {name}"):
            encoder = load_encoder(work.project.model(name), cache=work.project.home.cache)
        known = f"fingerprint = '{encoder.fingerprint}'"
        missing = count_documents(work.store, work.partitions, table_name(name), known)
        with work.progress("embeddings", missing) as progress:
            for key in work.partitions:
                doc_ids = shard_documents(work.store, key)
                encoded = embed_missing(work.store, encoder, doc_ids, advance=progress.advance)
                yield from work.record(
                    Made(
                        partition=key,
                        rows=[Rows(table=table_name(name), doc_ids=doc_ids)],
                        row_count=len(doc_ids),
                        metadata={"encoded": encoded, "reused": len(doc_ids) - encoded, "encoder": name},
                    )
                )
