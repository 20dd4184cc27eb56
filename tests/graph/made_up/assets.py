"""Assets of the made-up stages."""

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa

from tamis.corpus.intake import texts_of
from tamis.corpus.stage import DOCUMENTS, TARGET_EXAMPLES
from tamis.platform.assets.specification import asset
from tamis.platform.resources.store import StoreResource
from tamis.runtime.record import Output
from tamis.store.schemas import schema_of


def _of_shards(context: dg.AssetExecutionContext, store: StoreResource, column: str, measure: Any) -> Any:
    with store.work(context) as work:
        table = work.stage.tables[0].name
        for group in work.shard_groups():
            for shard, doc_ids in group.items():
                texts = texts_of(work.store, doc_ids)
                rows = [
                    {"doc_id": one, column: measure(text), "fingerprint": "1"} for one, text in texts.items()
                ]
                work.store.merge(table, pa.Table.from_pylist(rows, schema=schema_of(table)))
                yield from work.record(Output(partition=shard, doc_ids=doc_ids, row_count=len(doc_ids)))


@asset("novelty", ["lancedb"])
def novelty(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[Any]:
    """Share of the words that are seen once."""
    yield from _of_shards(context, store, "novelty", lambda text: len({*text.split()}) / len(text.split()))


@asset("openings", ["lancedb"])
def openings(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[Any]:
    """First words of each document."""
    yield from _of_shards(context, store, "opening", lambda text: " ".join(text.split()[:5]))


@asset("target_words", ["lancedb"])
def target_words(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[Any]:
    """Words of each target, hashed."""
    with store.work(context) as work:
        for target in work.partitions:
            texts = work.store.read(TARGET_EXAMPLES.name, ["text"], f"target = '{target}'")["text"]
            words = sorted({zlib.crc32(word.encode()) for text in texts for word in text.split()})
            rows = [{"target": target, "word": word} for word in words]
            where = f"target = '{target}'"
            work.store.replace("target_words", pa.Table.from_pylist(rows, schema_of("target_words")), where)
            yield from work.record(Output(partition=target, row_count=len(words)))


@asset("word_counts", ["numpy"])
def word_counts(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[Any]:
    """How often each word is in the pool."""
    with store.work(context) as work:
        texts = work.store.read(DOCUMENTS.name, ["text"])["text"]
        counts = Counter(word for text in texts for word in text.split())
        folder = work.fitted("")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "counts.json").write_text(json.dumps(counts, sort_keys=True))
        yield from work.record(Output(files=[folder], row_count=len(texts)))
