"""Where work runs: in this process, or on the workers of a Ray cluster, with the same results.

Methods hand their blocks to `current_engine().map(...)`; the step puts the project's engine in force.
"""

from tamis.engine.current import current_engine, engine_of, note, using
from tamis.engine.local import LOCAL, Engine, LocalEngine

__all__ = ["LOCAL", "Engine", "LocalEngine", "current_engine", "engine_of", "note", "using"]
