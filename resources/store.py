"""The project as a resource: its tables, its manifests, and the work of steps.

Assets get their work from here and hand back what they wrote; input keys, manifests, events and current
values are made in one place (`tamis/runtime`).
"""

from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

import dagster as dg

from tamis.graph.snapshot import ProjectSnapshot
from tamis.project import Project, open_project
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.runtime.opening import Seen, opened
from tamis.runtime.runs import (
    claim_run,
)
from tamis.runtime.step import Work
from tamis.scan.sources import kept_listing, scan_again, scan_files, searched
from tamis.store.home import Home
from tamis.store.tables import Store


class StoreResource(dg.ConfigurableResource):
    """Opens the project of a tamis.toml, and gives the steps of a run their work."""

    project_file: str

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Claim the run for the home, before its first step."""
        if context.run is not None and context.instance is not None:
            claim_run(context.instance, context.run, self.home)

    @cached_property
    def project(self) -> Project:
        """The project, read once."""
        return open_project(Path(self.project_file).parent)

    @property
    def home(self) -> Home:
        """The home folder."""
        return self.project.home

    @property
    def tables(self) -> Store:
        """All tables."""
        return self.project.home.store

    @cached_property
    def manifests(self) -> ManifestFolder:
        """All manifests."""
        return ManifestFolder.of(self.project.home)

    @cached_property
    def seen(self) -> Seen:
        """What the run that looked at the sources last saw of them."""
        return Seen()

    def scan(self, within: float | None = None) -> tuple[ProjectSnapshot, CurrentValues]:
        """Return the snapshot of now and the current values; a listing `within` so many seconds is good."""
        listing = None if within is None else kept_listing(self.project, within)
        snapshot, current = scan_files(self.project, listing=listing), self.current()
        return searched(snapshot, current), current

    def at_end_of(self, run: dg.DagsterRun) -> tuple[ProjectSnapshot, CurrentValues]:
        """Return the sources as the steps of a run saw them, and the current values; without steps, those of
        now.
        """
        if self.seen.snapshot is None or self.seen.by != f"{run.run_id} ":
            return self.scan()
        current = self.current()
        return scan_again(self.seen.snapshot, current), current

    def current(self) -> CurrentValues:
        """The latest materialization of everything."""
        return read_current_values(self.tables)

    def work(self, context: dg.AssetExecutionContext, name: str) -> AbstractContextManager[Work]:
        """The work of the step on a stage: which partitions to make, with their inputs pinned as of now.

        Raises `NothingDueError` where there are none.
        """
        return opened(self, context, name)
