"""The judge asked a second time about a part of its hold-out, so that its own noise is known.

At most 60 documents, 15 s of the embedded judge; answers are stored and nothing is asked a third time.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore
from tamis.quality.ask_llm import AskLLM
from tamis.quality.prompts import reordered
from tamis.quality.sample import hash_order
from tamis.quality.storing import has_answered, judge_documents, unjudged, values_of
from tamis.store.retained import take_back
from tamis.store.tables import Store

CODE_VERSION = "1"  # raised by hand when others are asked about, or in another order
ASKED_AGAIN = 60  # a reliability of .9 is known to about +-.05
TABLE = "scores_judge_again"


def asked_again(sample: pl.DataFrame, seed: int) -> list[str]:
    """Return the documents of a sample (doc_id, part) to ask about twice: a uniform part of its hold-out."""
    held_out = sample.filter(pl.col("part") == "hold_out")["doc_id"].to_list()
    return [held_out[place] for place in hash_order(held_out, seed)[:ASKED_AGAIN]]


def ask_again(store: Store, judge: AskLLM, doc_ids: Sequence[str], advance: Advance = ignore) -> int:
    """Ask those that have no second answer of this judge yet, in another order; returns how many."""
    other = judge.asking(reordered(judge.prompt))
    take_back(store, TABLE, doc_ids, other.fingerprint)
    missing = unjudged(store, doc_ids, other.fingerprint, TABLE)
    advance(len(doc_ids) - len(missing))
    judge_documents(store, other, missing, advance, TABLE, has_answered(store, judge.fingerprint))
    return len(missing)


def margins_again(store: Store, doc_ids: Sequence[str], asked: Sequence[str]) -> NDArray[np.float64]:
    """Margins [n] of the second asking of these documents, NaN for those not in `asked`."""
    known = values_of(store, TABLE, asked, "margin")
    return np.array([known.get(doc_id) for doc_id in doc_ids], dtype=np.float64)
