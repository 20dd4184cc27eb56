"""Quality from and into the store: judged answers, what went without, grader features, and scores.

The judge is asked once per document and its answers are committed 32 at a time, so a killed run loses
at most a few seconds of judging.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.engine import LOCAL, current_engine
from tamis.progress import Advance, ignore
from tamis.quality import AskLLM, Grader, grader_features, surface_features
from tamis.quality.endpoint import Endpoint
from tamis.quality.grader import TooFewJudgedError
from tamis.store.retained import retain
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of

JUDGE_BATCH = 32
ANSWERS = "scores_judge"
UNANSWERED = "judge_scores"  # stands for a shard in quarantine: no file is at fault


def unjudged(store: Store, doc_ids: Sequence[str], fingerprint: str, table: str = ANSWERS) -> list[str]:
    """Those of the documents that this judge has not answered yet."""
    known = store.read(table, ["doc_id"], f"fingerprint = '{fingerprint}'")["doc_id"]
    return sorted(set(doc_ids).difference(known))


def judge_documents(
    store: Store,
    judge: AskLLM,
    doc_ids: Sequence[str],
    advance: Advance = ignore,
    table: str = ANSWERS,
) -> None:
    """Ask the judge about documents and store its answers, a batch a commit.

    Answers of another judge's server that they replace are retained.
    """
    retain(store, table, doc_ids, local=False)
    texts = texts_of(store, doc_ids)
    by_length = sorted(doc_ids, key=lambda doc_id: (len(texts[doc_id]), doc_id))
    ordered = {doc_id: texts[doc_id] for doc_id in by_length}
    for rows in _answers(judge, ordered, "doc_id", advance):
        schema = schema_of(table)
        store.merge(table, rows.select(schema.names).to_arrow().cast(schema))


def _answers(judge: AskLLM, texts: dict[str, str], key: str, advance: Advance) -> Iterator[pl.DataFrame]:
    """Scores of texts a batch at a time, in order, with their key and the judge's fingerprint."""
    by_server = isinstance(judge.model, Endpoint)
    labels = [pl.lit(judge.fingerprint).alias("fingerprint"), pl.lit(by_server).alias("by_server")]
    # Requests are in flight together as it is, and the key to an endpoint stays in this process.
    engine = LOCAL if by_server else current_engine()
    for batch, (scores, spent) in engine.map(_asked, judge, _batches(texts), advance):
        judge.usage.add(*spent)
        yield scores.with_columns(pl.Series(key, list(batch)), *labels)


def _batches(texts: dict[str, str]) -> Iterator[dict[str, str]]:
    keys = list(texts)
    for start in range(0, len(keys), JUDGE_BATCH):
        yield {key: texts[key] for key in keys[start : start + JUDGE_BATCH]}


def _asked(
    judge: AskLLM, texts: dict[str, str], advance: Advance
) -> tuple[pl.DataFrame, tuple[int, int, float]]:
    """Scores, and what the judge has counted; it may be a copy of the one whose counts are asked for."""
    return judge.score(list(texts.values()), advance), judge.usage.taken()


def set_unanswered_aside(store: Store, doc_ids: Sequence[str]) -> list[str]:
    """Note in quarantine which of the sample the judge gave no score; their rows stay, with nulls."""
    blocks = store.by_ids("scores_judge", doc_ids, ["doc_id", "margin"])
    answers = [pl.DataFrame(pl.from_arrow(block)) for block in blocks]
    without = sorted(
        doc_id
        for frame in answers
        for doc_id in frame.filter(~pl.col("margin").fill_null(np.nan).is_finite())["doc_id"]
    )
    scope = f"shard = '{UNANSWERED}'"
    if without or store.count("quarantine", scope):
        detail = "the judge's logits are not finite, so the grader learns nothing from this document"
        rows = [
            {"shard": UNANSWERED, "row": row, "reason": "no_score", "detail": detail, "excerpt": doc_id}
            for row, doc_id in enumerate(without)
        ]
        store.replace("quarantine", pa.Table.from_pylist(rows, schema=schema_of("quarantine")), scope)
    return without


@dataclass(frozen=True)
class RememberingJudge:
    """A judge asked about texts that are not documents, once each: a killed run goes on where it was."""

    store: Store
    judge: AskLLM

    def score(self, texts: Sequence[str], advance: Advance = ignore) -> pl.DataFrame:
        """Columns `margin` and `answer_mass`, a row per text in order, null where the judge gives none."""
        by_digest = {sha256(text.encode("utf-8", "replace")).hexdigest()[:32]: text for text in texts}
        known = self._answers()
        missing = sorted(set(by_digest).difference(known["text_digest"]))
        advance(len(texts) - len(missing))
        for rows in _answers(self.judge, {key: by_digest[key] for key in missing}, "text_digest", advance):
            schema = schema_of("scores_noise")
            self.store.merge("scores_noise", rows.select(schema.names).to_arrow().cast(schema))
        digest_of = {text: digest for digest, text in by_digest.items()}
        asked = pl.DataFrame({"text_digest": [digest_of[text] for text in texts]}, {"text_digest": pl.String})
        known = self._answers() if missing else known
        return asked.join(known, on="text_digest", how="left", maintain_order="left").drop("text_digest")

    def _answers(self) -> pl.DataFrame:
        scope = f"fingerprint = '{self.judge.fingerprint}'"
        return self.store.read("scores_noise", ["text_digest", "margin", "answer_mass"], scope)


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
    ids, vectors_nd, surface_nk, lengths_n = read_visible(store, embeddings, doc_ids)
    return ids, grader_features(vectors_nd, surface_nk, _bits_per_byte(store, ids)), lengths_n


def read_visible(
    store: Store, embeddings: str, doc_ids: Sequence[str]
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Ids in order, vectors [n, d], surface features [n, k] and lengths [n]: what needs no model of the pool.

    Raises `TooFewJudgedError` when there is none.
    """
    blocks = list(store.by_ids(embeddings, doc_ids, ["doc_id", "vector"]))
    if not blocks:
        raise TooFewJudgedError(0, 0)
    vectors = pa.concat_tables(blocks).sort_by("doc_id")
    ids = vectors["doc_id"].to_pylist()
    texts = texts_of(store, ids)
    ordered = [texts[doc_id] for doc_id in ids]
    _names, surface_nk = surface_features(ordered)
    lengths_n = np.array([len(text) for text in ordered], dtype=np.float64)
    return ids, matrix_of(vectors["vector"]), surface_nk, lengths_n


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
