"""The whole audit: from checkpoints and selections down to raw bytes, with four verdicts for every node.

reachable: its manifest and those of its inputs exist and hash to their names. intact: the stored content
hashes to the digests in the manifest. consistent: index and event log name the same manifest. current: it
would not be made again now. A node that is not reachable, intact or consistent is red; one that is
superseded, not current, or lists withdrawn documents is amber.

Without an external anchor, a consistent rewriting of everything cannot be detected. 10,000 manifests take
about 5 s, hashing the content about 3 s for 100,000 documents.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tamis.audit.content import judge_content, judge_registered
from tamis.audit.events import LoggedEvent, judge_events
from tamis.audit.records import (
    CURE,
    TABLES,
    Records,
    judge_receipts,
    judge_records,
    judge_withdrawn,
    node_for,
)
from tamis.audit.verdicts import Audit, Node
from tamis.base.progress import Advance, ignore
from tamis.corpus.stage import RAW_STAGE
from tamis.graph.plan import input_key, reference
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import names_where, stages
from tamis.records.current_values import CurrentValue, CurrentValues
from tamis.records.losses import read_losses
from tamis.records.manifest import InputReference, ManifestError
from tamis.records.registered import OF_COMMANDS, read_registered
from tamis.retention.superseded import removed_by
from tamis.store.home import Home
from tamis.store.table_errors import DamagedTableError


def audit_graph(
    home: Home,
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    events: Sequence[LoggedEvent] | None = None,
    *,
    name: str | None = None,
    results_only: bool = False,
    quick: bool = False,
    advance: Advance = ignore,
) -> Audit:
    """Audit all current values and their ancestors, or only the checkpoint or selection `name` and its own.

    `results_only` begins with checkpoints, selections and the scaling report alone: other values, such as the
    audit itself, may be made while this audit runs. It does not hash files of registered checkpoints, which
    no run makes. `events` are the materializations in the event log, the
    latest first, None where there is no log; `quick` does not hash the content; `advance` counts nodes.
    """
    home.store.read_afresh()
    noted = read_losses(home).records
    records = Records(home.manifests, noted)
    nodes: dict[str, Node] = {}
    results = result_stages()
    registered = [one for one in read_registered(home.store) if name is None or one.checkpoint == name]
    values = _roots(current, name, results_only)
    roots = [*(reference(value) for value in values), *(one.reference for one in registered)]
    for root in roots:
        _walk(records, root, nodes, current)
    judged = _to_be_current(records, nodes, roots, current)
    with _damage_noted(nodes):
        judge_withdrawn(home, nodes)
    for node in nodes.values():
        if node.manifest in judged and node.asset not in OF_COMMANDS:
            _judge_place(records, node, current.get((node.asset, node.partition)), snapshot, current)
        _judge_retention(home, records, node, current)
    judge_events(records, nodes, current, events, whole=name is None)
    if name is None:
        with _damage_noted(nodes):
            judge_records(home, records, nodes, quick, snapshot.project.settings.automation.kept_versions)
        with _damage_noted(nodes):
            judge_receipts(home, nodes, quick)
    if not quick:
        everything = name is None and not results_only
        with _damage_noted(nodes):
            judge_content(home, records, snapshot, current, nodes, everything, advance, registered)
    if not quick and not results_only:
        judge_registered(records, nodes, registered)
    _say_cures(nodes, current)
    return Audit(
        nodes=nodes,
        roots=sorted({root.manifest for root in roots if root.asset in (*results, *OF_COMMANDS)}),
        lost=Counter(one.asset for key, one in noted.items() if not records.is_whole(key)),
    )


def _say_cures(nodes: Mapping[str, Node], current: CurrentValues) -> None:
    """Say of each record that is missing or was altered what helps."""
    remade = dict.fromkeys(
        (value.manifest for value in current.values()), "`tamis materialize` makes this value again"
    )
    for node in nodes.values():
        if node.reachable is False and node.details:
            node.details[-1] += f"; {remade.get(node.manifest, CURE)}"


@contextlib.contextmanager
def _damage_noted(nodes: dict[str, Node]) -> Iterator[None]:
    """Turn the error of an unreadable table into a finding, so that the audit goes on."""
    try:
        yield
    except DamagedTableError as error:
        node_for(nodes, TABLES, error.table).altered(str(error))


def audit_of_damage(home: Home, error: DamagedTableError, quick: bool) -> Audit:
    """Audit the records alone, where a table that leads to everything else, such as the index, is damaged."""
    nodes: dict[str, Node] = {}
    node_for(nodes, TABLES, error.table).altered(str(error))
    with _damage_noted(nodes):
        judge_records(home, Records(home.manifests), nodes, quick)
    return Audit(nodes=nodes, roots=[])


def audit_of_crashes(crashing: Mapping[str, str]) -> Audit:
    """Return an audit of the tables whose reading ends the process; with them nothing else can be audited."""
    nodes: dict[str, Node] = {}
    for table, said in crashing.items():
        node_for(nodes, TABLES, table).altered(
            f"reading this table crashes the process ({said}), so nothing was audited; restore the folder "
            f"lance/{table}.lance of the home folder from a backup, or delete it and run `tamis materialize`"
        )
    return Audit(nodes=nodes, roots=[])


def result_stages() -> tuple[str, ...]:
    """Return the names of the stages that audits begin with."""
    return names_where(lambda stage: stage.result)


def _roots(current: CurrentValues, name: str | None, results_only: bool) -> list[CurrentValue]:
    """Return the values to start from, results first: all, or the results with this name."""
    order = {asset: place for place, asset in enumerate(result_stages())}
    among = [value for value in current.values() if value.asset in order or not (results_only or name)]
    return sorted(
        (value for value in among if name is None or value.partition == name),
        key=lambda value: (order.get(value.asset, len(order)), value.asset, value.partition),
    )


def _walk(records: Records, root: InputReference, nodes: dict[str, Node], current: CurrentValues) -> None:
    """Add nodes for a manifest and its ancestors, inputs first; iterative, since graphs may be deep."""
    stack = [(root, False)]
    while stack:
        known_as, expanded = stack.pop()
        key = known_as.manifest
        if key in nodes:
            continue
        try:
            found = records.read(key)
        except ManifestError as error:
            entry, version = (known_as.asset, known_as.partition), known_as.data_version
            nodes[key] = Node(manifest=key, asset=entry[0], partition=entry[1], data_version=version)
            if key in records.noted:
                nodes[key].lost(same=entry in current and current[entry].data_version == version)
            else:
                nodes[key].unreachable(str(error))
            continue
        if expanded:
            nodes[key] = Node(
                manifest=key,
                asset=found.asset,
                partition=found.partition,
                data_version=found.data_version,
                inputs=[entry.manifest for entry in found.inputs],
            )
        else:
            stack += [(known_as, True), *((entry, False) for entry in found.inputs)]


def _to_be_current(
    records: Records, nodes: dict[str, Node], roots: Sequence[InputReference], current: CurrentValues
) -> set[str]:
    """Return the manifests that have to be current for the roots to be.

    Where a later manifest with the same data version has replaced one, its inputs count instead: those of the
    one before may have another name, or other columns that nothing reads. It and its ancestors are added to
    the nodes, so that they are audited too.
    """
    found: set[str] = set()
    stack = [root.manifest for root in roots]
    while stack:
        key = stack.pop()
        if key in found or key not in nodes:
            continue
        found.add(key)
        node = nodes[key]
        now = current.get((node.asset, node.partition))
        if now is not None and now.manifest != key and now.data_version == node.data_version:
            _walk(records, reference(now), nodes, current)
            stack.append(now.manifest)
        else:
            stack += node.inputs
    return found


def _judge_retention(home: Home, records: Records, node: Node, current: CurrentValues) -> None:
    """Note by which rule of the project the weights of a superseded checkpoint were removed."""
    value = current.get((node.asset, node.partition))
    if not node.reachable or (value is not None and value.manifest == node.manifest):
        return
    if rule := removed_by(home, records.read(node.manifest)):
        node.outdated(f"the checkpoint was removed by the retention rule {rule}")


def _judge_place(
    records: Records,
    node: Node,
    value: CurrentValue | None,
    snapshot: ProjectSnapshot,
    current: CurrentValues,
) -> None:
    """Note why a node is not current: gone, superseded, interrupted, or due to be made again.

    A manifest that a later one with the same data version has replaced counts as current.
    """
    if value is None:
        node.outdated("its partition is gone")
    elif value.manifest != node.manifest:
        if node.reachable is None:
            return  # known to be lost: said already
        if not node.reachable or records.read(node.manifest).data_version != value.data_version:
            node.outdated("superseded by a later materialization")
    elif not value.finished:
        why = "" if node.withdrawn else "the materialization was interrupted or is at work; "
        node.outdated(f"{why}`tamis materialize` rebuilds this value")
    elif (stage := stages().get(node.asset)) is None or node.partition not in snapshot.keys(stage.partitions):
        node.outdated("this value is no longer part of the project")
    elif snapshot.keeps(stage.name, stage.partitions, node.partition):
        node.outdated(
            "the file is gone; its documents are kept until another file that has them is read, or you allow "
            "their removal (held back)"
        )
    elif input_key(stage, node.partition, snapshot, current) != value.input_key:
        changed = "its file has" if node.asset == RAW_STAGE.name else "code, settings or inputs have"
        node.outdated(f"{changed} changed since")
