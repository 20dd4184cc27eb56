"""Stages of vectors: of documents, of targets, and documents whose vectors nearly agree."""

from tamis.embedding import CODE_VERSION, near_copies
from tamis.stage import Automation, Snapshot, Stage, edge, encoder_settings, every, same
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, band_keys, single, text, vector

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
EMBEDDINGS_STAGE = Stage(
    name="embeddings",
    group="embedding",
    partitions="shards",
    step="shards",
    code_version=CODE_VERSION,
    edges=(edge("documents", same),),
    settings=encoder_settings,
    tables=(EMBEDDINGS,),
    automation=Automation.ALWAYS,
)


def copies_wanted(snapshot: Snapshot) -> bool:
    """Whether vectors are compared, too, to find documents that repeat another."""
    return snapshot.project.settings.near_duplicates.cosine is not None


STAGES = (
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
        edges=(edge("target_examples", same),),
        settings=encoder_settings,
        tables=(TARGET_EMBEDDINGS,),
    ),
)
