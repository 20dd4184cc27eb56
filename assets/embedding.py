"""Embedding: a vector for each distinct document, computed once per encoder and kept."""

from collections.abc import Iterator, Mapping
from typing import Any

from tamis.base.progress import say
from tamis.corpus.intake import count_documents
from tamis.corpus.quarantine import show_refused
from tamis.corpus.stage import RAW_STAGE
from tamis.embedding.near_copies import INDEX, TABLE, update_near_copies
from tamis.embedding.row_vectors import take_vectors, update_row_vectors
from tamis.embedding.storing import current_table, embed_missing, read_row_vectors
from tamis.graph.plan import reference
from tamis.platform.assets.corpus import files_as_read
from tamis.platform.assets.specification import asset, part
from tamis.platform.resources.encoder import EncoderResource
from tamis.records.manifest import canonical_json
from tamis.runtime.record import Output, Rows, rows_set_aside
from tamis.runtime.step import Work
from tamis.store.digests import canonical_digest
from tamis.store.rows_files import stored_rows
from tamis.topics.stage import TOPIC_CENTERS, TOPIC_WORDS, TOPICS
from tamis.topics.storing import update_topics


@asset("row_vectors", ["lancedb", "polars"])
def row_vectors(work: Work) -> Iterator[Any]:
    """Width and edition of the vectors in the column of the rows that [encoder] names.

    The column gets another edition when the vector of a known text has changed; then all vectors are read
    again, and whatever was computed from them is computed again.
    """
    column, before = str(work.project.settings.encoder.column), read_row_vectors(work.store)
    versions = {key: one.data_version for (name, key), one in work.current.items() if name == RAW_STAGE.name}
    changed = work.changed_only("", RAW_STAGE.name, {"documents"})
    files, state = files_as_read(work), canonical_digest(canonical_json(versions))
    with work.progress("vectors in rows", unit="rows") as progress:
        found = update_row_vectors(work.store, column, files, state, changed, progress.advance)
    if before is not None and before.column == column and before != found:
        say(f"column {column} has other vectors for texts that are known, so all its vectors are read again")
    yield from work.record(Output(row_count=1, metadata=found.row))


@part("embeddings", ["lancedb", "torch"])
def embeddings(work: Work, encoder: EncoderResource) -> Iterator[Any]:
    """Embedding vectors of a shard's documents; a document is encoded only once by each encoder."""
    name = work.project.settings.encoder.name
    if work.project.settings.encoder.column is not None:
        yield from _from_rows(work)
        return
    with work.progress(f"loading encoder {name}"):
        model = encoder.open(work.project)
    known = f"fingerprint = '{model.fingerprint}'"
    table = current_table(work.project)
    missing = count_documents(work.store, work.partitions, table, known)
    with work.progress("embeddings", missing) as progress:

        def made(group: dict[str, list[str]]) -> Iterator[Any]:
            every = [doc_id for doc_ids in group.values() for doc_id in doc_ids]
            encoded = set(embed_missing(work.store, model, every, progress.advance, table=table))
            aside = show_refused(work.store, work.stage.name, group, [model.fingerprint])
            facts = {"encoder": name, "fingerprint": model.fingerprint}
            yield from work.record(
                *[_made(table, key, doc_ids, encoded, aside, facts) for key, doc_ids in group.items()]
            )

        yield from work.in_groups(made)


def _from_rows(work: Work) -> Iterator[Any]:
    """Vectors of a shard's documents from a column of its rows."""
    vectors = read_row_vectors(work.store)
    assert vectors is not None, "an input of this stage writes it"
    files, mark = files_as_read(work), vectors.fingerprint
    missing = count_documents(work.store, work.partitions, vectors.table, f"fingerprint = '{mark}'")
    with work.progress("vectors in rows", missing) as progress:

        def made(group: dict[str, list[str]]) -> Iterator[Any]:
            every = sorted({doc_id for doc_ids in group.values() for doc_id in doc_ids})
            taken = take_vectors(work.store, vectors, every, files, progress.advance)
            if taken.several:
                say(
                    f"texts whose rows have different vectors in column {vectors.column}: {taken.several:,}; "
                    "one of the vectors was taken for each"
                )
            aside = show_refused(work.store, work.stage.name, group, [mark])
            facts = {"encoder": work.project.settings.encoder.name, "fingerprint": mark}
            added = taken.added
            yield from work.record(
                *[_made(vectors.table, key, doc_ids, added, aside, facts) for key, doc_ids in group.items()]
            )

        yield from work.in_groups(made)


def _made(
    table: str,
    shard: str,
    doc_ids: list[str],
    encoded: set[str],
    aside: Mapping[str, int],
    named: Mapping[str, str],
) -> Output:
    new, without = len(encoded.intersection(doc_ids)), aside.get(shard, 0)
    encoded.difference_update(doc_ids)  # a document of two shards counts in the first
    facts = {"encoded": new, "reused": len(doc_ids) - new - without, **named}
    shown = rows_set_aside("embeddings", shard, facts, aside)
    return Output(
        partition=shard,
        rows=[Rows(table=table, doc_ids=doc_ids)],
        aside=shown,
        row_count=len(doc_ids) - without,
        metadata=facts,
    )


@asset("near_copies", ["lancedb", "numpy"])
def near_copy_documents(work: Work) -> Iterator[Any]:
    """Documents whose vector nearly equals that of a document with a smaller doc_id, which is kept."""
    table, cosine = current_table(work.project), work.project.settings.near_duplicates.cosine
    assert cosine is not None
    never = ("near_copies", "") not in work.current
    with work.progress("near copies") as progress:
        update = update_near_copies(work.store, table, cosine, afresh=never, advance=progress.advance)
    records = stored_rows(work.store, TABLE, "")
    yield from work.record(
        Output(
            rows=[Rows(table=TABLE, records=records), Rows(table=INDEX)],
            row_count=update.dropped,
            data_version=records[0],
            metadata={"hashed": update.hashed, "decided_again": update.decided},
        )
    )


@asset("topics", ["scipy"])
def document_topics(work: Work) -> Iterator[Any]:
    """Topic of each document: the nearest of a small number of cluster centers of document vectors.

    The centers are fitted again when the pool has grown by half, or when the number of topics, the encoder or
    the seed changes.
    """
    table, count = current_table(work.project), work.project.settings.topics.count
    with work.progress("topics", work.store.count(table)) as progress:
        update = update_topics(work.store, table, count, work.project.seed, progress.advance)
    before = work.current.get(("topics", ""))
    if update.refit and before is not None:
        say(
            f"topics were fitted again, since {update.refit}: {update.kept} of {update.topics} topics "
            "continue an earlier topic and keep its number; the other topics have new numbers"
        )
    records = stored_rows(work.store, TOPICS.name, "")
    yield from work.record(
        Output(
            rows=[
                Rows(table=TOPICS.name, records=records),
                Rows(table=TOPIC_CENTERS.name),
                Rows(table=TOPIC_WORDS.name),
            ],
            row_count=sum(update.documents.values()),
            data_version=records[0],
            metadata={"topics": update.topics, "continued": update.kept}
            | ({"fitted_since": update.refit} if update.refit else {}),
            origins=[reference(before)] if before is not None and not update.refit else [],
        )
    )
