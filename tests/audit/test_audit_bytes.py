"""Audit of bytes: a bit flipped in a table's files is found if a value changes or cannot be decoded."""

import random
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from parts import in_parts
from projects import head_of, manifest_of, write_rows

from tamis.audit.content import judge_content
from tamis.audit.records import Records, judge_records
from tamis.audit.verdicts import Audit, Node
from tamis.audit.whole import audit_of_crashes, audit_of_damage
from tamis.base.progress import ignore
from tamis.graph.snapshot import ProjectSnapshot
from tamis.records.current_values import CurrentValue, read_current_values, write_current_values
from tamis.records.manifest import ManifestFolder
from tamis.store.home import Home
from tamis.store.probing import crashing_tables, limit_memory
from tamis.store.rows_files import BY_DOC_IDS
from tamis.store.schemas import schema_of
from tamis.store.table_errors import DamagedTableError
from tamis.store.tables import Store, vector_column

SCOPES = {
    "documents": BY_DOC_IDS,
    "embeddings_static": BY_DOC_IDS,
    "occurrences": "shard = 'web__one.jsonl'",
    "near_duplicates": "",
    "contamination": "",
}
"""Tables that a manifest states, by all kinds of scopes; the last is empty. `heads` carries seals."""
IDS = [f"{number:032x}" for number in range(40)]
MOST_BYTES = 2 << 30
"""Memory for the process that looks for tables whose reading ends it. Damaged lengths are powers of two."""


def rows_of(table: str, ids: list[str]) -> pa.Table:
    schema = schema_of(table, 4)
    if table == "embeddings_static":
        vectors_nd = np.random.default_rng(0).normal(size=(len(ids), 4))
        return pa.table([ids, vector_column(vectors_nd), ["f"] * len(ids)], schema=schema)
    draw = random.Random(table)

    def value(field: pa.Field, place: int) -> object:
        if field.name in ("doc_id", "cluster", "kept"):
            return ids[place]
        if field.name == "shard":
            return "web__one.jsonl"
        if pa.types.is_string(field.type):
            return "".join(draw.choices("abcdefgh ", k=20))
        if pa.types.is_timestamp(field.type):
            return datetime(2026, 1, 1, 12, 0, place % 60)
        return place if pa.types.is_integer(field.type) else place / 7

    rows = [{field.name: value(field, place) for field in schema} for place in range(len(ids))]
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    """A home with one value that has rows in every table; each table has a deletion file."""
    home = Home(tmp_path_factory.mktemp("bytes") / "home")
    digests = {}
    for table, scope in SCOPES.items():
        home.store.append(table, rows_of(table, IDS))
        gone = "true" if table == "contamination" else f"doc_id = '{IDS[7]}'"
        home.store.delete(table, gone)
        kept = [doc_id for doc_id in IDS if doc_id != IDS[7]]
        digests[table] = write_rows(home, table, scope, kept)
    keys = {"input_key": "k" * 64, "data_version": "v" * 64}
    manifest = manifest_of("documents", "web__one.jsonl", **keys, row_count=39, rows=digests, scopes=SCOPES)
    ManifestFolder(home.manifests).write(manifest)
    left = CurrentValue(
        asset="documents", partition="left", manifest="0" * 64, input_key="k", data_version="v"
    )
    write_current_values(home.store, [head_of(manifest), left])
    home.store.delete("heads", "partition = 'left'")
    return home


def audited(home: Home) -> Audit:
    """Run the parts of an audit that read tables, on newly opened files."""
    opened = Home(home.root)
    opened.store.read_afresh()
    try:
        current = read_current_values(opened.store)
    except DamagedTableError as error:
        return audit_of_damage(opened, error, quick=False)
    nodes = {
        value.manifest: Node(manifest=value.manifest, asset=value.asset, partition=value.partition)
        for value in current.values()
        if ManifestFolder(opened.manifests).has(value.manifest)
    }
    records = Records(opened.manifests)
    judge_records(opened, records, nodes, quick=False)
    no_world = cast(ProjectSnapshot, None)  # asked for raw files and checkpoints alone
    judge_content(opened, records, no_world, current, nodes, whole=True, advance=ignore)
    return Audit(nodes=nodes, roots=[])


def decoded(home: Home, table: str) -> list[dict] | None:
    """Return all values of a table, None where they cannot be read."""
    try:
        return lancedb.connect(home.root / "lance").open_table(table).to_arrow().to_pylist()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return None


def files_of(home: Home, table: str) -> Iterator[Path]:
    """Yield the files that a reader of the latest version may touch."""
    folder = home.root / "lance" / f"{table}.lance"
    versions = sorted((folder / "_versions").glob("*.manifest"))
    yield versions[0]  # named by numbers that count down
    others = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "_versions"]
    yield from sorted(others, key=lambda path: path.relative_to(folder).parts[0])


def judged(home: Home, table: str, before: list[dict]) -> tuple[bool, str]:
    """Return whether a table decodes to other values than before, and the status of the audit if it does."""
    changed = decoded(home, table) != before
    return changed, audited(home).status if changed else "green"


class Apart:
    """`judged` in a process of its own: a damaged length may end the process, and then the table is named."""

    def __init__(self, home: Home) -> None:
        self.home, self._pool = home, self._started()

    def _started(self) -> ProcessPoolExecutor:
        most = 2 * MOST_BYTES  # so that whatever ends this process ends the other, which has loaded less
        return ProcessPoolExecutor(1, get_context("spawn"), limit_memory, (most,))

    def judge(self, table: str, before: list[dict]) -> tuple[bool, str]:
        try:
            return self._pool.submit(judged, self.home, table, before).result()
        except BrokenProcessPool:
            self._pool = self._started()
            return True, "red" if table in crashing_tables(self.home.store, MOST_BYTES) else "green"


def flipped(path: Path, content: bytes, position: int, bit: int) -> None:
    path.write_bytes(content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :])


def missed(home: Home, draw: random.Random, each: int) -> tuple[list[str], int]:
    """Return the flips that changed a value and left the audit green, and how many flips changed a value."""
    found, total, apart = [], 0, Apart(home)
    for table in (*SCOPES, "heads"):
        before = decoded(home, table)
        assert before is not None
        for path in files_of(home, table):
            content = path.read_bytes()
            for position in draw.sample(range(len(content)), min(each, len(content))):
                bit = 1 << draw.randrange(8)
                flipped(path, content, position, bit)
                changed, status = apart.judge(table, before)
                total += changed
                if changed and status == "green":
                    found.append(f"{path.relative_to(home.root)}: bit {bit} of byte {position}")
            path.write_bytes(content)
    return found, total


def test_a_table_whose_reading_ends_the_process_is_named(home):
    """A length in a deletion file that asks for more memory than there is."""
    (path,) = (home.root / "lance" / "documents.lance" / "_deletions").iterdir()
    content = path.read_bytes()
    try:
        flipped(path, content, len(content) - 20, 2)
        assert list(crashing_tables(home.store)) == ["documents"]
    finally:
        path.write_bytes(content)
    found = audit_of_crashes({"documents": "memory allocation failed"})
    assert [(node.name, node.status) for node in found.nodes.values()] == [("table[documents]", "red")]
    assert crashing_tables(home.store) == {}


def crashes_and_peak_bytes(store: Store) -> tuple[dict[str, str], int]:
    """Return the tables whose reading ends a process, and the most memory that a child of this process took.

    In a process of its own: a child's peak begins at the memory of the process that starts it, and earlier
    tests had children of their own.
    """
    crashes = crashing_tables(store, MOST_BYTES)
    return crashes, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def test_a_length_of_gigabytes_is_found_without_taking_them(home):
    """Without a limit the storage layer fills 4 GiB with zeros, and then says that the file is corrupt."""
    (path,) = (home.root / "lance" / "documents.lance" / "_deletions").iterdir()
    content = path.read_bytes()
    try:
        flipped(path, content, len(content) - 22, 1)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
            crashes, peak_bytes = apart.submit(crashes_and_peak_bytes, home.store).result()
        assert crashes == {"documents": "memory allocation of 4294967616 bytes failed"}
        assert peak_bytes < MOST_BYTES
    finally:
        path.write_bytes(content)
    assert crashing_tables(home.store, MOST_BYTES) == {}


def test_an_untouched_home_is_green(home):
    assert audited(home).status == "green"


def test_a_changed_bit_that_changes_a_value_is_found(home):
    found, changed = missed(home, random.Random("a few"), each=5)
    assert found == []
    assert changed > 15


@pytest.mark.slow
@in_parts(4, name="seed")
def test_many_changed_bits_that_change_a_value_are_found(home, seed):
    found, changed = missed(home, random.Random(f"many {seed}"), each=120)
    assert found == []
    assert changed > 500


def test_an_altered_first_seen_is_found_though_no_digest_covers_it(home):
    opened = Home(home.root).store.open("documents")
    row = opened.search().where(f"doc_id = '{IDS[3]}'").to_arrow()
    place = row.schema.get_field_index("first_seen")
    forged = row.set_column(
        place, row.schema.field(place), pa.array([datetime(2020, 1, 1)], pa.timestamp("us"))
    )
    opened.merge_insert(["doc_id"]).when_matched_update_all().execute(forged)
    named = {node.name: node.details for node in audited(home).nodes.values() if node.status == "red"}
    opened.merge_insert(["doc_id"]).when_matched_update_all().execute(row)
    assert named == {"table[documents]": [f"altered rows: 1 ({IDS[3]})"]}
    assert audited(home).status == "green"
