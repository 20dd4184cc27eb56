"""Flags from and into the store: 2,000 documents a commit, so a killed run goes on where it stopped."""

import hashlib
import json
from collections.abc import Sequence

import polars as pl

from tamis.base.progress import Advance, ignore
from tamis.corpus.stage import DOCUMENTS
from tamis.filters import CODE_VERSION, Plan, measured
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

TABLE = "document_flags"
BATCH = 2_000


def fingerprint(plan: Plan) -> str:
    """Return the digest of code and plan that compute a row, 32 hex digits."""
    parts = json.dumps([CODE_VERSION, plan.identity()], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def flag_documents(store: Store, plan: Plan, doc_ids: Sequence[str], advance: Advance = ignore) -> int:
    """Measure and store the documents that have no row of this plan yet; returns how many that were."""
    mark = fingerprint(plan)
    stored = map(pl.from_arrow, store.by_ids(TABLE, doc_ids, ["doc_id", "fingerprint"]))
    known = (doc_id for rows in stored for doc_id in pl.DataFrame(rows).filter(fingerprint=mark)["doc_id"])
    missing = sorted(set(doc_ids).difference(known))
    for start in range(0, len(missing), BATCH):
        store.put(TABLE, _rows(store, plan, missing[start : start + BATCH], mark))
        advance(min(BATCH, len(missing) - start))
    return len(missing)


def _rows(store: Store, plan: Plan, ids: Sequence[str], mark: str) -> pl.DataFrame:
    texts = pl.concat(
        pl.DataFrame(pl.from_arrow(block)) for block in store.by_ids(DOCUMENTS.name, ids, ["doc_id", "text"])
    )
    found = texts.select("doc_id").hstack(measured(texts, plan)).with_columns(fingerprint=pl.lit(mark))
    return found.with_columns(
        pl.lit(None).alias(name) for name in schema_of(TABLE).names if name not in found.columns
    )
