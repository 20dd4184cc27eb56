"""The engine that long work runs on, as a resource: this process or a Ray cluster."""

from contextlib import AbstractContextManager

import dagster as dg

from resources.work import Work
from tamis.engine import Engine, engine_of, using
from tamis.project import Project


class EngineResource(dg.ConfigurableResource):
    """Puts the engine that [engine] of tamis.toml describes in force while a step computes."""

    def open(self, project: Project) -> Engine:
        """Return the engine; nothing is started yet."""
        return engine_of(project.settings.engine)

    def running(self, work: Work) -> AbstractContextManager[Engine]:
        """Run what is inside on it; the step's log gets its notes."""
        return using(self.open(work.project), work.context.log.info)
