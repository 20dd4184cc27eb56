"""The stage of topics: the topic of each document, the centres of topics, and the words that name them."""

from tamis.settings.references import uses_topics
from tamis.stage import Learning, Snapshot, Stage, edge, every, section_settings
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, integer, many, real, text
from tamis.topics import CODE_VERSION

_TOPIC = text("topic", "name of the topic, such as topic 3; (no vector) for documents without a vector")

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
        many(real("center", "centre of the topic, in the space of document vectors scaled to length 1")),
        integer("pool", "number of documents that had a vector when the topics were fitted"),
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
        integer("place", "position of the word among those that describe the topic, from 0 for the best"),
        text("word", "word that describes the topic"),
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
