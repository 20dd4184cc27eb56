"""Made-up stages: a score of each document, rows of each target, files fitted on all, and rows of text."""

import pyarrow as pa

from tamis.stage import Learning, Stage, edge, every, same
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, column

NOVELTY = Table(
    name="novelty",
    key=("doc_id",),
    text=(),
    per_document=True,
    scores=("novelty",),
    columns=(DOC_ID, column("novelty", pa.float64(), "share of words that are seen once"), FINGERPRINT),
)
OPENINGS = Table(
    name="openings",
    key=("doc_id",),
    text=("opening",),
    per_document=True,
    columns=(DOC_ID, column("opening", pa.string(), "first words of the document"), FINGERPRINT),
)
TARGET_WORDS = Table(
    name="target_words",
    key=("target", "word"),
    text=(),
    partition="target",
    columns=(
        column("target", pa.string(), "name of the target"),
        column("word", pa.uint64(), "hash of a word"),
    ),
)
STAGES = (
    Stage(
        name="novelty",
        group="novelty",
        partitions="shards",
        code_version="1",
        edges=(edge("documents", same),),
        tables=(NOVELTY,),
    ),
    Stage(
        name="openings",
        group="novelty",
        partitions="shards",
        code_version="1",
        edges=(edge("documents", same),),
        tables=(OPENINGS,),
    ),
    Stage(
        name="target_words",
        group="novelty",
        partitions="targets",
        code_version="1",
        by_content=True,
        edges=(edge("target_examples", same),),
        tables=(TARGET_WORDS,),
    ),
    Stage(
        name="word_counts",
        group="novelty",
        code_version="1",
        edges=(edge("documents", every("shards")),),
        files="fitted",
        learning=Learning.FITTED,
        result=True,
    ),
)
