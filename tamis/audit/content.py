"""Audit of content: raw files, files of the home and rows, hashed again and compared with the manifests.

Only the latest value of each partition is still stored. A table is hashed in one pass, however many
partitions share it; files are hashed by two threads, at about the speed of SHA-256.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tamis.audit.records import TABLES, Records, node_for
from tamis.audit.verdicts import Node
from tamis.base.errors import TamisError
from tamis.base.progress import Advance
from tamis.corpus import ShardGoneError, fingerprint_shard
from tamis.corpus.stage import DOCUMENTS, RAW_STAGE
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import Manifest, ManifestError
from tamis.records.registered import ASSET as REGISTERED
from tamis.records.registered import Registered, compare_files, stated_files
from tamis.retention.reconciled import training_stages
from tamis.store.digests import has_seals, read_records
from tamis.store.home import Home
from tamis.store.rows_files import BY_DOC_IDS, TableRows
from tamis.store.schemas import declared
from tamis.store.table_errors import DamagedTableError, decoding
from tamis.store.tables import quoted
from tamis.training.stage import TRAINED_ON, TRIALS_STAGE

THREADS = 2
MISSING = "is missing"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Rows of one table according to the manifest of a node: the filter that finds them, and their digest."""

    node: Node
    table: str
    scope: str
    digest: str


def judge_content(
    home: Home,
    records: Records,
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    nodes: dict[str, Node],
    whole: bool,
    advance: Advance,
    registered: Sequence[Registered] = (),
) -> None:
    """Hash the files and rows of the nodes' values again; `advance` counts nodes.

    A value whose later attempt did not end is left out: its tables may hold rows of both. Of `registered`
    checkpoints the rows are hashed. `whole` also looks for rows that no manifest lists, and reads the tables
    that no manifest names.
    """
    present = [node for node in nodes.values() if _is_present(node, current)]
    manifests = {node.manifest: records.read(node.manifest) for node in present}
    for node in present:
        value, manifest = current[(node.asset, node.partition)], manifests[node.manifest]
        stated = (manifest.input_key, manifest.data_version, manifest.settled)
        if (value.input_key, value.data_version, value.settled) != stated:
            node.contradicted(
                "the index of current values gives another input key, data version or state than the manifest"
            )
        if node.intact is None:
            node.intact = True
    _judge_files(home, snapshot, present, manifests, advance)
    for node in (nodes[one.manifest] for one in registered if nodes[one.manifest].reachable):
        node.intact = True
        present.append(node)
        manifests[node.manifest] = records.read(node.manifest)
    at_rest = all(value.finished for value in current.values())
    claims = [
        Claim(node=node, table=table, scope=manifest.scopes[table], digest=digest)
        for node in present
        for manifest in [manifests[node.manifest]]
        for table, digest in manifest.rows.items()
    ]
    for table in sorted({claim.table for claim in claims}):
        own = [claim for claim in claims if claim.table == table]
        try:
            rows = _judge_table(home, records, own)
            # Answers that were paid for stay when no manifest lists them any more; their seals are checked.
            known = declared(table)
            if whole and at_rest and not (known is not None and known.sealed and not known.listed):
                judge_strays(rows, own[0].node, records, snapshot, nodes)
        except DamagedTableError as error:
            for claim in own:
                claim.node.altered(str(error))
    if whole:
        _judge_others(home, {claim.table for claim in claims}, nodes)


def judge_registered(records: Records, nodes: Mapping[str, Node], registered: Sequence[Registered]) -> None:
    """Hash the files of registered checkpoints again.

    Amber is what cannot be compared, such as a folder that has moved; red is a file that was altered.
    """
    for entry in registered:
        node = nodes[entry.manifest]
        if not node.reachable:
            continue
        deviation = compare_files(entry, stated_files(records.read(entry.manifest)))
        for problem in deviation.altered:
            node.altered(
                f"{problem}; restore the files from a copy, or `tamis register --forget {entry.checkpoint}` "
                "removes the entry"
            )
        for problem in deviation.unseen:
            node.outdated(problem)


def _judge_others(home: Home, claimed: set[str], nodes: dict[str, Node]) -> None:
    """Check that the tables that no current manifest names, and that have no seals, can be read."""
    for table in home.store.names():
        if table in claimed or has_seals(table):
            continue
        try:
            with decoding(table):
                home.store.check_columns(table)
                deque(home.store.batches(table), maxlen=0)
        except DamagedTableError as error:
            node_for(nodes, TABLES, table).altered(str(error))


def _is_present(node: Node, current: CurrentValues) -> bool:
    value = current.get((node.asset, node.partition))
    return bool(value and value.manifest == node.manifest and node.reachable and value.finished)


def _judge_files(
    home: Home,
    snapshot: ProjectSnapshot,
    present: list[Node],
    manifests: Mapping[str, Manifest],
    advance: Advance,
) -> None:
    found = altered_files(home, [manifests[node.manifest] for node in present])
    for node, problems in zip(present, found, strict=True):
        if node.current and not home.url:
            problems = [f"{problem}; {_remedy('it', problem.endswith(MISSING))}" for problem in problems]
        if node.asset == RAW_STAGE.name and node.current:
            problems += _altered_raw(snapshot, node.partition, manifests[node.manifest])
        for problem in problems:
            node.altered(problem)
        advance(1)


def _remedy(moved: str, is_missing: bool = False) -> str:
    return f"{'' if is_missing else f'move {moved} away, and '}`tamis materialize` makes it again"


def altered_files(home: Home, manifests: Sequence[Manifest]) -> Iterator[list[str]]:
    """Yield the problems of the files of each manifest, in the order of the manifests."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(lambda manifest: [*_altered_files(home, manifest)], manifests)


def _altered_files(home: Home, manifest: Manifest) -> Iterable[str]:
    for name, digest in manifest.files.items():
        found = home.files.digest(name)
        if found is None:
            yield f"file {name} {MISSING}"
        elif found != digest:
            yield f"file {name} was altered"


def _altered_raw(snapshot: ProjectSnapshot, key: str, manifest: Manifest) -> Iterable[str]:
    """Yield the problems of raw files whose size and times are unchanged, but whose bytes are not."""
    shard = snapshot.shards[key]
    for file in shard.files:
        if file.remote is not None or (shard.members and file.key not in snapshot.files):
            continue  # the scan has compared the tag that the object store gives it; or it is gone
        of = f"{file.name}: " if shard.members else ""
        stated = snapshot.versions[file.key] if shard.members else manifest.data_version
        try:
            if fingerprint_shard(file) != stated:
                yield f"{of}the bytes of the file were altered, although its size and times are unchanged"
        except (ShardGoneError, TamisError, OSError) as error:
            yield f"{of}the file cannot be read: {error}"


def _judge_table(home: Home, records: Records, claims: list[Claim]) -> TableRows:
    """Compare the rows of one table with each of its claims. Raises `DamagedTableError`."""
    table = claims[0].table
    with decoding(table):
        home.store.check_columns(table)
    rows = TableRows(home.store, table)
    for claim in claims:
        try:
            stated = records.folder.rows_path(claim.digest).read_bytes()
        except FileNotFoundError:
            claim.node.altered(f"the list of rows of table {claim.table} is missing")
            continue
        with decoding(table):
            found, stored = rows.of(claim.scope, stated)
            doubled = rows.doubled(stated) if claim.scope == BY_DOC_IDS else []
        if found != claim.digest:
            _name_difference(home, claim, stated, stored)
        if doubled:
            claim.node.altered(f"table {claim.table} contains rows of {doubled[0]} more than once")
    return rows


def _name_difference(home: Home, claim: Claim, stated: bytes, stored: bytes) -> None:
    """Note which rows of a claim differ.

    A value that is out of date may lack rows of documents that no shard holds any more: these are deleted
    from all tables before the value is made again.
    """
    before, now = _by_key(stated), _by_key(stored)
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if not claim.node.current:
        gone = [key for key in changed if key not in now]
        blocks = home.store.by_ids(DOCUMENTS.name, gone, ["doc_id"])
        held = {key for block in blocks for key in block["doc_id"].to_pylist()}
        changed = [key for key in changed if key in now] + sorted(held)
        if not changed:
            return
    what = (
        f"rows that differ from the manifest: {len(changed)} (first: {changed[0]})"
        if changed
        else "only the order of the rows differs from the manifest"
    )
    remedy = ""
    if claim.node.asset == REGISTERED:
        remedy = "; `tamis register` with the same folder and name writes these rows again"
    elif claim.node.current and not home.url:
        table = home.relative(home.root / "lance" / f"{claim.table}.lance")
        remedy = f"; {_remedy(f'the whole of {table}')}"
    claim.node.altered(f"table {claim.table}: {what}{remedy}")


def _by_key(content: bytes) -> dict[str, list[str]]:
    """Return the digests of the rows of each key; a row that is stored twice has two."""
    found: dict[str, list[str]] = {}
    for key, digest in read_records(content):
        found.setdefault(key, []).append(digest)
    return found


def judge_strays(
    rows: TableRows, first: Node, records: Records, snapshot: ProjectSnapshot, nodes: dict[str, Node]
) -> None:
    """Note the rows of a table that no manifest lists, at the node of their checkpoint, else at `first`."""
    strays = rows.strays()
    if strays and rows.table == TRAINED_ON.name:
        _judge_checkpoints(rows, strays, records, snapshot, nodes)
    elif strays:
        first.outdated(
            f"table {rows.table} contains rows that no manifest lists: {len(strays)} (first: {strays[0]})"
        )


def _judge_checkpoints(
    rows: TableRows,
    strays: Sequence[str],
    records: Records,
    snapshot: ProjectSnapshot,
    nodes: dict[str, Node],
) -> None:
    stated, registered = _stated(records, training_stages()), _stated(records, (REGISTERED,))
    trained = {
        name: stage.name
        for stage in (stages()[one] for one in reversed(training_stages()))
        for name in snapshot.keys(stage.partitions)
    }
    for name in strays:
        digest, _records = rows.of(f"checkpoint = {quoted(name)}", b"")
        if digest in registered.get(name, ()):
            node_for(nodes, REGISTERED, name).outdated(
                f"table {TRAINED_ON.name} contains rows of this checkpoint, but its entry is missing; "
                "`tamis register` writes it again"
            )
        elif digest not in stated.get(name, ()):
            node_for(nodes, trained.get(name, TRIALS_STAGE.name), name).outdated(
                f"table {TRAINED_ON.name} contains rows of this checkpoint that no manifest lists: "
                "a training of this checkpoint did not finish"
            )


def _stated(records: Records, assets: Collection[str]) -> dict[str, set[str]]:
    """Return the digests of rows of `trained_on` in manifests of these assets, by name of the checkpoint."""
    found: dict[str, set[str]] = {}
    for name in records.folder.ids():
        try:
            manifest = records.read(name)
        except ManifestError:
            continue  # `judge_records` names it
        if manifest.asset in assets and TRAINED_ON.name in manifest.rows:
            found.setdefault(manifest.partition, set()).add(manifest.rows[TRAINED_ON.name])
    return found
