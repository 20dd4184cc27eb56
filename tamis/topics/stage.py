"""The stage of topics: which topic each document is of, where topics are, and the words that name them."""

import pyarrow as pa

from tamis.settings.references import uses_topics
from tamis.stage import Learning, Snapshot, Stage, edge, every, section_settings
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, column
from tamis.topics import CODE_VERSION

_TOPIC = column(
    "topic", pa.string(), "name of the topic, such as topic 3; (no vector) for documents without a vector"
)

TOPICS = Table(
    name="topics",
    key=("doc_id",),
    text=(),
    per_document=True,
    emptied=True,
    columns=(DOC_ID, _TOPIC),
)

TOPIC_CENTERS = Table(
    name="topic_centers",
    key=("topic",),
    text=(),
    emptied=True,
    columns=(
        _TOPIC,
        column(
            "center",
            pa.list_(pa.float64()),
            "centre of the topic, in the space of document vectors scaled to length 1",
        ),
        column("pool", pa.int64(), "number of documents that had a vector when the topics were fitted"),
        FINGERPRINT,
    ),
)

TOPIC_WORDS = Table(
    name="topic_words",
    key=("topic", "place", "doc_id"),
    text=("word",),
    per_document=True,
    emptied=True,
    columns=(
        _TOPIC,
        column(
            "place",
            pa.int64(),
            "position of the word among those that describe the topic, from 0 for the best",
        ),
        column("word", pa.string(), "word that describes the topic"),
        DOC_ID,
    ),
)


def wanted(snapshot: Snapshot) -> bool:
    """Return whether the project divides a budget, or a mixture, by topics."""
    return uses_topics(snapshot.project.settings)


TOPICS_STAGE = Stage(
    name="topics",
    group="embedding",
    code_version=CODE_VERSION,
    active=wanted,
    by_content=True,
    edges=(edge("documents", every("shards")), edge("embeddings", every("shards"))),
    settings=section_settings("topics"),
    tables=(TOPICS, TOPIC_CENTERS, TOPIC_WORDS),
    learning=Learning.FITTED,
)
STAGES = (TOPICS_STAGE,)
