"""Runs of the command line in the UI's Timeline, which shows those of a code location alone."""

import dagster as dg
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

LOCATION = "definitions.py"
"""The code location's name in workspace.yaml, by which homes know the states of its sensors."""
ORIGIN = RemoteRepositoryOrigin(
    code_location_origin=RegisteredCodeLocationOrigin(LOCATION),
    repository_name=SINGLETON_REPOSITORY_NAME,
)
IN_TIMELINE = {REPOSITORY_LABEL_TAG: ORIGIN.get_label()}
"""Tags of such a run."""


def show_in_timeline(instance: dg.DagsterInstance, run_id: str) -> None:
    """Let a run that this process is about to execute belong to the code location, from its first event on.

    A run that Dagster executes in process belongs to none, and what executes it takes no origin.
    """

    shown: set[str] = set()

    def see(entry: dg.EventLogEntry) -> None:
        if entry.run_id not in shown and (run := instance.get_run_by_id(entry.run_id)):
            shown.add(entry.run_id)
            instance.run_storage.replace_job_origin(run, ORIGIN.get_job_origin(run.job_name))

    instance.add_event_listener(run_id, see)
