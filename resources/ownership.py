"""Whose a run is: an instance may hold those of other homes and of other code locations.

Every run of a home has the home's id in a tag. The command line and the sensors put it there; a run that
somebody starts in the UI gets it when its process opens the store, before its first step, and so do runs
of backfills. Until then only its code location is known. Runs of Tamis 0.2 have no id, but tags that only
Tamis writes: they are this home's, unless another home uses the instance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.code_pointer import FileCodePointer, ModuleCodePointer
from dagster._core.remote_origin import CodeLocationOrigin

from tamis.base.installation import PLATFORM
from tamis.graph.stages import stages
from tamis.platform.resources.tags import DRIVER_TAG, HOME_TAG, PROCESS_TAG
from tamis.store.home import Home, home_id

ALIVE = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ACTIVE = [*ALIVE, dg.DagsterRunStatus.QUEUED]
"""A run in one of these has not ended."""
ASSET_JOB = "__ASSET_JOB"
DEFINITIONS = (PLATFORM / "definitions.py").resolve()
MODULES = frozenset({"tamis.platform.definitions", "definitions"})
"""Names of the definitions as a module; the second one is that of earlier versions."""
JOBS = frozenset({ASSET_JOB, "removal", "trials_on_request"})
"""Jobs of the definitions; the first is Dagster's name for runs of single assets."""


def tags_of(home: Home) -> dict[str, str]:
    """Return the tag of runs and materializations of a home; none before the home has an id."""
    known = home_id(home)
    return {HOME_TAG: known} if known else {}


def claim_run(instance: dg.DagsterInstance, run: dg.DagsterRun, home: Home) -> None:
    """Tag a run that executes steps of a home, unless it is tagged or the home has no id yet."""
    tags = tags_of(home)
    if tags and HOME_TAG not in run.tags:
        instance.add_run_tags(run.run_id, tags)


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A home as the owner of runs of an instance; `alone`: no other home has a run there."""

    id: str
    alone: bool

    @classmethod
    def of(cls, instance: dg.DagsterInstance, home: Home) -> "Owner":
        """Return the owner that a home is."""
        known = home_id(home)
        return cls(id=known, alone=other_homes(instance, known) == set())

    def owns(self, run: dg.DagsterRun) -> bool:
        """Return whether a run is of this home, as its tags say."""
        if HOME_TAG in run.tags:
            return run.tags[HOME_TAG] == self.id
        return self.alone and not run.tags.keys().isdisjoint((PROCESS_TAG, DRIVER_TAG))

    def may_own(self, run: dg.DagsterRun, location: CodeLocationOrigin | None = None) -> bool:
        """Return whether a run is of this home, or nobody's yet and of this code location.

        `location`: the code location, None where it is not known. Those of several homes may have the same
        name, and are told apart by their servers.
        """
        if HOME_TAG in run.tags or self.owns(run):
            return self.owns(run)
        ours = all(map(is_of_tamis, run.asset_selection or ()))
        if run.remote_job_origin is None or run.job_name not in JOBS or not ours or _is_of_other_code(run):
            return False
        if location is None:
            return self.alone and bool(run.asset_selection)
        there = run.remote_job_origin.repository_origin.code_location_origin
        return there.location_name == location.location_name if self.alone else there == location


def is_of_tamis(key: dg.AssetKey) -> bool:
    """Return whether an asset has a name that Tamis gives; others may have it below a prefix."""
    return len(key.path) == 1 and key.path[0] in stages()


def _is_of_other_code(run: dg.DagsterRun) -> bool:
    """Return whether a run's job is defined elsewhere; False where the run does not say where."""
    if run.job_code_origin is None:
        return False
    pointer = run.job_code_origin.repository_origin.code_pointer
    if isinstance(pointer, FileCodePointer):
        return Path(pointer.working_directory or "", pointer.python_file).resolve() != DEFINITIONS
    return not isinstance(pointer, ModuleCodePointer) or pointer.module not in MODULES


def other_homes(instance: dg.DagsterInstance, known: str) -> set[str]:
    """Return the ids of the other homes that have runs in an instance."""
    values = dict(instance.get_run_tags([HOME_TAG])).get(HOME_TAG, set())
    return set(values) - {known}


def active_runs(
    instance: dg.DagsterInstance, home: Home, location: CodeLocationOrigin | None = None
) -> Sequence[dg.DagsterRun]:
    """Return the runs that have not ended and are of this home, or may turn out to be."""
    runs = instance.get_runs(dg.RunsFilter(statuses=ACTIVE))
    owner = Owner.of(instance, home) if runs else None
    return [run for run in runs if owner and owner.may_own(run, location)]
