"""Topics from and into the store: fitted on a sample and kept, so that arrivals move no other document.

They are fitted again when the pool has grown by half, or their number, the encoder or the seed is another.
A word of a name is stored with documents that hold it: once all of these have left, it is in no name.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.corpus.stage import DOCUMENTS
from tamis.coverage.sampling import keyed_hash
from tamis.embedding.layout import Floats
from tamis.store.schemas import schema_of
from tamis.store.tables import ALL, Store, matrix_of
from tamis.store.vectors import VectorBlocks
from tamis.topics import CODE_VERSION
from tamis.topics.clusters import READ_CHARACTERS, fit_centers, kept_numbers, naming_words, nearest_topic
from tamis.topics.stage import TOPIC_CENTERS, TOPIC_WORDS, TOPICS

NO_VECTOR = "(no vector)"
"""The topic of documents that the encoder gave no vector."""
SAMPLE = 20_000
"""Documents that topics are fitted on and named by, those with the smallest keyed hash."""
GROWTH = 1.5
"""Times as many documents as topics were fitted to, from which they are fitted again."""


@dataclass(frozen=True, kw_only=True)
class TopicsUpdate:
    """The documents of each topic as they are now, and why topics were fitted, "" where they were not.

    `topics`: how many there are; `kept`: those of them that continue an earlier one, with its number.
    """

    documents: dict[str, int]
    topics: int
    refit: str
    kept: int


def update_topics(
    store: Store, vectors: str, count: int, seed: int, advance: Advance = ignore
) -> TopicsUpdate:
    """Give every document its nearest topic, and write the tables; topics are fitted only where they must be.

    vectors: the table of the encoder. Words are written first and centres next, so that a run which follows a
    killed one fits the same again.
    """
    there, fit = store.count(vectors), f"{CODE_VERSION}|{count}|{seed}|{vectors}"
    refit = _reason_to_fit(store, there, fit)
    if refit and not there:
        store.overwrite(TOPIC_CENTERS.name, schema_of(TOPIC_CENTERS.name).empty_table())
    kept = _fit(store, vectors, count, seed, fit) if refit and there else 0
    topics, center_cd = read_centers(store)
    parts = [pl.DataFrame(schema={"doc_id": pl.String, "topic": pl.String})]
    for ids, vectors_nd in VectorBlocks(store, vectors).with_ids() if there else ():
        nearest = pl.Series(topics).gather(nearest_topic(vectors_nd, center_cd))
        parts.append(pl.DataFrame({"doc_id": ids, "topic": nearest}))
        advance(len(ids))
    pool = store.read(DOCUMENTS.name, ["doc_id"]).join(pl.concat(parts), on="doc_id", how="left")
    found = pool.with_columns(pl.col("topic").fill_null(NO_VECTOR)).sort("doc_id")
    store.put(TOPICS.name, found, ALL)
    counts = dict(found.group_by("topic").len().iter_rows())
    return TopicsUpdate(
        documents={topic: counts[topic] for topic in sorted(counts, key=number_of)},
        topics=len(topics),
        refit=refit,
        kept=kept,
    )


def number_of(topic: str) -> int:
    """Return the number of a topic, 0 of `NO_VECTOR`."""
    return int(topic.removeprefix("topic ")) if topic != NO_VECTOR else 0


def _reason_to_fit(store: Store, there: int, fit: str) -> str:
    """Return why topics are fitted again, as a clause, "" where they stay."""
    known = store.read(TOPIC_CENTERS.name, ["pool", "fingerprint"])
    if known.is_empty() or not store.exists(TOPIC_WORDS.name):
        return "there were no topics yet"
    before, fitted = known.row(0)
    if fitted != fit:
        return "the number of topics, the encoder or the seed changed"
    return f"the pool grew from {before:,} to {there:,} documents" if there >= GROWTH * before else ""


def _fit(store: Store, vectors: str, count: int, seed: int, fit: str) -> int:
    """Fit topics on a sample, name them, and write both; returns how many continue an earlier one."""
    ids = store.read(vectors, ["doc_id"])["doc_id"].sort()
    sample = ids.gather(np.sort(np.argsort(keyed_hash(ids, seed, "topics"), kind="stable")[:SAMPLE]))
    rows = pa.concat_tables(store.by_ids(vectors, sample.to_list(), ["doc_id", "vector"])).sort_by("doc_id")
    vectors_nd = matrix_of(rows["vector"])
    center_cd = fit_centers(vectors_nd, count, seed)
    label_n = nearest_topic(vectors_nd, center_cd)
    number = pl.col("topic").str.strip_prefix("topic ").cast(pl.Int64, strict=False)  # null of `NO_VECTOR`
    before = read_topics(store).select("doc_id", number=number.fill_null(0))
    most = int(before["number"].to_numpy().max(initial=0))
    old = sample.to_frame().join(before, on="doc_id", how="left", maintain_order="left")["number"]
    numbers = kept_numbers(old.fill_null(0).to_numpy(), label_n, len(center_cd), most)
    topics = [f"topic {number}" for number in numbers]
    named = naming_words(_heads(store, sample), label_n).explode("rows")
    named = named.with_columns(
        topic=pl.Series(topics, dtype=pl.String).gather(named["topic"]), doc_id=sample.gather(named["rows"])
    )
    store.put(TOPIC_WORDS.name, named.sort("topic", "place", "doc_id"), ALL)
    store.overwrite_values(
        TOPIC_CENTERS.name,
        [
            {"topic": topic, "center": center, "pool": len(ids), "fingerprint": fit}
            for topic, center in zip(topics, center_cd.tolist(), strict=True)
        ],
    )
    return sum(number <= most for number in numbers)


def _heads(store: Store, doc_ids: pl.Series) -> pl.Series:
    """Return the beginnings of the texts of documents, in their order."""
    head = pl.col("text").str.slice(0, READ_CHARACTERS)
    blocks = store.by_ids(DOCUMENTS.name, doc_ids.to_list(), ["doc_id", "text"], at_once=1_024)
    texts = [pl.DataFrame(pl.from_arrow(block)).with_columns(head).rechunk() for block in blocks]
    found = pl.concat([pl.DataFrame(schema={"doc_id": pl.String, "text": pl.String}), *texts])
    found = doc_ids.to_frame().join(found, on="doc_id", how="left", maintain_order="left")
    return found["text"].fill_null("")


def read_centers(store: Store) -> tuple[list[str], Floats]:
    """Return the topics by number, and their centres [c, d] among vectors of length 1."""
    rows = store.read(TOPIC_CENTERS.name, ["topic", "center"]).to_dicts()
    rows.sort(key=lambda row: number_of(row["topic"]))
    return [row["topic"] for row in rows], np.array([row["center"] for row in rows], dtype=np.float64)


def read_topics(store: Store) -> pl.DataFrame:
    """Return doc_id and topic of every document of the pool."""
    return store.read(TOPICS.name, ["doc_id", "topic"])


@dataclass(frozen=True, kw_only=True)
class TopicNames:
    """The words that name each topic, and the documents that they are from.

    A page that shows a name states these (`from_documents`), so that a withdrawal of one of them finds it.
    """

    words: dict[str, list[str]]
    from_documents: list[str]

    def label(self, topic: str) -> str:
        """Return a topic with its words."""
        return f"{topic}: {', '.join(self.words[topic])}" if topic in self.words else topic


def read_names(store: Store) -> TopicNames:
    """Return the names of topics; a word of which no document is left is in none."""
    rows = store.read(TOPIC_WORDS.name)
    words = rows.unique(["topic", "place"]).sort("topic", "place")
    return TopicNames(
        words=dict(words.group_by("topic", maintain_order=True).agg("word").iter_rows()),
        from_documents=rows["doc_id"].unique().sort().to_list(),
    )
