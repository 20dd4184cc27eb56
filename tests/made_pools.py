"""A pool in a store as the pages of a selection read it: texts, vectors, decisions, examples of a target."""

import random
from collections.abc import Sequence

import numpy as np
import polars as pl
from projects import rows_of, texts

from tamis.embedding.storing import table_name
from tamis.readers.text import document_id
from tamis.report.seen import Subject
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, vector_column

TOPICS = ("cooking", "sailing", "algebra")
VECTORS, OF_TARGET = table_name("made", "0" * 64), "target_embeddings_made"


def vectors_of(contents: Sequence[str]) -> np.ndarray:
    """Counts of the words that begin with each letter: texts of one topic are near each other."""
    found = [
        np.bincount([ord(word[0]) % 16 for word in text.split()] or [0], minlength=16) for text in contents
    ]
    return np.array(found, dtype=np.float32) + np.float32(0.01)


def pool_texts(each: int, extra: Sequence[str] = ()) -> list[str]:
    """So many texts of each of three topics, and others."""
    return [*extra, *(text for topic in TOPICS for text in texts(topic, each))]


def write_pool(store: Store, contents: Sequence[str], alike: bool = False) -> list[str]:
    """Write documents with their vectors; returns their ids."""
    ids = [document_id(text) for text in contents]
    rows = [
        {"doc_id": one, "text": text, "n_chars": len(text), "n_bytes": len(text.encode())}
        for one, text in zip(ids, contents, strict=True)
    ]
    store.append("documents", rows_of("documents", rows))
    _write_vectors(store, VECTORS, ids, vectors_of(["same"] * len(ids) if alike else contents))
    return ids


def made_pool(
    store: Store, contents: Sequence[str], examples: int = 6, alike: bool = False, source: str = "a site"
) -> Subject:
    """Write the tables; return the selection: a fifth is chosen, some repeat, two examples are gaps."""
    ids = write_pool(store, contents, alike)
    places = [
        {
            "doc_id": one,
            "shard": f"web__{n % 2}",
            "row": n,
            "source": f"{source} {n % 3}",
            "licence": ("MIT", None)[n % 2],
        }
        for n, one in enumerate(ids)
    ]
    store.append("occurrences", rows_of("occurrences", places))
    order, decided, chosen = sorted(range(len(ids)), key=ids.__getitem__), [], max(len(ids) // 5, 1)
    for rank, n in enumerate(order, 1):
        near = n % 10 == 9
        reason = "near_duplicate" if near else "within_budget" if rank <= chosen else "over_budget"
        verdict = "selected" if reason == "within_budget" else "rejected"
        margin = {} if near else {"rank": rank, "margin": (chosen - rank) / 10, "quality": (n % 7) / 7}
        decided.append({"selection": "best", "doc_id": ids[n], "verdict": verdict, "reason": reason} | margin)
    store.append("decisions", rows_of("decisions", decided))
    goal = texts("algebra", examples, 9)
    named = [document_id(text) for text in goal]
    rows = [
        {"target": "goal", "doc_id": one, "split": "train", "text": text, "source": "goal"}
        for one, text in zip(named, goal, strict=True)
    ]
    store.append("target_examples", rows_of("target_examples", rows))
    gaps = [{"target": "goal", "doc_id": one, "supply": 1.0, "is_gap": n < 2} for n, one in enumerate(named)]
    store.append("target_gaps", rows_of("target_gaps", gaps))
    if goal:
        _write_vectors(store, OF_TARGET, named, vectors_of(goal), target="goal")
    decisions = store.read("decisions").drop("selection")
    return Subject(
        name="best",
        target="goal" if examples else None,
        decisions=decisions.drop(
            name
            for name in decisions.columns
            if not decisions[name].count() and name not in ("detail", "duplicate_of")
        ),
        pool_table=VECTORS,
        target_table=OF_TARGET,
    )


def _write_vectors(store: Store, table: str, ids: Sequence[str], vectors_nd: np.ndarray, **more: str) -> None:
    frame = pl.DataFrame({"doc_id": ids}).with_columns(
        fingerprint=pl.lit("0"), **{k: pl.lit(v) for k, v in more.items()}
    )
    rows = frame.to_arrow().append_column("vector", vector_column(vectors_nd))
    schema = schema_of(table, vectors_nd.shape[1])
    store.append(table, rows.select(schema.names).cast(schema))


def shuffled(contents: Sequence[str], seed: int) -> list[str]:
    """The texts in another order of arrival."""
    return random.Random(seed).sample(list(contents), len(contents))
