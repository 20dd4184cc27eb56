"""Assets of the made-up stages."""

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tamis.corpus.intake import texts_of
from tamis.corpus.stage import DOCUMENTS, TARGET_EXAMPLES
from tamis.platform.assets.specification import asset, per_partition
from tamis.runtime.record import Output
from tamis.runtime.step import Work
from tamis.store.schemas import schema_of


def _of_shards(work: Work, column: str, measure: Any) -> Any:
    table = work.stage.tables[0].name
    for group in work.shard_groups():
        for shard, doc_ids in group.items():
            texts = texts_of(work.store, doc_ids)
            rows = [{"doc_id": one, column: measure(text), "fingerprint": "1"} for one, text in texts.items()]
            work.store.merge(table, pa.Table.from_pylist(rows, schema=schema_of(table)))
            yield from work.record(Output(partition=shard, doc_ids=doc_ids, row_count=len(doc_ids)))


@asset("novelty", ["lancedb"])
def novelty(work: Work) -> Iterator[Any]:
    """Share of the words that are seen once."""
    yield from _of_shards(work, "novelty", lambda text: len({*text.split()}) / len(text.split()))


@asset("openings", ["lancedb"])
def openings(work: Work) -> Iterator[Any]:
    """First words of each document."""
    yield from _of_shards(work, "opening", lambda text: " ".join(text.split()[:5]))


@asset("target_words", ["lancedb"])
@per_partition
def target_words(work: Work, key: str) -> Iterator[Any]:
    """Words of each target, hashed."""
    where = f"target = '{key}'"
    texts = work.store.read(TARGET_EXAMPLES.name, ["text"], where)["text"]
    words = sorted({zlib.crc32(word.encode()) for text in texts for word in text.split()})
    rows = [{"target": key, "word": word} for word in words]
    work.store.replace("target_words", pa.Table.from_pylist(rows, schema_of("target_words")), where)
    yield from work.record(Output(partition=key, row_count=len(words)))


@asset("word_counts", ["numpy"])
def word_counts(work: Work) -> Iterator[Any]:
    """How often each word is in the pool."""
    texts = work.store.read(DOCUMENTS.name, ["text"])["text"]
    counts = Counter(word for text in texts for word in text.split())
    folder = work.fitted("")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "counts.json").write_text(json.dumps(counts, sort_keys=True))
    yield from work.record(Output(files=[folder], row_count=len(texts)))
