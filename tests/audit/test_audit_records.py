"""Audit of records: altered, lost or doubled rows, files and manifests, and an index without values."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_selections import made

from tamis.audit.content import altered_files
from tamis.audit.events import LoggedEvent, beside_digest, event_tags, judge_events
from tamis.audit.records import Records, judge_records
from tamis.audit.verdicts import Audit, Node
from tamis.base.files import file_digest
from tamis.history.versions import note_version, read_versions
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.store.home import Home
from tamis.store.schemas import schema_of


@pytest.fixture
def home(tmp_path) -> Home:
    """A home with two versions of a selection."""
    home = Home(tmp_path / "home")
    for chosen in ([1], [2]):
        note_version(home, made(home, chosen), "best")
    return home


def red_after_judging(home: Home) -> dict[str, list[str]]:
    nodes: dict[str, Node] = {}
    judge_records(home, Records(home.manifests), nodes, quick=False)
    return {node.name: node.details for node in Audit(nodes=nodes, roots=[]).lowest_broken()}


def test_a_version_that_was_deleted_from_the_middle_is_red(home):
    assert red_after_judging(home) == {}
    home.store.delete("selection_versions", "version = 1")
    assert red_after_judging(home) == {
        "table[selection_versions]": ["the row of version 1 of the selection best is missing"]
    }


def test_lost_decisions_of_a_version_that_should_be_kept_are_amber(home):
    kept = Records(home.manifests).folder.kept()
    assert len(kept) == 2
    oldest = next(version for version in read_versions(home.store, "best") if version.version == 1)
    Records(home.manifests).folder.kept_path(oldest.rows).unlink()
    for kept_versions, statuses in ((2, ["amber"]), (1, [])):
        nodes: dict[str, Node] = {}
        judge_records(home, Records(home.manifests), nodes, quick=False, kept_versions=kept_versions)
        assert [node.status for node in nodes.values()] == statuses


@pytest.mark.parametrize("version", [1, 2])
def test_altered_decisions_of_any_kept_version_are_red(home, version):
    rows = next(one.rows for one in read_versions(home.store, "best") if one.version == version)
    path = Records(home.manifests).folder.kept_path(rows)
    kept = pq.read_table(path)
    place = kept.schema.get_field_index("margin")
    pq.write_table(kept.set_column(place, "margin", pa.array([7.0] * len(kept))), path)
    (details,) = red_after_judging(home).values()
    assert "were altered" in str(details)


@pytest.mark.parametrize("folder", ["checkpoints/trials/one/k", "fitted/density_sketch/all/k", "reports"])
def test_an_altered_or_lost_file_of_any_kind_is_found(home, folder):
    files = [home.root / folder / name for name in ("weights.safetensors", "config.json")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"as it was made")
    made_of = Records(home.manifests).read(read_current_values(home.store)[("decisions", "best")].manifest)
    stated = replace(made_of, files={home.relative(file): file_digest(file) for file in files})
    assert list(altered_files(home, [stated])) == [[]]
    files[0].write_bytes(b"as it was Made")
    files[1].unlink()
    assert list(altered_files(home, [stated])) == [
        [f"file {folder}/weights.safetensors was altered", f"file {folder}/config.json is missing"]
    ]


def test_a_copy_of_a_sealed_row_is_named(home):
    opened = home.store.open("selection_versions")
    opened.add(opened.to_arrow().slice(0, 1))
    found = red_after_judging(home)
    assert list(found) == ["table[selection_versions]"]
    assert "more than one row: 1 (first: best[1]" in found["table[selection_versions]"][0]


@pytest.mark.parametrize("table", ["retained_embeddings_static", "retained_scores_judge"])
def test_retained_rows_are_green_and_an_altered_one_is_named(home, table):
    schema = schema_of(table, 4)
    rows = [{"doc_id": digit * 32, "fingerprint": "f", "vector": [1] * 4, "margin": 1.0} for digit in "ab"]
    home.store.merge(table, pa.Table.from_pylist(rows, schema=schema))
    assert red_after_judging(home) == {}
    column, value = ("vector", [[2] * 4]) if "vector" in schema.names else ("margin", [2.0])
    opened = home.store.open(table)
    row = opened.search().where(f"doc_id = '{'b' * 32}'").to_arrow()
    at = row.schema.get_field_index(column)
    forged = row.set_column(at, row.schema.field(at), pa.array(value, row.schema.field(at).type))
    opened.merge_insert(["doc_id", "fingerprint"]).when_matched_update_all().execute(forged)
    (details,) = red_after_judging(home).values()
    assert details == [f"altered rows: 1 ({'b' * 32}[f])"]


def test_a_truncated_table_of_records_is_a_finding_and_does_not_end_the_audit(home):
    for file in (home.root / "lance" / "selection_versions.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert "is damaged" in red_after_judging(home)["table[selection_versions]"][0]


def test_a_manifest_that_cannot_be_opened_is_a_finding(home):
    path = next(home.manifests.glob("??/*.json"))
    path.unlink()
    path.mkdir()
    assert list(red_after_judging(home)) == [f"manifest[{path.stem[:16]}]"]


@pytest.mark.parametrize("gone", [True, False])
def test_an_index_without_values_contradicts_an_event_log_that_has_some(home, gone):
    current: CurrentValues = {} if gone else read_current_values(home.store)
    events = [
        LoggedEvent(asset=value.asset, partition=value.partition, manifest=value.manifest, tags={})
        for value in read_current_values(home.store).values()
    ]
    nodes: dict[str, Node] = {}
    judge_events(Records(home.manifests), nodes, current, events, whole=True)
    assert (
        any(
            "index of current values is empty" in detail for node in nodes.values() for detail in node.details
        )
        == gone
    )
    assert ("table[heads]" in {node.name for node in nodes.values()}) == gone


@pytest.mark.parametrize("in_order", [True, False])
def test_the_latest_event_of_a_value_has_to_name_the_manifest_of_the_index(home, in_order):
    made_at = {one.version: one.decisions for one in read_versions(home.store, "best")}
    events = [
        LoggedEvent(asset="decisions", partition="best", manifest=made_at[version], tags={}, again=True)
        for version in ((2, 1) if in_order else (1, 2))
    ]
    nodes = {made_at[2]: Node(manifest=made_at[2], asset="decisions", partition="best")}
    judge_events(Records(home.manifests), nodes, read_current_values(home.store), events, whole=False)
    assert nodes[made_at[2]].consistent == in_order


def test_a_lost_manifest_that_was_made_again_agrees_with_the_later_event(home):
    folder, current = Records(home.manifests).folder, read_current_values(home.store)
    name = current[("decisions", "best")].manifest
    first = folder.read(name)
    folder.path(name).unlink()
    folder.write(replace(first, beside={"form": 1, "seconds": 2.0}))

    def event(**tags: str) -> LoggedEvent:
        more = {
            "dagster/data_version": first.data_version,
            "dagster/code_version": "1",
            "dagster/data_version_is_user_provided": "true",
        }
        stated = event_tags(folder.read(name), "") | more | tags
        return LoggedEvent(asset="decisions", partition="best", manifest=name, tags=stated)

    def wrong(*events: LoggedEvent) -> list[str]:
        nodes: dict[str, Node] = {}
        judge_events(Records(home.manifests), nodes, current, events, whole=True)
        return [detail for node in nodes.values() for detail in node.details]

    of_the_lost = {"tamis/beside": beside_digest(replace(first, beside={"form": 1, "seconds": 1.0}))}
    assert wrong(event(), event(**of_the_lost)) == []
    assert "tamis/beside" in wrong(event(**of_the_lost), event())[0], "what the latest says is binding"
    assert "tamis/input_key" in wrong(event(), event(**{"tamis/input_key": "0"}))[0]


def test_a_row_without_a_checksum_is_named(home):
    opened = home.store.open("heads")
    row = opened.to_arrow().slice(0, 1)
    bare = row.set_column(row.schema.get_field_index("seal"), "seal", pa.nulls(1, pa.string()))
    opened.add(bare.set_column(row.schema.get_field_index("asset"), "asset", pa.array(["put there"])))
    nodes: dict[str, Node] = {}
    judge_records(home, Records(home.manifests), nodes, quick=False)
    found = nodes["table[heads]"]
    assert found.status == "amber"
    assert "rows without a checksum: 1" in found.details
