"""Rows that none of the present manifests lists: of whom they are, and whether they are evidence.

What a checkpoint saw stays in `trained_on` when its trial leaves the project: an earlier manifest lists it.
A training notes what it will see before it begins; of one that did not end there is no manifest.
"""

from collections.abc import Sequence

from tamis.lineage.audit_node import Node
from tamis.lineage.audit_records import Records
from tamis.lineage.manifest import ManifestError
from tamis.lineage.untrained import TABLE, training_stages
from tamis.lineage.world import World
from tamis.store.records import TableRows
from tamis.store.tables import quoted
from tamis.training.stage import BASE_MODELS_STAGE, TRIALS_STAGE


def judge_strays(
    rows: TableRows, first: Node, records: Records, world: World, nodes: dict[str, Node]
) -> None:
    """Say which rows of a table nobody listed: of the checkpoint that they are of, else of `first`."""
    strays = rows.strays()
    if strays and rows.table == TABLE:
        _judge_checkpoints(rows, strays, records, world, nodes)
    elif strays:
        first.outdated(
            f"table {rows.table} holds {len(strays)} rows that no manifest lists, first {strays[0]}"
        )


def _judge_checkpoints(
    rows: TableRows, strays: Sequence[str], records: Records, world: World, nodes: dict[str, Node]
) -> None:
    stated, models = _stated(records), set(world.keys("models"))
    for name in strays:
        digest, _records = rows.of(f"checkpoint = {quoted(name)}", b"")
        if digest not in stated.get(name, ()):
            own = Node(
                manifest="",
                asset=(BASE_MODELS_STAGE if name in models else TRIALS_STAGE).name,
                partition=name,
            )
            said = f"table {TABLE} holds rows of it that no manifest lists: a training of it did not end"
            nodes.setdefault(own.name, own).outdated(said)


def _stated(records: Records) -> dict[str, set[str]]:
    """Digests of the rows of `trained_on` that any manifest states, by the name of the checkpoint."""
    found: dict[str, set[str]] = {}
    training = training_stages()
    for name in records.folder.ids():
        try:
            manifest = records.read(name)
        except ManifestError:
            continue  # said where the records are judged
        if manifest.asset in training and TABLE in manifest.rows:
            found.setdefault(manifest.partition, set()).add(manifest.rows[TABLE])
    return found
