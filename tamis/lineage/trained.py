"""From a checkpoint back: which documents it was trained on, by itself and as the model it began with."""

from typing import Any

import polars as pl

from tamis.base.errors import NotMadeError, UnknownNameError
from tamis.lineage.heads import read_heads
from tamis.lineage.manifest import ManifestFolder
from tamis.store.home import Home
from tamis.store.tables import quoted

KINDS = {"trials": "fine-tuned on", "base_models": "pre-trained on"}
PLACES = ["doc_id", "shard", "row", "source", "licence"]
SHOWN = 20


def training_documents(home: Home, checkpoint: str, configured: set[str]) -> dict[str, Any]:
    """`{checkpoint, manifest, stages: [{checkpoint, how, data, documents: [...]}]}`, its own stage first.

    Each document with all places it stands in. Raises `UnknownNameError`, `NotMadeError`.
    """
    heads = read_heads(home.store)
    made = {partition: (asset, head) for (asset, partition), head in heads.items() if asset in KINDS}
    if checkpoint not in made:
        if checkpoint in configured:
            raise NotMadeError(checkpoint)
        raise UnknownNameError("checkpoint", checkpoint, {*made, *configured})
    asset, head = made[checkpoint]
    manifest = ManifestFolder.of(home).read(head.manifest)
    begun = [entry.partition for entry in manifest.inputs if entry.asset == "base_models"]
    stages = [(checkpoint, KINDS[asset]), *((name, KINDS["base_models"]) for name in begun)]
    found = [part for name, how in stages for part in _stage(home, name, how)]
    return {"checkpoint": checkpoint, "manifest": head.manifest, "stages": found}


def _stage(home: Home, checkpoint: str, how: str) -> list[dict[str, Any]]:
    """A part for each kind of data that the checkpoint saw."""
    seen = home.store.read("trained_on", ["doc_id", "data"], f"checkpoint = {quoted(checkpoint)}")
    blocks = home.store.by_ids("occurrences", seen["doc_id"].to_list(), PLACES)
    places = [pl.DataFrame(pl.from_arrow(block)) for block in blocks]
    named = pl.concat(places) if places else pl.DataFrame(schema=dict.fromkeys(PLACES, pl.String))
    groups = named.sort("shard", "row").group_by("doc_id").agg(pl.struct(PLACES[1:]).alias("occurrences"))
    joined = seen.join(groups, on="doc_id", how="left").sort("doc_id")
    joined = joined.with_columns(pl.col("occurrences").fill_null([]))
    return [
        {
            "checkpoint": checkpoint,
            "how": how,
            "data": data,
            "documents": part.select("doc_id", "occurrences").to_dicts(),
        }
        for (data,), part in joined.group_by("data", maintain_order=True)
    ]


def training_lines(found: dict[str, Any]) -> list[str]:
    """The same for a person: counts by shard, and the first documents of each stage."""
    lines = [f"checkpoint {found['checkpoint']} (manifest {found['manifest'][:16]})"]
    for stage in found["stages"]:
        documents = stage["documents"]
        head = f"  {stage['checkpoint']} was {stage['how']} {len(documents):,} documents of {stage['data']}"
        lines.append(head)
        for document in documents[:SHOWN]:
            places = [f"{place['shard']} row {place['row']}" for place in document["occurrences"]]
            lines.append(f"    {document['doc_id']}  {'; '.join(places) or 'an example of the target'}")
        if len(documents) > SHOWN:
            lines.append(f"    {len(documents) - SHOWN:,} more; --json lists all")
    return lines
