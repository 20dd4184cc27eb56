"""Quality from and into the store: judged answers, what went without, grader features, and scores.

The judge is asked once per document and its answers are committed 32 at a time, so a killed run loses
at most a few seconds of judging. A document that it refuses keeps a row of nulls, so it is not asked about
again by the same judge. Refusals of a server are stored once it has answered about anything: one that refuses
the first 32 documents, or all where there are fewer, is itself at fault. So is one that has no
usable answer to the last of them, nor to a plain sentence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.base.unfit import PLAIN, Refusal, Unfit
from tamis.corpus.intake import texts_of
from tamis.corpus.quarantine import forget_refused, note_refused, place_of, read_refused, show_rows
from tamis.engine import LOCAL, current_engine
from tamis.quality import AskLLM, Grader, grader_features, surface_features
from tamis.quality.ask_llm import Asked
from tamis.quality.endpoint import (
    Endpoint,
    EndpointRefusesAllError,
    EndpointRejectedError,
    MissingLogProbabilitiesError,
    UnusableAnswerError,
)
from tamis.quality.grader import TooFewJudgedError
from tamis.store.retained import retain
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of
from tamis.training.stage import SCORES_PERPLEXITY

JUDGE_BATCH = 32
ANSWERS = "scores_judge"
STAGE = "judge_scores"
UNANSWERED = place_of(STAGE)
"""Written in place of a shard in quarantine: no file is at fault."""
UNSCORED = "the judge's logits are not finite, so the grader learns nothing from this document"
UNUSABLE = (UnusableAnswerError, MissingLogProbabilitiesError)
"""Errors of a server that gave an answer, with which nothing can be done."""
Answered = tuple[pl.DataFrame, dict[str, Refusal]]


def unjudged(store: Store, doc_ids: Sequence[str], fingerprint: str, table: str = ANSWERS) -> list[str]:
    """Those of the documents that this judge has not answered yet."""
    return sorted(
        set(doc_ids).difference(store.read(table, ["doc_id"], f"fingerprint = '{fingerprint}'")["doc_id"])
    )


def has_answered(store: Store, fingerprint: str, *tables: str) -> bool:
    """Return whether a score of this judge is stored, so that a refusal is about its document."""
    scope = f"fingerprint = '{fingerprint}' AND margin IS NOT NULL"
    return any(store.count(table, scope) for table in (ANSWERS, *tables))


def judge_documents(
    store: Store,
    judge: AskLLM,
    doc_ids: Sequence[str],
    advance: Advance = ignore,
    table: str = ANSWERS,
    answered: bool = False,
) -> None:
    """Ask the judge about documents and store its answers, a batch a commit.

    Answers of another judge's server that they replace are retained. `answered`: the judge is known to
    answer; otherwise what is stored of it tells. Raises `EndpointRefusesAllError`, and the errors of
    `tamis.quality.endpoint` once the answers before are stored.
    """
    retain(store, table, doc_ids, local=False)
    texts = texts_of(store, doc_ids)
    ordered = {
        doc_id: texts[doc_id] for doc_id in sorted(doc_ids, key=lambda doc_id: (len(texts[doc_id]), doc_id))
    }
    answered = answered or has_answered(store, judge.fingerprint, table)
    for rows, refused in _answers(judge, ordered, "doc_id", advance, answered):
        if table == ANSWERS:
            note_refused(store, STAGE, judge.fingerprint, refused)
        store.put(table, rows)


def _answers(
    judge: AskLLM, texts: dict[str, str], key: str, advance: Advance, answered: bool
) -> Iterator[Answered]:
    """Scores of texts a batch at a time, in order, with their key and fingerprint; and refusals by key."""
    # Requests are in flight together as it is, and the key to an endpoint stays in this process.
    engine = LOCAL if isinstance(judge.model, Endpoint) else current_engine()
    answered = answered or not isinstance(judge.model, Endpoint)
    held: list[Answered] = []
    for batch, (asked, spent) in engine.map(_asked, judge, _batches(texts), advance):
        judge.usage.add(*spent)
        found = _with_keys(asked, list(batch), key, judge)
        last = found[1].get(next(reversed(batch)))
        if asked.stopped is None and last is not None and isinstance(last.error, UNUSABLE):
            if (fault := _fault(judge)) is not None:
                usable = found[0].filter(pl.col("margin").is_not_null())
                yield from [*held, (usable, {})] if len(usable) else ()
                raise fault
            answered = True
        answered = answered or len(found[0]) > len(found[1])
        if len(found[0]):
            held.append(found)
        if answered:
            yield from held
            held = []
        if asked.stopped is not None:
            raise asked.stopped
        _stop_if_all_refused(held)
    if held:
        _stop_if_all_refused(held, least=1)


def _fault(judge: AskLLM) -> Exception | None:
    """Return why a server has no usable answer about a plain sentence either; None where it has one."""
    asked = judge.ask([PLAIN])
    if asked.stopped is not None:
        return asked.stopped
    return next((why.error for why in asked.refused.values()), None)


def _with_keys(asked: Asked, keys: list[str], key: str, judge: AskLLM) -> Answered:
    """Return the rows of the texts that were asked about, and refusals by key."""
    rows = asked.scores.with_columns(
        pl.Series(key, keys, dtype=pl.String),
        pl.lit(judge.fingerprint).alias("fingerprint"),
        pl.lit(isinstance(judge.model, Endpoint)).alias("by_server"),
    )
    unasked = [keys[place] for place in asked.unasked]
    return rows.filter(~pl.col(key).is_in(unasked)), {
        keys[place]: why for place, why in asked.refused.items()
    }


def _stop_if_all_refused(held: Sequence[Answered], least: int = JUDGE_BATCH) -> None:
    """Raise what is wrong with a server that has refused so many texts and answered about none."""
    refused = [why for _rows, some in held for why in some.values()]
    if len(refused) < least:
        return
    first = refused[0].error
    if isinstance(first, UNUSABLE):
        raise first
    assert isinstance(first, EndpointRejectedError)
    raise EndpointRefusesAllError(first.url, len(refused), f"status {first.status}, {first.detail}")


def _batches(texts: dict[str, str]) -> Iterator[dict[str, str]]:
    keys = list(texts)
    for start in range(0, len(keys), JUDGE_BATCH):
        yield {key: texts[key] for key in keys[start : start + JUDGE_BATCH]}


def _asked(judge: AskLLM, texts: dict[str, str], advance: Advance) -> tuple[Asked, tuple[int, int, float]]:
    """Answers, and what the judge has counted; it may be a copy of the one whose counts are asked for."""
    return judge.ask(list(texts.values()), advance), judge.usage.taken()


def set_unanswered_aside(store: Store, doc_ids: Sequence[str], fingerprint: str) -> list[str]:
    """Note in quarantine which of the sample have no score, and why; their rows stay, with nulls."""
    forget_refused(store, STAGE, [fingerprint])
    answers = [
        pl.DataFrame(pl.from_arrow(block)) for block in store.by_ids(ANSWERS, doc_ids, ["doc_id", "margin"])
    ]
    none = pl.DataFrame(schema={"doc_id": pl.String})
    unscored = ~pl.col("margin").fill_null(np.nan).is_finite()
    without = pl.concat([none, *(frame.filter(unscored).select("doc_id") for frame in answers)])
    known = read_refused(store, [STAGE], [fingerprint]).drop("stage")
    rows = without.join(known, on="doc_id", how="left").with_columns(
        pl.col("reason").fill_null(str(Unfit.NO_SCORE)), pl.col("detail").fill_null(UNSCORED)
    )
    show_rows(store, UNANSWERED, rows)
    return without["doc_id"].sort().to_list()


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
        asked_about = {key: by_digest[key] for key in missing}
        answered = has_answered(self.store, self.judge.fingerprint, "scores_noise")
        for rows, _refused in _answers(self.judge, asked_about, "text_digest", advance, answered):
            self.store.put("scores_noise", rows)
        digest_of = {text: digest for digest, text in by_digest.items()}
        asked = pl.DataFrame({"text_digest": [digest_of[text] for text in texts]}, {"text_digest": pl.String})
        answers = self._answers() if missing else known
        return asked.join(answers, on="text_digest", how="left", maintain_order="left").drop("text_digest")

    def _answers(self) -> pl.DataFrame:
        scope = f"fingerprint = '{self.judge.fingerprint}'"
        return self.store.read("scores_noise", ["text_digest", "margin", "answer_mass"], scope)


def read_features(
    store: Store, embeddings: str, doc_ids: Sequence[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids in order, grader features [n, k], and lengths in characters [n] of documents."""
    ids, vectors_nd, surface_nk, lengths_n = read_visible(store, embeddings, doc_ids)
    known = values_of(store, SCORES_PERPLEXITY.name, ids, "bits_per_byte")
    bits_n = np.array([known.get(doc_id) for doc_id in ids], dtype=np.float64)
    return ids, grader_features(vectors_nd, surface_nk, bits_n), lengths_n


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


def values_of(store: Store, table: str, doc_ids: Sequence[str], column: str) -> dict[str, float | None]:
    """Return a column of a table for those of the documents that it has, by id."""
    known: dict[str, float | None] = {}
    for block in store.by_ids(table, doc_ids, ["doc_id", column]):
        known.update(zip(block["doc_id"].to_pylist(), block[column].to_pylist(), strict=True))
    return known


def grade_documents(
    store: Store, grader: Grader, fingerprint: str, embeddings: str, doc_ids: Sequence[str]
) -> None:
    """Score documents with the grader and store the scores.

    What the judge refused, and what has no vector, gets a row of nulls: scores of before must not stay.
    """
    if not doc_ids:
        return
    refused = set(read_refused(store, [STAGE])["doc_id"])
    schema = schema_of("scores_quality")
    rows = [schema.empty_table()]
    try:
        ids, features_nk, _lengths = read_features(
            store, embeddings, [doc_id for doc_id in doc_ids if doc_id not in refused]
        )
        columns: list[Any] = [
            ids,
            np.asarray(grader.predict(features_nk), dtype=np.float64),
            np.asarray(grader.quality(features_nk), dtype=np.float64),
            [fingerprint] * len(ids),
        ]
        rows.append(pa.table(columns, schema=schema))
    except TooFewJudgedError:
        ids = []  # none of these documents has a vector
    if without := sorted(set(doc_ids).difference(ids)):
        nulls = [None] * len(without)
        rows.append(pa.table([without, nulls, nulls, [fingerprint] * len(without)], schema=schema))
    store.merge("scores_quality", pa.concat_tables(rows))


def vector_dimension(store: Store, embeddings: str) -> int:
    """Number of components of the stored vectors."""
    return int(store.schema(embeddings).field("vector").type.list_size)
