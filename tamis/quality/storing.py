"""Quality from and into the store: judged answers, grader features, and the grader's scores.

The judge is asked once per document and its answers are committed 32 at a time, so a killed run loses
at most a few seconds of judging.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.progress import Advance, ignore
from tamis.quality import AskLLM, Grader, grader_features, surface_features
from tamis.quality.grader import TooFewJudgedError
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of

JUDGE_BATCH = 32


def unjudged(store: Store, doc_ids: Sequence[str], fingerprint: str) -> list[str]:
    """Those of the documents that this judge has not answered yet."""
    known = store.read("scores_judge", ["doc_id"], f"fingerprint = '{fingerprint}'")["doc_id"]
    return sorted(set(doc_ids).difference(known))


def judge_documents(store: Store, judge: AskLLM, doc_ids: Sequence[str], advance: Advance = ignore) -> None:
    """Ask the judge about documents and store its answers, a batch a commit."""
    texts = texts_of(store, doc_ids)
    by_length = sorted(doc_ids, key=lambda doc_id: (len(texts[doc_id]), doc_id))
    for start in range(0, len(by_length), JUDGE_BATCH):
        ids = by_length[start : start + JUDGE_BATCH]
        scores = judge.score([texts[doc_id] for doc_id in ids])
        rows = scores.with_columns(pl.Series("doc_id", ids), pl.lit(judge.fingerprint).alias("fingerprint"))
        schema = schema_of("scores_judge")
        store.merge("scores_judge", rows.select(schema.names).to_arrow().cast(schema))
        advance(len(ids))


def texts_of(store: Store, doc_ids: Sequence[str]) -> dict[str, str]:
    """Texts of documents by id."""
    texts: dict[str, str] = {}
    for block in store.by_ids("documents", doc_ids, ["doc_id", "text"]):
        texts.update(zip(block["doc_id"].to_pylist(), block["text"].to_pylist(), strict=True))
    return texts


def read_features(
    store: Store, embeddings: str, doc_ids: Sequence[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids in order, grader features [n, k], and lengths in characters [n] of documents."""
    blocks = list(store.by_ids(embeddings, doc_ids, ["doc_id", "vector"]))
    if not blocks:
        raise TooFewJudgedError(0, 0)
    vectors = pa.concat_tables(blocks).sort_by("doc_id")
    ids = vectors["doc_id"].to_pylist()
    texts = texts_of(store, ids)
    ordered = [texts[doc_id] for doc_id in ids]
    _names, surface_nk = surface_features(ordered)
    bits_n = _bits_per_byte(store, ids)
    lengths_n = np.array([len(text) for text in ordered], dtype=np.float64)
    return ids, grader_features(matrix_of(vectors["vector"]), surface_nk, bits_n), lengths_n


def _bits_per_byte(store: Store, ids: list[str]) -> np.ndarray:
    known: dict[str, float] = {}
    if store.exists("scores_perplexity"):
        for block in store.by_ids("scores_perplexity", ids, ["doc_id", "bits_per_byte"]):
            known.update(zip(block["doc_id"].to_pylist(), block["bits_per_byte"].to_pylist(), strict=True))
    values = [known.get(doc_id) for doc_id in ids]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def grade_documents(
    store: Store, grader: Grader, fingerprint: str, embeddings: str, doc_ids: Sequence[str]
) -> None:
    """Score documents with the grader and store the scores."""
    if not doc_ids:
        return
    ids, features_nk, _lengths = read_features(store, embeddings, doc_ids)
    columns: list[Any] = [
        ids,
        np.asarray(grader.predict(features_nk), dtype=np.float64),
        np.asarray(grader.quality(features_nk), dtype=np.float64),
        [fingerprint] * len(ids),
    ]
    store.merge("scores_quality", pa.table(columns, schema=schema_of("scores_quality")))


def vector_dimension(store: Store, embeddings: str) -> int:
    """Number of components of the stored vectors."""
    return int(store.schema(embeddings).field("vector").type.list_size)
