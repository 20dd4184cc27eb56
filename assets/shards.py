"""What is made of each file: one step, so that a run over many files makes all that is due of them."""

from collections.abc import Collection

import dagster as dg

from tamis.platform.assets.corpus import documents, raw_shards, token_counts
from tamis.platform.assets.embedding import embeddings
from tamis.platform.assets.form import form_scores
from tamis.platform.assets.quality import document_flags, perplexity_scores, quality_scores
from tamis.platform.assets.scores import classifier_scores
from tamis.platform.assets.specification import together

PARTS = (
    raw_shards,
    documents,
    token_counts,
    embeddings,
    document_flags,
    form_scores,
    perplexity_scores,
    quality_scores,
    classifier_scores,
)


def shards(used: Collection[str]) -> dg.AssetsDefinition:
    """Return the step that makes those of the stages of a file that a project uses."""
    return together("shards", *(part for part in PARTS if part.name in used))
