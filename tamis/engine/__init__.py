"""Where work runs: in this process, or on the workers of a Ray cluster, with the same results.

Methods hand their blocks to `current_engine().map(...)`; the step puts the project's engine in force.
"""

from functools import cache

from tamis.engine.current import current_engine, note, using
from tamis.engine.local import LOCAL, Engine, LocalEngine
from tamis.engine.ray_engine import RayEngine
from tamis.settings.sections import EngineSection

__all__ = ["LOCAL", "Engine", "LocalEngine", "current_engine", "engine_of", "note", "using"]


@cache
def engine_of(section: EngineSection) -> Engine:
    """The engine that [engine] of tamis.toml describes, one a process; nothing is started yet."""
    return LOCAL if section.kind == "local" else RayEngine(section)
