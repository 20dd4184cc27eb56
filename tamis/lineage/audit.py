"""Audit: from checkpoints and selections down to raw bytes, with four verdicts for every node.

reachable: its manifest and those of its inputs are there and hash to their names. intact: what is stored
hashes to what the manifest states. consistent: index and event log name the same manifest. current: it
would not be made again now. Not reachable, intact or consistent is red; superseded, not current, or listing
documents that were withdrawn is amber.
Without an anchor outside, a consistent rewriting of everything cannot be seen.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tamis.lineage.heads import Head, Heads
from tamis.lineage.manifest import Manifest, ManifestError, ManifestFolder
from tamis.lineage.plan import input_key, label
from tamis.lineage.stages import stages
from tamis.lineage.world import World
from tamis.store.digests import file_digest, read_records
from tamis.store.home import Home
from tamis.store.records import BY_DOC_IDS, stored_rows
from tamis.store.tables import DamagedTableError
from tamis.withdrawal.receipts import ASSET as RECEIPTS
from tamis.withdrawal.receipts import listed_in, receipt_ids, receipt_problems, standing_again

Verdict = bool | None
ROOTS = ("trials", "selected_subset", "decisions", "base_models", "scaling_law_report")
AUDIT_ASSET = "lineage_audit"


@dataclass(kw_only=True)
class Node:
    """One manifest of the graph; a verdict is None where it was not checked.

    `withdrawn`: how many of the documents that it lists were withdrawn since.
    """

    manifest: str
    asset: str
    partition: str
    reachable: Verdict = True
    intact: Verdict = None
    consistent: Verdict = True
    current: Verdict = True
    withdrawn: int = 0
    details: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`asset[partition]`."""
        return label(self.asset, self.partition)

    @property
    def status(self) -> str:
        """red, amber or green."""
        if False in (self.reachable, self.intact, self.consistent):
            return "red"
        return "green" if self.current and not self.withdrawn else "amber"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Nodes by manifest id, inputs before what was made of them."""

    nodes: dict[str, Node]
    roots: list[str]

    @property
    def status(self) -> str:
        """The worst status of any node."""
        found = {node.status for node in self.nodes.values()}
        return "red" if "red" in found else "amber" if "amber" in found else "green"

    def lowest_broken(self) -> list[Node]:
        """Red nodes none of whose inputs is red: where the trouble starts."""
        red = {key for key, node in self.nodes.items() if node.status == "red"}
        return [
            self.nodes[key]
            for key in self.nodes
            if key in red and not red.intersection(self.nodes[key].inputs)
        ]

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values."""
        nodes = [
            {"id": key, **asdict(node), "name": node.name, "status": node.status}
            for key, node in self.nodes.items()
        ]
        broken = [node.name for node in self.lowest_broken()]
        return {"status": self.status, "roots": self.roots, "lowest_broken": broken, "nodes": nodes}


def audit_graph(
    home: Home,
    world: World,
    heads: Heads,
    events: Mapping[tuple[str, str], str] | None = None,
    *,
    name: str | None = None,
    quick: bool = False,
    advance: Callable[[int], None] = lambda rows: None,
) -> Audit:
    """Audit everything that leads to the roots, or to the checkpoint or selection `name`.

    `events` maps (asset, partition) to the manifest that the event log names; `quick` does not hash again.
    """
    folder = ManifestFolder(home.manifests)
    nodes: dict[str, Node] = {}
    roots = [root for root in heads.values() if root.asset in ROOTS and name in (None, root.partition)]
    for root in sorted(roots, key=lambda found: (ROOTS.index(found.asset), found.partition)):
        _walk(folder, root.manifest, label(root.asset, root.partition), nodes)
    withdrawn = listed_in(home)
    for key, node in nodes.items():
        _judge_withdrawn(node, withdrawn.get(key, 0))
        head = heads.get((node.asset, node.partition))
        _judge_place(node, head, world, heads, events)
        if not quick and node.reachable:
            _judge_content(home, folder.read(key), node, head)
        advance(1)
    if name is None:
        _judge_heads(folder, heads, nodes)
        _judge_receipts(home, nodes, quick)
    return Audit(nodes=nodes, roots=sorted({root.manifest for root in roots}))


def _walk(folder: ManifestFolder, manifest: str, name: str, nodes: dict[str, Node]) -> None:
    """Add a manifest and its ancestors, inputs first; iterative, since lineage may be deep."""
    stack: list[tuple[str, str, bool]] = [(manifest, name, False)]
    while stack:
        key, known_as, expanded = stack.pop()
        if key in nodes:
            continue
        try:
            found = folder.read(key)
        except ManifestError as error:
            asset, _, rest = known_as.partition("[")
            node = Node(manifest=key, asset=asset, partition=rest.rstrip("]"), reachable=False)
            node.details.append(str(error))
            nodes[key] = node
            continue
        if expanded:
            inputs = [reference.manifest for reference in found.inputs]
            nodes[key] = Node(manifest=key, asset=found.asset, partition=found.partition, inputs=inputs)
            continue
        stack.append((key, known_as, True))
        stack += [(entry.manifest, label(entry.asset, entry.partition), False) for entry in found.inputs]


def _judge_withdrawn(node: Node, count: int) -> None:
    """Rows that a manifest lists and somebody withdrew are gone by intent: amber, never red."""
    if count:
        node.withdrawn = count
        node.details.append(f"withdrawn: {count} of the documents that it lists")


def _judge_receipts(home: Home, nodes: dict[str, Node], quick: bool) -> None:
    """Every withdrawal must have its receipt, be what that says, and have nothing stand there again."""
    before: list[str] = []
    for receipt in receipt_ids(home.store):
        node = nodes[receipt] = Node(manifest=receipt, asset=RECEIPTS, partition="", inputs=before)
        problems = receipt_problems(home, receipt, missing_only=quick)
        node.reachable = not (problems and quick)
        node.intact = None if quick else not problems
        node.details += problems
        before = [receipt]
    if before and (back := standing_again(home.store)):
        nodes[before[0]].consistent = False
        nodes[before[0]].details.append(f"withdrawn, and there again: {back}; withdraw it once more")


def _judge_place(
    node: Node,
    head: Head | None,
    world: World,
    heads: Heads,
    events: Mapping[tuple[str, str], str] | None,
) -> None:
    """Is it the latest, does the event log agree, and would it be made again now?"""
    if head is None or head.manifest != node.manifest:
        node.current = False
        node.details.append("superseded by a later materialization" if head else "its partition is gone")
        return
    if not head.finished:
        node.current = False
        why = "made again" if node.withdrawn else "its making was interrupted; gone on with"
        node.details.append(f"{why} by `tamis materialize`")
        return
    logged = None if events is None else events.get((node.asset, node.partition))
    if events is not None and logged != node.manifest:
        node.consistent = False
        node.details.append(
            f"the event log names manifest {(logged or 'none')[:16]}, the index {node.manifest[:16]}"
        )
    stage = stages().get(node.asset)
    if stage is None or node.partition not in world.keys(stage.partitions):
        node.current = False
        node.details.append("it is no longer part of the project")
    elif input_key(stage, node.partition, world, heads) != head.input_key:
        node.current = False
        source = node.asset == "raw_shards"
        node.details.append(
            "its file has changed since" if source else "code, settings or inputs have changed since"
        )


def _judge_content(home: Home, manifest: Manifest, node: Node, head: Head | None) -> None:
    """Hash what is stored again; only the latest of each partition is still there to be hashed.

    Of one that was interrupted while it was made again, rows of both may be there.
    """
    if head is None or head.manifest != node.manifest or not head.finished:
        return
    problems = [*_altered_files(home, manifest), *_altered_rows(home, manifest, bool(node.current))]
    if (head.input_key, head.data_version) != (manifest.input_key, manifest.data_version):
        node.consistent = False
        node.details.append("the index states another key or version than the manifest")
    node.intact = not problems
    node.details += problems


def _altered_files(home: Home, manifest: Manifest) -> Iterable[str]:
    for name, digest in manifest.files.items():
        path = home.root / name
        if not path.is_file():
            yield f"file {name} is missing"
        elif file_digest(path) != digest:
            yield f"file {name} was altered"


def _altered_rows(home: Home, manifest: Manifest, current: bool) -> Iterable[str]:
    """What differs from the manifest, a line each table.

    Rows of documents that no shard holds any more leave all tables before what lists them is made again.
    """
    folder = ManifestFolder(home.manifests)
    for table, digest in manifest.rows.items():
        try:
            content = folder.rows_path(digest).read_bytes()
        except FileNotFoundError:
            yield f"the list of rows of table {table} is missing"
            continue
        scope = manifest.scopes[table]
        doc_ids = [key for key, _row in read_records(content)] if scope == BY_DOC_IDS else []
        try:
            found, stored = stored_rows(home.store, table, scope, doc_ids)
        except DamagedTableError as error:
            yield str(error)
            continue
        if found != digest:
            before, now = dict(read_records(content)), dict(read_records(stored))
            changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
            altered = changed if current else _without_collected(home, changed, now)
            if altered or not changed:
                yield f"table {table}: {len(altered)} rows differ, first {altered[0] if altered else 'order'}"


def _without_collected(home: Home, changed: list[str], now: Mapping[str, str]) -> list[str]:
    """Those of the rows that are not gone together with their document."""
    gone = [key for key in changed if key not in now]
    blocks = home.store.by_ids("documents", gone, ["doc_id"])
    held = {key for block in blocks for key in block["doc_id"].to_pylist()}
    return [key for key in changed if key in now or key in held]


def _judge_heads(folder: ManifestFolder, heads: Heads, nodes: dict[str, Node]) -> None:
    """Every head must have a manifest, also where no root leads to it."""
    for head in heads.values():
        if head.manifest not in nodes and not folder.path(head.manifest).exists():
            node = Node(manifest=head.manifest, asset=head.asset, partition=head.partition, reachable=False)
            node.details.append("the index names a manifest that is missing")
            nodes[head.manifest] = node


def audit_lines(audit: Audit) -> list[str]:
    """An audit for a person: the verdict, what is wrong, and counts per asset."""
    if not audit.nodes:
        return ["nothing has been made yet, so there is nothing to audit"]
    lines = [f"{audit.status.upper()}: {len(audit.nodes)} manifests lead to {len(audit.roots)} results"]
    for node in audit.lowest_broken():
        lines.append(f"  red: {node.name}: {'; '.join(node.details)}")
    amber = [node for node in audit.nodes.values() if node.status == "amber"]
    for node in amber[:20]:
        lines.append(f"  amber: {node.name}: {'; '.join(node.details)}")
    if len(amber) > 20:
        lines.append(f"  amber: {len(amber) - 20} more; --json lists all")
    counts: dict[str, list[int]] = {}
    for node in audit.nodes.values():
        entry = counts.setdefault(node.asset, [0, 0])
        entry[0] += 1
        entry[1] += node.status == "green"
    lines += [f"  {asset}: {green} of {total} green" for asset, (total, green) in counts.items()]
    return lines
