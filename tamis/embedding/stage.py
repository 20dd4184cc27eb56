"""Stages of vectors: of documents, of targets, and documents whose vectors nearly agree."""

from typing import Any

from tamis.embedding import CODE_VERSION, near_copies
from tamis.embedding.identity import COLUMN_CODE_VERSION
from tamis.stage import Automation, Snapshot, Stage, edge, encoder_settings, every, only, same, when
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, band_keys, integer, single, text, vector

EMBEDDINGS = Table(
    name="embeddings",
    key=("doc_id",),
    text=(),
    many=True,
    retained=True,
    per_document=True,
    columns=(DOC_ID, vector, FINGERPRINT),
)
NEAR_COPIES = Table(
    name="near_copies",
    key=("doc_id",),
    text=(),
    emptied=True,
    columns=(
        DOC_ID,
        text(
            "kept", "doc_id of the document with nearly the same vector that is kept instead of this document"
        ),
        single("cosine", "cosine similarity of the vectors of the two documents"),
    ),
)
NEAR_COPY_BANDS = Table(
    name="near_copy_bands",
    rewritten=True,
    key=("doc_id",),
    text=(),
    per_document=True,
    emptied=True,
    columns=(DOC_ID, band_keys, FINGERPRINT),
)
TARGET_EMBEDDINGS = Table(
    name="target_embeddings",
    key=("target", "doc_id"),
    text=(),
    many=True,
    partition="target",
    columns=(text("target", "name of the target"), DOC_ID, vector, FINGERPRINT),
)
ROW_VECTORS = Table(
    name="row_vectors",
    key=("column",),
    text=(),
    emptied=True,
    columns=(
        text("column", "column of the rows that has the vectors, as [encoder] names it"),
        integer("width", "number of components of the vectors; lists of another length are no vectors"),
        text(
            "edition",
            "digest of the files in which vectors of known texts had changed; empty if none ever changed",
        ),
    ),
)


def vectors_in_rows(snapshot: Snapshot) -> bool:
    """Return whether the vectors of documents are in a column of their rows."""
    return snapshot.project.settings.encoder.column is not None


ROW_VECTORS_STAGE = Stage(
    name="row_vectors",
    group="embedding",
    code_version=COLUMN_CODE_VERSION,
    by_content=True,
    steady=True,
    active=vectors_in_rows,
    edges=(edge("documents", every("shards")), edge("raw_shards", every("shards"))),
    settings=lambda snapshot, key: {"column": snapshot.project.settings.encoder.column},
    tables=(ROW_VECTORS,),
    automation=Automation.ALWAYS,
)


def _settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """The encoder; where vectors are in rows, the bytes of the file, too, as long as it is there.

    A row may change in its vector alone, which no document has.
    """
    read = vectors_in_rows(snapshot) and partition in snapshot.fingerprints
    return encoder_settings(snapshot, partition) | (
        {"bytes": snapshot.fingerprints[partition]} if read else {}
    )


EMBEDDINGS_STAGE = Stage(
    name="embeddings",
    group="embedding",
    partitions="shards",
    step="shards",
    code_version=CODE_VERSION,
    edges=(edge("documents", same), edge("row_vectors", when(vectors_in_rows, only))),
    settings=_settings,
    tables=(EMBEDDINGS,),
    automation=Automation.ALWAYS,
)


def copies_wanted(snapshot: Snapshot) -> bool:
    """Whether vectors are compared, too, to find documents that repeat another."""
    return snapshot.project.settings.near_duplicates.cosine is not None


def _target_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """The encoder; where vectors are in rows, the files of the target, too."""
    files = {"bytes": snapshot.target_fingerprints[partition]} if vectors_in_rows(snapshot) else {}
    return encoder_settings(snapshot, partition) | files


STAGES = (
    ROW_VECTORS_STAGE,
    EMBEDDINGS_STAGE,
    Stage(
        name="near_copies",
        group="embedding",
        code_version=near_copies.CODE_VERSION,
        by_content=True,
        active=copies_wanted,
        edges=(edge("near_duplicates"), edge("embeddings", every("shards"))),
        settings=lambda snapshot, key: {"cosine": snapshot.project.settings.near_duplicates.cosine},
        tables=(NEAR_COPIES, NEAR_COPY_BANDS),
    ),
    Stage(
        name="target_embeddings",
        group="target",
        partitions="targets",
        code_version=CODE_VERSION,
        edges=(edge("target_examples", same), edge("row_vectors", when(vectors_in_rows, only))),
        settings=_target_settings,
        tables=(TARGET_EMBEDDINGS,),
    ),
)
