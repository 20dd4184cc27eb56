"""What must hold of a home at rest: nothing lost, orphaned or doubled, and nothing begun and left."""

from projects import key_of

from tamis.graph.snapshot import ProjectSnapshot
from tamis.records.attempts import read_attempts
from tamis.records.current_values import unfinished
from tamis.store.schemas import kind_of
from tamis.store.tables import Store

WHOLE_POOL = ("embeddings", "scores_density", "scores_quality", "document_flags", "transport")
PART_OF_POOL = ("near_duplicates", "judge_sample", "scores_judge", "scores_perplexity", "selected_subset")
BY_SENSORS = ("embeddings", "transport")
"""What sensors keep whole here: no selection reads the density, so they leave it to a person."""
PARTITION_COLUMNS = {"target": "targets", "selection": "selections", "trial": "trials"}


def versions(project) -> dict[tuple[str, str], str]:
    """Data version of everything that was made."""
    return versions_in(project.store)


def versions_in(store: Store) -> dict[tuple[str, str], str]:
    """The same of tables in any place."""
    frame = store.read("heads", ["asset", "partition", "data_version"])
    return {(asset, partition): version for asset, partition, version in frame.iter_rows()}


def state(project) -> tuple:
    """Everything that a run which does nothing must leave as it is."""
    store = project.store
    tables = {name: store.version(name) for name in store.names()}
    manifests = sorted(path.name for path in project.home.manifests.rglob("*") if path.is_file())
    runs = len(list(project.home.dagster.rglob("*.db")))
    return versions(project), tables, manifests, runs


def assert_sound(project) -> None:
    """Check every table, the index and the manifests, then let the audit hash everything again."""
    store, snapshot = project.store, project.snapshot
    for table in store.names():
        key = key_of(table)
        rows = store.read(table, list(key) if key else None)
        assert not key or not rows.is_duplicated().any(), f"doubled rows in {table}"
        assert_known_partitions(table, store, snapshot)
    assert_pool(store, snapshot)
    current = project.current
    assert unfinished(current, read_attempts(store)) == set()
    for value in current.values():
        project.manifests.read(value.manifest)
    assert list(project.home.manifests.rglob(".*.tmp")) == []
    audit = project.json("audit", code=None)
    wrong = [(node["name"], node["details"]) for node in audit["nodes"] if node["status"] != "green"]
    assert audit["status"] == "green", wrong


def assert_known_partitions(table: str, store: Store, snapshot: ProjectSnapshot) -> None:
    for column, kind in PARTITION_COLUMNS.items():
        if column in store.schema(table).names and key_of(table):
            found = set(store.read(table, [column])[column])
            assert found <= set(snapshot.keys(kind)), f"{table} has rows of partitions that are gone"


def assert_pool(store: Store, snapshot: ProjectSnapshot, whole: tuple[str, ...] = WHOLE_POOL) -> None:
    """Every document has a place and every row a document; tables of the kinds in `whole` have them all."""
    occurrences = store.read("occurrences", ["doc_id", "shard"])
    pool = set(store.read("documents", ["doc_id"])["doc_id"])
    assert set(occurrences["shard"]) <= set(snapshot.shards)
    assert set(occurrences["doc_id"]) == pool, "a document without a place, or a place without one"
    for table in store.names():
        if kind_of(table) in (*WHOLE_POOL, *PART_OF_POOL):
            found = set(store.read(table, ["doc_id"])["doc_id"])
            assert found <= pool, f"orphaned rows in {table}"
            assert found == pool or kind_of(table) not in whole, f"lost rows in {table}"
    decided = store.read("decisions", ["selection", "doc_id"])
    for (selection,), rows in decided.group_by("selection"):
        assert set(rows["doc_id"]) == pool, f"decisions of {selection} are not about the pool"
    chosen = store.read("decisions", ["selection", "doc_id"], "verdict = 'selected'")
    listed = store.read("selected_subset", ["selection", "doc_id"])
    assert set(chosen.iter_rows()) == set(listed.iter_rows())
