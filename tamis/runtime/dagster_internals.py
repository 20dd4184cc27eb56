"""All of Dagster's private API that Tamis uses, each name with the reason; nothing else imports `dagster._*`.

`tests/runtime/test_dagster_internals.py` has a test of each, which fails where a version of Dagster lacks it
or behaves otherwise.
"""

from typing import Any

import dagster as dg
import dagster._core.instance.config as instance_configuration
import dagster._core.storage.event_log.sqlite.sqlite_event_log as events_on_sqlite
import dagster._core.storage.runs.sqlite.sqlite_run_storage as runs_on_sqlite
import dagster._core.storage.schedules.sqlite.sqlite_schedule_storage as schedules_on_sqlite
import dagster._core.storage.sql as sql_storage
from dagster._core.code_pointer import FileCodePointer, ModuleCodePointer
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    CodeLocationOrigin,
    RegisteredCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.event_log.schema import (
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageMetadata,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    HIDDEN_TAG_PREFIX,
    PARTITION_NAME_TAG,
    REPOSITORY_LABEL_TAG,
)
from dagster._core.utils import make_new_run_id
from dagster._serdes import deserialize_value
from dagster._utils.error import SerializableErrorInfo

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",  # a run over a range says so in two tags alone
    "ASSET_PARTITION_RANGE_START_TAG",
    "HIDDEN_TAG_PREFIX",  # the UI hides tags that begin so
    "PARTITION_NAME_TAG",  # a run of one partition says so in this tag alone
    "REPOSITORY_LABEL_TAG",  # the Timeline finds runs of a code location by it
    "SINGLETON_REPOSITORY_NAME",  # the repository's name in that label and in the origin of a run
    "SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION",  # an output with it logs no event beside ours
    "AssetCheckExecutionRecord",  # the type of the latest result of a check
    "AssetEventTagsTable",  # the log's tables are read in bulk: event by event, 10,000 take minutes
    "AssetKeyTable",
    "BulkActionStatus",  # backfills in flight are asked for by their status
    "BulkActionsFilter",
    "CodeLocationOrigin",  # the type of the code location that a sensor or a run is of
    "FileCodePointer",  # where the job of a run is defined: other code may have one of the same name
    "ModuleCodePointer",
    "PartitionBackfill",  # the type of a backfill
    "RegisteredCodeLocationOrigin",  # the origin that a run of the command line is given for the Timeline
    "RemoteRepositoryOrigin",
    "RunStorageSqlMetadata",  # the tables that a whole database has: a kill may leave some of them
    "ScheduleStorageSqlMetadata",
    "SerializableErrorInfo",  # the type of an error in the log, with those that caused it
    "SqlEventLogStorage",  # gives the connections by which the log's tables are read
    "SqlEventLogStorageMetadata",
    "SqlEventLogStorageTable",
    "deserialize_value",  # whether Dagster can read an event: the UI shows none of an asset where it cannot
    "dev_command",
    "events_on_sqlite",  # makes an engine a statement: kept ones take their place in these modules
    "instance_configuration",  # takes a path for a pattern: a reader by name takes its place
    "keep_no_compute_logs",
    "make_new_run_id",  # the id of a run is needed before it begins, to listen to its first event
    "runs_on_sqlite",
    "schedules_on_sqlite",
    "sql_storage",  # reads migrations at each opening: a class that keeps them takes its place
]


def dev_command() -> Any:
    """Return `dagster dev`, to run it in this process: another one would need signals passed on.

    It is imported by the command that runs it alone.
    """
    from dagster._cli.dev import dev_command as command

    return command


def keep_no_compute_logs(instance: dg.DagsterInstance) -> None:
    """Let this process keep no copy of what steps print; there is no public way for one process alone.

    Else Dagster copies what the terminal shows into a file and back, by four processes a run, two of which
    print a traceback at Ctrl-C.
    """
    instance._compute_log_manager = NoOpComputeLogManager()
