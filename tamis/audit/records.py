"""Audit of the records: every manifest, rows file, kept version and sealed table, hashed again.

Those that no current result leads to are checked, too: the walk from the results would never reach them.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from tamis.audit.verdicts import Node
from tamis.base.files import file_digest
from tamis.graph.plan import label
from tamis.history.versions import TABLE as VERSIONS
from tamis.history.versions import Version, VersionLostError, decisions_of, is_kept, read_versions
from tamis.records.manifest import Manifest, ManifestError, ManifestFolder
from tamis.records.receipts import ASSET, listed_in, receipt_ids, receipt_problems, stored_again
from tamis.retention.losses import RECORDS
from tamis.selection.stage import DECISIONS_STAGE
from tamis.store.digests import SEAL, broken_seals
from tamis.store.home import Home
from tamis.store.retained import retained_tables
from tamis.store.schemas import declaration, tables
from tamis.store.table_errors import DamagedTableError, decoding

TABLES = "table"
LISTS = "list of rows"
SHOWN = 3


CURE = (
    "restore it from a backup of the folder manifests, or go on without it: `tamis materialize "
    f"--allow-removal {RECORDS}`"
)
"""What helps where a record of an earlier result is missing or was altered."""


class Records:
    """Manifests of a folder, each read and verified once; `noted`: ids of those that are known to be lost."""

    def __init__(self, folder: Path, noted: Collection[str] = ()) -> None:
        self.folder, self.noted = ManifestFolder(folder), noted
        self._read: dict[str, Manifest | ManifestError] = {}

    def read(self, manifest: str) -> Manifest:
        """Return a manifest. Raises `ManifestError`, the same one each time."""
        if manifest not in self._read:
            try:
                self._read[manifest] = self.folder.read(manifest)
            except ManifestError as error:
                self._read[manifest] = error
        found = self._read[manifest]
        if isinstance(found, ManifestError):
            raise found
        return found

    def is_whole(self, manifest: str) -> bool:
        """Return whether a manifest can be read and was not altered."""
        try:
            self.read(manifest)
        except ManifestError:
            return False
        return True


def judge_records(
    home: Home, records: Records, nodes: dict[str, Node], quick: bool, kept_versions: int = 0
) -> None:
    """Add a node for each record that fails and is not in the graph.

    `quick` reads manifests only. `kept_versions`: number of latest versions of each selection whose decisions
    should still be kept.
    """
    for manifest in records.folder.ids():
        try:
            records.read(manifest)
        except ManifestError as error:
            if manifest not in nodes and manifest not in records.noted:
                nodes[manifest] = Node(manifest=manifest, asset="manifest", partition=manifest[:16])
                nodes[manifest].unreachable(f"{error}; no current result refers to this manifest")
    if not quick:
        _judge_lists(records.folder, nodes)
        _judge_choices(home, nodes, kept_versions)
        sealed = {name for name, table in tables().items() if table.sealed}
        for table in sorted(sealed.union(retained_tables(home.store))):
            _judge_seals(home, table, nodes)


def _judge_lists(folder: ManifestFolder, nodes: dict[str, Node]) -> None:
    for path in folder.lists():
        try:
            found = file_digest(path)
        except FileNotFoundError:  # a run has replaced what it listed
            continue
        if found != path.stem:
            at = "/".join(path.parts[-4:])
            node_for(nodes, LISTS, path.stem[:16]).altered(
                f"the content of {at} no longer matches the hash in its name; restore it from a backup, or "
                "move it away and run `tamis materialize`"
            )


def _judge_choices(home: Home, nodes: dict[str, Node], kept_versions: int) -> None:
    """Verify the kept decisions of all versions: red where they are altered, amber where they are lost."""
    try:
        versions = read_versions(home.store)
    except DamagedTableError:
        return  # the check of its seals names it
    _judge_numbers(versions, nodes)
    latest = {version.selection: version.version for version in versions}
    for version in versions:
        try:
            if is_kept(home, version):
                decisions_of(home, version)
            elif version.version > latest[version.selection] - kept_versions:
                lost = (
                    f"the decisions of version {version.version} are lost, so that version cannot be restored"
                )
                node_for(nodes, DECISIONS_STAGE.name, f"{version.selection} versions").outdated(lost)
        except VersionLostError as error:
            node = nodes.get(version.decisions) or node_for(nodes, DECISIONS_STAGE.name, version.selection)
            node.altered(str(error))


def _judge_numbers(versions: Sequence[Version], nodes: dict[str, Node]) -> None:
    """Check that versions of a selection are numbered from 1 without a gap: a deleted row leaves one."""
    numbers: dict[str, set[int]] = {}
    for version in versions:
        numbers.setdefault(version.selection, set()).add(version.version)
    for selection, found in numbers.items():
        if missing := sorted(set(range(1, max(found) + 1)) - found):
            node_for(nodes, TABLES, VERSIONS).altered(
                f"the row of version {missing[0]} of the selection {selection} is missing"
            )


def _judge_seals(home: Home, table: str, nodes: dict[str, Node]) -> None:
    declared = declaration(table)
    key = list(declared.key)
    try:
        broken, keys, bare = [], [], 0
        with decoding(table):
            home.store.check_columns(table)
            for block in home.store.sealed_blocks(table):
                broken += broken_seals(block).select(key).rows()
                bare += block[SEAL].null_count
                keys.append(pl.DataFrame(pl.from_arrow(block.select(key))))
    except DamagedTableError as error:
        node_for(nodes, TABLES, table).altered(str(error))
        return
    if broken:
        named = ", ".join(label(str(row[0]), " ".join(map(str, row[1:]))) for row in broken[:SHOWN])
        node_for(nodes, TABLES, table).altered(f"altered rows: {len(broken)} ({named})")
    if bare:
        # An earlier Tamis without seals wrote them, or somebody else did: nothing proves which.
        node_for(nodes, TABLES, table).outdated(f"rows without a checksum: {bare}")
    if declared.listed or not keys:
        return
    frame = pl.concat(keys)
    if doubled := frame.filter(frame.is_duplicated()).unique().sort(key).rows():
        # A copy of a row has a valid seal.
        named = label(str(doubled[0][0]), " ".join(map(str, doubled[0][1:])))
        found = f"keys with more than one row: {len(doubled)} (first: {named})"
        node_for(nodes, TABLES, table).altered(found)


def node_for(nodes: dict[str, Node], asset: str, partition: str) -> Node:
    """Return the node, added if need be, of a record that is not a manifest of the graph."""
    return nodes.setdefault(label(asset, partition), Node(manifest="", asset=asset, partition=partition))


def judge_withdrawn(home: Home, nodes: dict[str, Node]) -> None:
    """Note how many documents of each manifest were withdrawn: amber, never red, since it was intended."""
    for manifest, count in listed_in(home).items():
        if manifest in nodes:
            nodes[manifest].withdrawn = count
            nodes[manifest].details.append(f"withdrawn: {count} of the documents that it lists")


def judge_receipts(home: Home, nodes: dict[str, Node], quick: bool) -> None:
    """Check that every withdrawal has its receipt and its rows, and that no withdrawn document is back.

    `quick` checks only that the receipts can be read.
    """
    before: list[str] = []
    for receipt in receipt_ids(home.store):
        node = nodes[receipt] = Node(manifest=receipt, asset=ASSET, partition="", inputs=before)
        problems = receipt_problems(home, receipt, missing_only=quick)
        node.intact = None if quick else True
        for problem in problems:
            (node.unreachable if quick else node.altered)(f"{problem}; {CURE}")
        before = [receipt]
    if before and (back := stored_again(home.store)):
        nodes[before[0]].contradicted(
            f"withdrawn documents are stored again: {back}; withdraw these documents again"
        )
