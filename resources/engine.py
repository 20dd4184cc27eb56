"""The engine that long work runs on, as a resource: this process or a Ray cluster."""

from contextlib import AbstractContextManager

import dagster as dg

from tamis.engine import Engine, engine_of, using
from tamis.project import Project
from tamis.runtime.step import Work
from tamis.trust import require_trusted


class EngineResource(dg.ConfigurableResource):
    """Puts the engine that [engine] of tamis.toml describes in force while a step computes."""

    def open(self, project: Project) -> Engine:
        """Return the engine; nothing is started yet. Raises `UntrustedError`."""
        require_trusted(project)
        return engine_of(project.settings.engine)

    def running(self, work: Work) -> AbstractContextManager[Engine]:
        """Run what is inside on it; the step's log gets its notes."""
        return using(self.open(work.project), work.context.log.info)
