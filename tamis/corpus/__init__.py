"""Corpora and targets: raw files and packages become documents under content ids, bad rows quarantine.

`list_shards` says what there is, `fingerprint_shard` whether it changed, `read_shard` gives its documents.
"""

from tamis.corpus.documents import ShardBatch, read_shard
from tamis.corpus.listing import ListingError, list_shards
from tamis.corpus.shards import (
    Shard,
    ShardChangedError,
    ShardGoneError,
    fingerprint_shard,
    is_settled,
    shard_key,
)
from tamis.corpus.targets import TooFewExamplesError, fingerprint_target, read_target, set_aside, split_target
from tamis.readers.rows import Reason
from tamis.readers.text import document_id, normalise_text, normalised_id

# 3: Arrow files are read; 4: not those with two columns of one name, nor UTF-16 without a byte-order mark;
# 5: files that are padded with NUL bytes are, texts of them alone are not, and no column of Parquet is lost
# 6: the delimiter of CSV is found, quotation marks between tabs are letters, calls of tools are in the text,
# no value beside a text costs it, times are in ISO 8601, and files are what their first bytes say
CODE_VERSION = "6"
"""Raised by hand when the same bytes give other documents, ids or splits."""

__all__ = [
    "CODE_VERSION",
    "ListingError",
    "Reason",
    "Shard",
    "ShardBatch",
    "ShardChangedError",
    "ShardGoneError",
    "TooFewExamplesError",
    "document_id",
    "fingerprint_shard",
    "fingerprint_target",
    "is_settled",
    "list_shards",
    "normalise_text",
    "normalised_id",
    "read_shard",
    "read_target",
    "set_aside",
    "shard_key",
    "split_target",
]
