"""From a checkpoint back: which documents it was trained on, by itself and as the model it began with."""

from typing import Any

import polars as pl

from tamis.base.errors import NotMadeError, UnknownNameError
from tamis.corpus.stage import OCCURRENCES
from tamis.lineage.heads import read_heads
from tamis.lineage.manifest import ManifestFolder
from tamis.lineage.stages import stages
from tamis.stage import Learning
from tamis.store.home import Home
from tamis.store.tables import quoted
from tamis.training.stage import BASE_MODELS_STAGE, TRAINED_ON

KINDS = {Learning.FINE_TUNED: "fine-tuned on", Learning.PRE_TRAINED: "pre-trained on"}
PLACES = ["doc_id", "shard", "row", "source", "licence"]
SHOWN = 20


def training_documents(home: Home, checkpoint: str, configured: set[str]) -> dict[str, Any]:
    """`{checkpoint, manifest, stages: [{checkpoint, how, data, documents: [...]}]}`, its own stage first.

    Each document with all places it stands in. Raises `UnknownNameError`, `NotMadeError`.
    """
    heads = read_heads(home.store)
    how = {stage.name: KINDS[stage.learning] for stage in stages().values() if stage.learning in KINDS}
    made = {partition: (asset, head) for (asset, partition), head in heads.items() if asset in how}
    if checkpoint not in made:
        if checkpoint in configured:
            raise NotMadeError(checkpoint)
        raise UnknownNameError("checkpoint", checkpoint, {*made, *configured})
    asset, head = made[checkpoint]
    manifest = ManifestFolder.of(home).read(head.manifest)
    begun = [entry.partition for entry in manifest.inputs if entry.asset == BASE_MODELS_STAGE.name]
    parts = [(checkpoint, how[asset]), *((name, how[BASE_MODELS_STAGE.name]) for name in begun)]
    found = [part for name, trained in parts for part in _stage(home, name, trained)]
    return {"checkpoint": checkpoint, "manifest": head.manifest, "stages": found}


def _stage(home: Home, checkpoint: str, how: str) -> list[dict[str, Any]]:
    """A part for each kind of data that the checkpoint saw."""
    seen = home.store.read(TRAINED_ON.name, ["doc_id", "data"], f"checkpoint = {quoted(checkpoint)}")
    blocks = home.store.by_ids(OCCURRENCES.name, seen["doc_id"].to_list(), PLACES)
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
