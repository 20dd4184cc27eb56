"""Vectors into the store: only what an encoder has not seen, 16-bit floats, the first one kept.

Batches of 4,096 documents a commit; a killed run goes on after its last commit.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tamis.embedding.encoder import Encoder
from tamis.embedding.identity import encoder_identity
from tamis.embedding.sentence import groups
from tamis.engine import current_engine
from tamis.progress import Advance, ignore
from tamis.project import Project
from tamis.store.retained import take_back
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, vector_column

BATCH = 4_096
DIGITS = 8
"""Digits of a fingerprint in the name of a table."""


def table_name(encoder: str, fingerprint: str) -> str:
    """Return the name of the table with an encoder's vectors, one a fingerprint, safe as a file name.

    Vectors of another fingerprint cannot be compared with these, and stay as long as a shard has no others.
    """
    return f"embeddings_{encoder_slug(encoder)}_{fingerprint[:DIGITS]}"


def current_table(project: Project) -> str:
    """Return the name of the table with the vectors of the configured encoder as its files are now.

    Raises as `encoder_identity` does.
    """
    name = project.settings.encoder.name
    return table_name(name, encoder_identity(project.model(name)))


def encoder_slug(encoder: str) -> str:
    """An encoder's name, safe as a file name; ids and folders get a digest of the whole name."""
    slug = re.sub(r"[^a-z0-9_.-]+", "-", encoder.lower()).strip("-.")
    return slug if slug == encoder else f"{slug[-40:]}-{hashlib.sha256(encoder.encode()).hexdigest()[:8]}"


def embed_missing(
    store: Store,
    encoder: Encoder,
    doc_ids: Sequence[str],
    advance: Advance = ignore,
    *,
    table: str | None = None,
) -> list[str]:
    """Encode the documents that have no vector of this encoder yet; returns which these were.

    Of a document that left and came back the retained vector is put back. `table`: that of the encoder as
    tamis.toml names it, where this one was loaded under the whole path of its folder.
    """
    table = table or table_name(encoder.name, encoder.fingerprint)
    schema = schema_of(table, encoder.dimension)
    advance(take_back(store, table, doc_ids, encoder.fingerprint))
    known: set[str] = set()
    for block in store.by_ids(table, doc_ids, ["doc_id"]) if store.exists(table) else ():
        known.update(block["doc_id"].to_pylist())
    missing = sorted(set(doc_ids) - known)
    if not store.exists(table):
        store.insert_new(table, schema.empty_table())
    done: list[pa.Table] = []
    for part, vectors in current_engine().map(_encoded, encoder, _parts(store, missing), advance):
        done.append(_rows(part, vectors, encoder.fingerprint, schema))
        if part.ends_batch:
            store.append(table, pa.concat_tables(done))
            done = []
    return missing


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Documents that are encoded in one go; `ends_batch` is a commit."""

    ids: list[str]
    texts: list[str]
    ends_batch: bool


def _parts(store: Store, missing: list[str]) -> Iterator[_Part]:
    """The documents a batch at a time, cut where an encoder would cut a batch itself."""
    for rows in store.by_ids("documents", missing, ["doc_id", "text"], at_once=BATCH):
        ids, texts = rows["doc_id"].to_pylist(), rows["text"].to_pylist()
        end = 0
        for group in groups(texts):
            first, end = end, end + len(group)
            yield _Part(ids=ids[first:end], texts=texts[first:end], ends_batch=end == len(ids))


def _encoded(encoder: Encoder, part: _Part, advance: Advance) -> pa.FixedSizeListArray:
    return vector_column(encoder.encode(part.texts, advance=advance))


def _rows(part: _Part, vectors: pa.FixedSizeListArray, fingerprint: str, schema: pa.Schema) -> pa.Table:
    return pa.table([part.ids, vectors, [fingerprint] * len(part.ids)], schema=schema)


def as_half(vectors_nd: np.ndarray) -> np.ndarray:
    """Vectors as they are stored, back in 32 bits: what every later step computes with."""
    return np.asarray(vectors_nd, dtype=np.float16).astype(np.float32)
