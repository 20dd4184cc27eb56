"""Made-up stages: a score of each document, rows of each target, files fitted on all, and rows of text."""

from tamis.stage import Learning, Stage, edge, every, same
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, hash64, real, text

NOVELTY = Table(
    name="novelty",
    key=("doc_id",),
    text=(),
    per_document=True,
    scores=("novelty",),
    columns=(DOC_ID, real("novelty", "share of words that are seen once"), FINGERPRINT),
)
OPENINGS = Table(
    name="openings",
    key=("doc_id",),
    text=("opening",),
    per_document=True,
    columns=(DOC_ID, text("opening", "first words of the document"), FINGERPRINT),
)
TARGET_WORDS = Table(
    name="target_words",
    key=("target", "word"),
    text=(),
    partition="target",
    columns=(
        text("target", "name of the target"),
        hash64("word", "hash of a word"),
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
