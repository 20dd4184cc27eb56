"""Scores of the user's own in the store: columns of the rows of corpora, and values of classifiers.

The table of columns is made from all kept rows each time; rows that are not kept, or that are too long for
it, are read again from their files, as exports read them. A million rows of 500 bytes take a few seconds for
each score. A classifier reads only the documents that it has not read yet.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.errors import PermanentError, did_you_mean
from tamis.base.numbers import counted, named
from tamis.base.progress import Advance, ignore, visible_name
from tamis.base.unfit import Refusal, finite_each
from tamis.columns.rows import Files, kept_column_names, rows_with_columns
from tamis.columns.values import values_in
from tamis.corpus.quarantine import note_refused
from tamis.corpus.stage import DOCUMENTS, KEPT_ROWS
from tamis.engine import current_engine
from tamis.passages.places import documents_of, read_passages
from tamis.readers.kept_columns import read_heading
from tamis.readers.rows import WHOLE_SHARD
from tamis.scores.classifier import CLASSIFIER_CODE_VERSION, Classifier
from tamis.scores.columns import numbers_of
from tamis.scores.stage import CLASSIFIER_SCORES, CLASSIFIER_STAGE, COLUMN_SCORES, PLUGIN_SCORES
from tamis.settings.sections import ScoreSection
from tamis.store.retained import take_back
from tamis.store.tables import ALL, Store, one_of, quoted
from tamis.training.storing import text_batches

IDS_A_FILTER = 1_000
COLUMNS_SHOWN, SHOWN_CHARACTERS = 20, 40
"""Columns that are named where none is a score's; characters of a value that a line shows."""
SUCH_AS = "such as"
_QUOTED = re.compile(rf'{SUCH_AS} ".*" of document(?= [0-9a-f]{{32}};)')
_FOUND = {"score": pl.String, "doc_id": pl.String, "value": pl.Float64, "not_numbers": pl.Int64}


class UnknownColumnError(PermanentError):
    """No row has the column of a score; names those that there are."""

    def __init__(self, score: ScoreSection, columns: Sequence[str], unread: int) -> None:
        self.score, self.columns, self.unread = score.name, list(columns), unread
        there = named(columns, COLUMNS_SHOWN) if columns else "none besides the text"
        lost = f"; {counted(unread, 'row')} could not be read again" if unread else ""
        super().__init__(
            f"[[score]] {score.name}: no row of the corpora has a value in column {score.column!r}; columns "
            f"of the first rows: {there}{lost}{did_you_mean(score.column, columns)}"
        )


@dataclass(kw_only=True)
class ReadScores:
    """The scores of a pool: score, doc_id, value and not_numbers; `unread`: rows of files that are gone."""

    rows: pl.DataFrame
    unread: Counter[str] = field(default_factory=Counter)


def update_column_scores(
    store: Store, scores: Sequence[ScoreSection], files: Files, advance: Advance = ignore
) -> ReadScores:
    """Write the values of the scores that are columns; of a document in several places the best.

    Raises `UnknownColumnError` where a pool has documents, and none a value in the column of a score.
    """
    scores = [score for score in scores if score.column]
    found = read_scores(store, scores, files, advance)
    seen = set(found.rows["score"])
    for score in scores if store.count(DOCUMENTS.name) else ():
        if score.name not in seen:
            raise UnknownColumnError(score, kept_column_names(store), found.unread.total())
    store.put(COLUMN_SCORES.name, found.rows, ALL)
    return found


def read_scores(
    store: Store, scores: Sequence[ScoreSection], files: Files, advance: Advance = ignore
) -> ReadScores:
    """Return the values of scores by document: of several rows the best, and how many are no number."""
    headings = {
        shard: read_heading(content)
        for shard, content in store.read(KEPT_ROWS.name, ["shard", "content"], f"row = {WHOLE_SHARD}").rows()
    }
    commas = {
        score.name: [key for key, one in headings.items() if score.column in one.decimal_commas]
        for score in scores
    }
    parts: dict[str, list[pl.DataFrame]] = {score.name: [] for score in scores}
    found = ReadScores(rows=pl.DataFrame(schema=_FOUND))
    passages = read_passages(store, ["shard", "row", "doc_id"]).unique().cast({"row": pl.Int64})
    columns = list(dict.fromkeys(score.column for score in scores))
    for rows, read in rows_with_columns(store, columns, files, found.unread):
        if len(passages):  # each has the values of its row
            parts_of = passages.rename({"doc_id": "part"})
            rows = rows.join(parts_of, on=["shard", "row"], how="left", maintain_order="left")
            rows = rows.with_columns(doc_id=pl.coalesce("part", "doc_id"))
        for score in scores:
            if score.column in read:
                parts[score.name].append(_values(rows, score, commas[score.name]))
        advance(len(rows))
    best = {"better": pl.col("value").max(), "worse": pl.col("value").min()}
    by_document = [
        pl.concat(parts[score.name] or [found.rows.drop("score")])
        .group_by("doc_id")
        .agg(best[score.higher], pl.col("not_numbers").sum())
        .sort("doc_id")
        .select(pl.lit(score.name).alias("score"), "doc_id", "value", "not_numbers")
        for score in sorted(scores, key=lambda one: one.name)
    ]
    found.rows = pl.concat([found.rows, *by_document])
    return found


def _values(rows: pl.DataFrame, score: ScoreSection, commas: Sequence[str]) -> pl.DataFrame:
    """Return doc_id, value and not_numbers of the rows (doc_id, shard, content) that have a value."""
    comma = pl.col("shard").is_in(commas) if commas else None
    texts = rows.select("doc_id", "shard", text=values_in(rows["content"], score.column)).drop_nulls("text")
    return texts.select("doc_id", value=numbers_of(pl.col("text"), comma)).with_columns(
        not_numbers=pl.col("value").is_null().cast(pl.Int64)
    )


def classifier_mark(score: ScoreSection, identity: str) -> str:
    """Return the fingerprint of the values of a score by a model, 32 hex digits; identity: of its files."""
    parts = json.dumps([CLASSIFIER_CODE_VERSION, score.name, identity, score.label])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def update_classifier_scores(
    store: Store,
    scores: Sequence[ScoreSection],
    classifiers: Mapping[str, tuple[Classifier, str]],
    doc_ids: Sequence[str],
    advance: Advance = ignore,
) -> set[str]:
    """Score the documents that a model has not scored yet, and return these; rows of other scores leave.

    classifiers: the model of each score, and the fingerprint of its values. Values are stored every 1,024
    documents. A document that a model fails on is set aside. Raises as `load_classifier` does.
    """
    done: set[str] = set()
    others = f"NOT ({one_of('score', list(classifiers))})"
    if store.exists(CLASSIFIER_SCORES.name) and store.count(CLASSIFIER_SCORES.name, others):
        for start in range(0, len(doc_ids), IDS_A_FILTER):
            own = one_of("doc_id", doc_ids[start : start + IDS_A_FILTER])
            store.delete(CLASSIFIER_SCORES.name, f"{others} AND {own}")
    for score in scores:
        if score.name not in classifiers:
            continue
        classifier, mark = classifiers[score.name]
        advance(take_back(store, CLASSIFIER_SCORES.name, doc_ids, mark))
        known = pl.concat(
            [
                pl.DataFrame(schema={"doc_id": pl.String, "fingerprint": pl.String}),
                *(
                    pl.DataFrame(pl.from_arrow(block))
                    for block in store.by_ids(CLASSIFIER_SCORES.name, doc_ids, ["doc_id", "fingerprint"])
                ),
            ]
        ).filter(fingerprint=mark)
        missing = sorted({*doc_ids}.difference(known["doc_id"]))
        blocks = current_engine().map(_read_block, classifier, text_batches(store, missing), advance)
        for texts, (value_n, failed) in blocks:
            ids = list(texts)
            refused = {ids[place]: why for place, why in failed.items()}
            note_refused(store, CLASSIFIER_STAGE.name, mark, refused)
            columns = {
                "score": [score.name] * len(ids),
                "doc_id": ids,
                "value": pa.array(value_n, from_pandas=True),  # NaN is null
                "not_numbers": np.isnan(value_n).astype(np.int64),
                "fingerprint": [mark] * len(ids),
            }
            store.put(CLASSIFIER_SCORES.name, columns)
        done.update(missing)
    return done


def _read_block(
    classifier: Classifier, texts: dict[str, str], advance: Advance
) -> tuple[np.ndarray, dict[int, Refusal]]:
    """Return values [n], NaN where the model gives none, and by position why it gives none."""
    scored = finite_each(classifier.score, list(texts.values()))
    advance(len(texts))
    return scored


def read_score(store: Store, score: str) -> pl.DataFrame:
    """Return doc_id and value of the documents that have a value of a score, wherever it comes from."""
    tables = (COLUMN_SCORES.name, CLASSIFIER_SCORES.name, PLUGIN_SCORES.name)
    parts = [store.read(table, ["doc_id", "value"], f"score = {quoted(score)}") for table in tables]
    return pl.concat(parts).drop_nulls("value").unique("doc_id", keep="first", maintain_order=True)


def score_lines(store: Store, scores: Sequence[ScoreSection]) -> list[str]:
    """Return a line for each score of which rows have a value that is no number, with an example."""
    lines = []
    for score in (one for one in scores if one.column):
        bad = store.read(
            COLUMN_SCORES.name, ["doc_id", "not_numbers"], f"score = {quoted(score.name)} AND not_numbers > 0"
        )
        if bad.is_empty():
            continue
        doc_id, count = str(bad["doc_id"].min()), int(bad["not_numbers"].sum())
        has, they = ("has", "it counts") if count == 1 else ("have", "they count")
        lines.append(
            f"score {score.name}: {counted(count, 'row')} {has} a value in column {score.column} that is no "
            f"number, {SUCH_AS} {_example(store, score, doc_id)}of document {doc_id}; {they} as without a "
            "value. Write numbers into the column"
        )
    return lines


def without_example(line: str) -> str:
    """Return a line of `score_lines` without the value that it quotes of a row; others as they are."""
    return _QUOTED.sub(f"{SUCH_AS} that of document", line)


def _example(store: Store, score: ScoreSection, doc_id: str) -> str:
    """Return the value that is no number of a document's row, "that " where its row is not kept."""
    doc_ids = documents_of(store, pl.Series([doc_id])).to_list()
    rows = store.read(KEPT_ROWS.name, ["doc_id", "shard", "content"], one_of("doc_id", doc_ids))
    texts = values_in(rows["content"], score.column).drop_nulls().to_frame("text")
    for text in texts.filter(numbers_of(pl.col("text")).is_null())["text"]:
        shown = visible_name(text[:SHOWN_CHARACTERS])
        return f'"{shown}{"…" if len(text) > SHOWN_CHARACTERS else ""}" '
    return "that "
