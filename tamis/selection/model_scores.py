"""Scores of documents by a model that a sampler names, kept so that no document is read by it twice.

The judge of an "ask-llm:MODEL" is asked about every eligible document, as in the paper, and not about a
sample that a grader extends: 135M parameters read two to eight documents a second on two cores. Answers are
committed in batches, so a killed run goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.base.unfit import finite_each
from tamis.corpus.intake import texts_of
from tamis.quality import AskLLM
from tamis.store.retained import take_back
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted
from tamis.training import document_bits_per_byte, fold_of

TABLE = "scores_by_model"
BATCH = 64

Scores = npt.NDArray[np.float64]
Score = Callable[[Sequence[str], Sequence[str]], Scores]
"""Scores [n] of documents, smallest first, from their ids and texts; NaN where the model gives none."""


@dataclass(frozen=True, kw_only=True)
class ModelScorer:
    """A model ready to score: what identifies its scores, and how they are computed."""

    fingerprint: str
    score: Score


def perplexity_scorer(folders: Mapping[int, str | Path], version: str, max_tokens: int) -> ModelScorer:
    """Bits per byte, by the model of the fold that a document is in: each trained on the other fold.

    folders: by fold 0 and 1; the same one twice for a model that trained on neither.
    """

    def score(doc_ids: Sequence[str], texts: Sequence[str]) -> Scores:
        folds = np.asarray(fold_of(list(doc_ids)), dtype=np.int8)
        bits = np.full(len(texts), np.nan)
        for fold, folder in folders.items():
            (own,) = np.nonzero(folds == fold)
            if len(own):
                read = partial(document_bits_per_byte, folder, max_tokens=max_tokens)
                bits[own], _refused = finite_each(read, [texts[at] for at in own.tolist()])
        return bits

    return ModelScorer(fingerprint=f"bits per byte {version[:32]} {max_tokens}", score=score)


def judge_scorer(judge: AskLLM) -> ModelScorer:
    """Ask-LLM's margin, its sign turned, by a judge of its own."""

    def score(doc_ids: Sequence[str], texts: Sequence[str]) -> Scores:
        return -judge.score(texts)["margin"].cast(pl.Float64).fill_null(np.nan).to_numpy()

    return ModelScorer(fingerprint=judge.fingerprint, score=score)


def model_scores(
    store: Store, scorer: ModelScorer, doc_ids: Sequence[str], advance: Advance = ignore
) -> pl.DataFrame:
    """doc_id and method_score of the documents, in order; null where the model gives none.

    Scores that are stored or retained are read, the others computed and stored, `BATCH` a commit.
    """
    wanted = pl.DataFrame({"doc_id": list(doc_ids)}, schema={"doc_id": pl.String})
    take_back(store, TABLE, doc_ids, scorer.fingerprint)
    known = _known(store, scorer.fingerprint)
    missing = wanted.join(known, on="doc_id", how="anti")["doc_id"].to_list()
    advance(len(wanted) - len(missing))
    for start in range(0, len(missing), BATCH):
        ids = missing[start : start + BATCH]
        texts = texts_of(store, ids)
        value_n = scorer.score(ids, [texts[doc_id] for doc_id in ids])
        columns = [ids, [scorer.fingerprint] * len(ids), pa.array(value_n, from_pandas=True)]
        store.merge(TABLE, pa.table(columns, schema=schema_of(TABLE)))
        advance(len(ids))
    return wanted.join(_known(store, scorer.fingerprint), on="doc_id", how="left", maintain_order="left")


def _known(store: Store, fingerprint: str) -> pl.DataFrame:
    rows = store.read(TABLE, ["doc_id", "value"], f"fingerprint = {quoted(fingerprint)}")
    return rows.select("doc_id", pl.col("value").alias("method_score"))
