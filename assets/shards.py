"""What is made of each file: one step, so that a run over many files makes all that is due of them."""

from assets.corpus import documents, raw_shards
from assets.embedding import embeddings
from assets.quality import document_flags, perplexity_scores, quality_scores
from resources.specification import together

shards = together(
    "shards", raw_shards, documents, embeddings, document_flags, perplexity_scores, quality_scores
)
