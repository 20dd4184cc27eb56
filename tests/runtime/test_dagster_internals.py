"""Each private name of Dagster that Tamis uses is there, and does what it is used for."""

import ast
import time
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
from dagster._core.storage.tags import TagType, get_tag_type
from import_scan import product

from tamis.runtime import dagster_internals
from tamis.runtime.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    HIDDEN_TAG_PREFIX,
    PARTITION_NAME_TAG,
    REPOSITORY_LABEL_TAG,
    SINGLETON_REPOSITORY_NAME,
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION,
    AssetCheckExecutionRecord,
    AssetEventTagsTable,
    AssetKeyTable,
    BulkActionsFilter,
    BulkActionStatus,
    CodeLocationOrigin,
    FileCodePointer,
    ModuleCodePointer,
    PartitionBackfill,
    RegisteredCodeLocationOrigin,
    RemoteRepositoryOrigin,
    RunStorageSqlMetadata,
    ScheduleStorageSqlMetadata,
    SerializableErrorInfo,
    SqlEventLogStorage,
    SqlEventLogStorageMetadata,
    SqlEventLogStorageTable,
    deserialize_value,
    dev_command,
    events_on_sqlite,
    instance_configuration,
    keep_no_compute_logs,
    make_new_run_id,
    runs_on_sqlite,
    schedules_on_sqlite,
    sql_storage,
)

HERE = "tamis/runtime/dagster_internals.py"
QUIET = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"


def private_imports(tree: ast.AST) -> list[str]:
    """Modules of Dagster's private API that are imported, inside functions and for type checkers too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.startswith("dagster._")]


@pytest.fixture
def instance(tmp_path):
    """An instance on SQLite, as Dagster makes it."""
    (tmp_path / "dagster.yaml").write_text(QUIET)
    with dg.DagsterInstance.from_config(str(tmp_path)) as found:
        yield found


@dg.asset
def plain() -> None: ...


@dg.asset(
    partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c"]),
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def parted(context: dg.AssetExecutionContext) -> None:
    context.add_output_metadata({"keys": ",".join(context.partition_keys)})


def test_no_other_file_of_the_product_imports_private_api():
    found = {file: private_imports(tree) for file, tree in product().items()}
    assert {file for file, names in found.items() if names} == {HERE}


@pytest.mark.parametrize(
    "source",
    ["import dagster._core.utils", "def f():\n    from dagster import _core", "from dagster._cli import dev"],
)
def test_an_import_of_private_api_is_found(source):
    assert private_imports(ast.parse(source))


def test_each_name_has_a_test_and_no_other_is_imported():
    text = Path(__file__).read_text()
    tests = text[text.index("def test_each_name_has") :]
    assert [name for name in dagster_internals.__all__ if name not in tests] == []
    own = {"dev_command", "keep_no_compute_logs"}
    imported = {
        alias.asname or alias.name
        for node in product()[HERE].body
        if isinstance(node, ast.Import | ast.ImportFrom) and "dagster._" in ast.unparse(node)
        for alias in node.names
    }
    assert imported - {"NoOpComputeLogManager"} == set(dagster_internals.__all__) - own


def test_instance_files_are_read_by_the_function_that_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").write_text(QUIET)
    read, before = [], instance_configuration.load_yaml_from_globs
    monkeypatch.setattr(
        instance_configuration, "load_yaml_from_globs", lambda *paths: read.append(paths) or before(*paths)
    )
    dg.DagsterInstance.from_config(str(tmp_path)).dispose()
    assert read == [(str(tmp_path / "dagster.yaml"),)]


@pytest.mark.parametrize("module", [events_on_sqlite, runs_on_sqlite, schedules_on_sqlite])
def test_engines_are_made_by_the_function_that_is_replaced(module, tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").write_text(QUIET)
    made, before = [], module.create_engine
    monkeypatch.setattr(
        module, "create_engine", lambda address, **named: made.append(address) or before(address, **named)
    )
    dg.DagsterInstance.from_config(str(tmp_path)).dispose()
    assert made
    assert all(address.startswith("sqlite:///") and str(tmp_path) in address for address in made)


def test_migrations_are_read_by_the_class_that_is_replaced(instance, monkeypatch):
    asked, before = [], sql_storage.ScriptDirectory

    class Noting(before):
        @classmethod
        def from_config(cls, config):
            asked.append(config)
            return before.from_config(config)

    monkeypatch.setattr(sql_storage, "ScriptDirectory", Noting)
    present, newest = instance.event_log_storage.alembic_version()
    assert present == newest
    assert len(asked) == 1


def test_a_code_pointer_says_which_file_or_module_defines_a_job(tmp_path):
    (tmp_path / "made_up.py").write_text("import dagster as dg\n\n@dg.job\ndef work(): ...\n")
    pointer = FileCodePointer(str(tmp_path / "made_up.py"), "work", str(tmp_path))
    assert Path(pointer.working_directory, pointer.python_file) == tmp_path / "made_up.py"
    assert pointer.load_target().name == "work"
    assert ModuleCodePointer("a.b", "defs").module == "a.b"


def test_the_repository_of_definitions_has_the_name_of_the_origin():
    assert dg.Definitions(assets=[plain]).get_repository_def().name == SINGLETON_REPOSITORY_NAME


def test_a_run_with_an_origin_is_found_by_the_label_of_its_code_location(instance):
    location = RegisteredCodeLocationOrigin("definitions.py")
    assert isinstance(location, CodeLocationOrigin)
    assert location.location_name == "definitions.py"
    origin = RemoteRepositoryOrigin(code_location_origin=location, repository_name=SINGLETON_REPOSITORY_NAME)
    assert origin.get_label() == "__repository__@definitions.py"
    run = dg.DagsterRun(job_name="a", run_id=make_new_run_id(), remote_job_origin=origin.get_job_origin("a"))
    instance.add_run(run)
    (found,) = instance.get_runs(dg.RunsFilter(tags={REPOSITORY_LABEL_TAG: origin.get_label()}))
    assert found.remote_job_origin.repository_origin.code_location_origin == location


def test_an_output_with_the_mark_logs_no_event():
    def made(metadata: dict) -> int:
        @dg.asset
        def marked() -> dg.MaterializeResult:
            return dg.MaterializeResult(metadata=metadata)

        return len(dg.materialize([marked]).asset_materializations_for_node("marked"))

    assert made({"any": 1}) == 1
    assert made({SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}) == 0


def test_backfills_are_found_by_their_status(instance):
    for status in (BulkActionStatus.REQUESTED, BulkActionStatus.COMPLETED_SUCCESS):
        backfill = PartitionBackfill(
            backfill_id=status.value,
            status=status,
            from_failure=False,
            tags={},
            backfill_timestamp=time.time(),
            asset_selection=[dg.AssetKey("plain")],
        )
        instance.add_backfill(backfill)
    waiting = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    (found,) = instance.get_backfills(BulkActionsFilter(statuses=waiting))
    assert (found.backfill_id, found.asset_selection) == ("REQUESTED", [dg.AssetKey("plain")])


def test_the_latest_result_of_a_check_is_a_record_with_its_event(instance):
    key = dg.AssetCheckKey(dg.AssetKey("plain"), "sound")
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=key.asset_key, check_name=key.name, passed=False, description="no")
    )
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert isinstance(record, AssetCheckExecutionRecord)
    assert (record.run_id, record.event.asset_check_evaluation.description) == ("", "no")


def test_the_tables_of_the_log_hold_an_event_with_its_tags_and_its_asset(instance):
    assert dg.materialize([plain], instance=instance).success
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    rows, tags, assets = SqlEventLogStorageTable.c, AssetEventTagsTable.c, AssetKeyTable.c
    made = rows.dagster_event_type == "ASSET_MATERIALIZATION"
    columns = [
        rows.id,
        rows.asset_key,
        rows.partition,
        rows.run_id,
        rows.step_key,
        rows.timestamp,
        rows.event,
    ]
    with storage.index_connection() as connection:
        (event,) = connection.execute(sqlalchemy.select(*columns).where(made)).all()
        of_event = sqlalchemy.select(tags.key, tags.value, tags.asset_key, tags.event_timestamp)
        tagged = connection.execute(of_event.where(tags.event_id == event.id)).all()
        of_asset = [
            assets.asset_key, assets.last_materialization, assets.last_run_id, assets.asset_details,
            assets.wipe_timestamp, assets.last_materialization_timestamp,
        ]  # fmt: skip
        (asset,) = connection.execute(sqlalchemy.select(*of_asset)).all()
    assert "dagster/data_version" in {row.key for row in tagged}
    assert event.asset_key == asset.asset_key == '["plain"]'
    assert event.run_id == asset.last_run_id
    assert storage.is_run_sharded
    assert Path(storage.path_for_shard(event.run_id)).is_file()
    with storage.run_connection(event.run_id) as connection:
        assert connection.execute(sqlalchemy.select(rows.event).where(made)).scalar() == event.event


@pytest.mark.parametrize(
    ("path", "metadata"),
    [
        ("history/runs.db", RunStorageSqlMetadata),
        ("history/runs/index.db", SqlEventLogStorageMetadata),
        ("schedules/schedules.db", ScheduleStorageSqlMetadata),
    ],
)
def test_a_new_database_has_the_tables_of_its_metadata(instance, tmp_path, path, metadata):
    assert instance.root_directory == str(tmp_path)
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / path}")
    there = set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()
    assert len(metadata.tables) > 3
    assert set(metadata.tables) <= there


def test_an_event_is_read_as_it_was_stored_and_nothing_else_is(instance):
    assert dg.materialize([plain], instance=instance).success
    (record,) = instance.fetch_materializations(dg.AssetKey("plain"), limit=1).records
    assert (
        deserialize_value(dg.serialize_value(record.event_log_entry), dg.EventLogEntry)
        == record.event_log_entry
    )
    for text in ("{}", "no JSON", dg.serialize_value(record.event_log_entry)[:-9]):
        with pytest.raises(Exception, match=r"."):
            deserialize_value(text, dg.EventLogEntry)


def test_a_process_may_keep_nothing_that_steps_print(instance, tmp_path, capsys):
    @dg.asset
    def speaking() -> None:
        print("heard")

    keep_no_compute_logs(instance)
    assert dg.materialize([speaking], instance=instance).success
    assert "heard" in capsys.readouterr().out
    kept = [path for path in (tmp_path / "storage").rglob("*") if path.suffix in (".out", ".err")]
    assert kept == []


def test_tags_say_of_which_partitions_a_run_is(instance):
    one = dg.materialize([parted], instance=instance, partition_key="b")
    assert one.dagster_run.tags[PARTITION_NAME_TAG] == "b"
    ends = {ASSET_PARTITION_RANGE_START_TAG: "a", ASSET_PARTITION_RANGE_END_TAG: "b"}
    many = dg.materialize([parted], instance=instance, tags=ends)
    made = many.asset_materializations_for_node("parted")
    assert {(event.partition, event.metadata["keys"].value) for event in made} == {("a", "a,b"), ("b", "a,b")}


def test_the_ui_hides_tags_of_the_prefix():
    assert get_tag_type(f"{HIDDEN_TAG_PREFIX}any") == TagType.HIDDEN
    assert get_tag_type("any") != TagType.HIDDEN


def test_a_run_has_the_id_that_it_is_given(instance):
    run_id = make_new_run_id()
    assert run_id != make_new_run_id()
    seen = []
    instance.add_event_listener(run_id, seen.append)
    done = (
        dg.Definitions(assets=[plain])
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(instance=instance, run_id=run_id)
    )
    assert done.run_id == run_id
    assert {entry.run_id for entry in seen} == {run_id}


def test_an_error_in_the_log_names_its_class_and_its_cause(instance):
    @dg.asset
    def failing() -> None:
        raise ValueError("as told")

    done = dg.materialize([failing], instance=instance, raise_on_error=False)
    (event,) = [one for one in done.all_events if one.is_step_failure]
    error = event.step_failure_data.error
    assert isinstance(error, SerializableErrorInfo)
    assert (error.cause.cls_name, error.cause.message) == ("ValueError", "ValueError: as told\n")


def test_dagster_dev_is_a_command_with_the_options_that_are_given():
    workspace = str(Path(__file__).resolve().parents[2] / "workspace.yaml")
    arguments = ["-w", workspace, "-h", "127.0.0.1", "-p", "4000", "--log-level", "info"]
    with dev_command().make_context("dagster dev", arguments) as context:
        assert (context.params["host"], str(context.params["port"])) == ("127.0.0.1", "4000")
