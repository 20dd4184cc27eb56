"""A home with a few documents, two targets' examples and manifests that list them, without a run."""

import hashlib
from pathlib import Path

import projects
from projects import rows_of, write_rows

from tamis.base.files import file_digest
from tamis.corpus import document_id
from tamis.records.manifest import Manifest
from tamis.store.home import Home
from tamis.store.rows_files import BY_DOC_IDS

TEXTS = [
    f"Of {number}: {hashlib.sha256(bytes([number])).hexdigest()}, by nobody else." for number in range(6)
]
IDS = [document_id(text) for text in TEXTS]


def made_home(folder: Path) -> Home:
    """Six documents, the first three in shard web__a, the others in web__b; the last in both."""
    home = Home(folder)
    documents = [{"doc_id": one, "text": text} for one, text in zip(IDS, TEXTS, strict=True)]
    home.store.append("documents", rows_of("documents", documents))
    places = [("web__a", 0, 0), ("web__a", 1, 1), ("web__a", 2, 2)]
    places += [("web__b", 0, 3), ("web__b", 1, 4), ("web__b", 2, 5), ("web__a", 3, 5)]
    occurrences = [
        {"shard": shard, "row": row, "doc_id": IDS[which], "source": f"{shard}.jsonl"}
        for shard, row, which in places
    ]
    home.store.append("occurrences", rows_of("occurrences", occurrences))
    return home


def record(
    home: Home, asset: str, partition: str, table: str, doc_ids: list[str], *inputs: Manifest, files=()
) -> Manifest:
    """A manifest that lists these documents and has these files, as a run leaves it, and its head."""
    rows, scopes = {}, {}
    if table:
        scopes = {table: scope_of(table, partition)}
        rows = {table: write_rows(home, table, scopes[table], doc_ids)}
    stated = {"row_count": len(doc_ids), "rows": rows, "scopes": scopes}
    digests = {home.relative(file): file_digest(file) for file in files}
    return projects.record(home, asset, partition, inputs=inputs, files=digests, **stated)


def scope_of(table: str, partition: str) -> str:
    column = {"trained_on": "checkpoint", "decisions": "selection", "selected_subset": "selection"}.get(table)
    return f"{column} = '{partition}'" if column else BY_DOC_IDS


def train(home: Home, checkpoint: str, doc_ids: list[str]) -> None:
    rows = [{"checkpoint": checkpoint, "doc_id": one, "data": "pool"} for one in doc_ids]
    home.store.merge("trained_on", rows_of("trained_on", rows))
