"""What the definitions depend on of tamis.toml: known from the settings alone, without a look at any file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tamis.graph.automation import stages_made
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.mixture.stage import SWARM_SETS
from tamis.project import Project
from tamis.stage import Automation
from tamis.training.stage import TRIALS_STAGE

LOADED_WITH = "tamis/used"
"""Metadata of the definitions: what the project used when they were loaded."""


@dataclass(frozen=True, kw_only=True)
class Used:
    """Stages that the project uses, in order of execution, and settings that the definitions state."""

    assets: tuple[str, ...]
    owner: str
    interval_seconds: int
    trial_budget: bool
    trainer: bool
    webhook: bool

    @property
    def text(self) -> str:
        """As JSON, by which it is compared; the metadata `LOADED_WITH` of definitions."""
        return json.dumps(asdict(self))


def used_by(project: Project) -> Used:
    """Return what a project uses: stages that are active, and have a partition if their sets are named in
    tamis.toml. Files and results are not asked, so a stage may be used that has nothing to do yet.
    """
    snapshot, settings = ProjectSnapshot(project, {}, {}, {}), project.settings
    assets = tuple(
        stage.name
        for stage in stages().values()
        if stage.active(snapshot)
        and (stage.partitions in ("shards", *SWARM_SETS) or snapshot.keys(stage.partitions))
    )
    searched = {TRIALS_STAGE.name, *stages_made(Automation.ONCE_SEARCHED)}
    return Used(
        assets=assets,
        owner=settings.project.owner,
        interval_seconds=settings.automation.interval_seconds,
        trial_budget=settings.trial_budget.share is not None and searched.issubset(assets),
        trainer=settings.trainer is not None,
        webhook=settings.automation.webhook is not None,
    )


def loaded_with(metadata: Mapping[str, Any]) -> Used:
    """Return what the project used when definitions with this metadata were loaded."""
    found = json.loads(metadata[LOADED_WITH].value)
    return Used(**found | {"assets": tuple(found["assets"])})
