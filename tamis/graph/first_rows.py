"""The first rows of files that are still to be read: a few hundred, for what can be said before a run."""

import contextlib
from collections.abc import Sequence
from itertools import islice

import polars as pl

from tamis.corpus.documents import DOCUMENT_SCHEMA, Reading, all_documents, batches_of
from tamis.corpus.shards import Shard
from tamis.graph.foreseen import among
from tamis.readers.files import is_readable, read_file
from tamis.settings.config import CorpusSection

FILES, ROWS, BYTES = 20, 20, 20_000_000
"""Files of a corpus that are looked at, rows of each, and the largest file."""


def first_rows(corpus: CorpusSection, shards: Sequence[Shard]) -> pl.DataFrame:
    """Return text and language of the first rows of a corpus's files; those that cannot be read have none."""
    found = [pl.DataFrame(schema={name: DOCUMENT_SCHEMA[name] for name in ("text", "language")})]
    local = [one for one in shards if one.kind == "file" and one.remote is None and is_readable(one.name)]
    for shard in among(local, FILES):
        with contextlib.suppress(Exception):  # said by the step that reads it
            if shard.path.stat().st_size <= BYTES:
                items = islice(read_file(shard.path, corpus), ROWS)
                batch = all_documents(batches_of(items, shard, corpus, Reading()))
                found.append(batch.documents.select("text", "language"))
    return pl.concat(found)
