"""A worker: a process on some machine that keeps one state and does work on the blocks it is sent.

The state comes as bytes under a name made of them: unpickled when it is first used, kept until another one
is. What goes wrong in the work goes back as a value, so that Ray's own errors mean that a worker was lost.
"""

import importlib.metadata
import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "LANCE_CPU_THREADS",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a block: its result or an error, and how far the progress went on."""

    result: Any = None
    error: "RemoteError | None" = None
    advanced: int = 0


@dataclass(frozen=True, kw_only=True)
class RemoteError:
    """An error in a form that can always be sent: pickled where that gives the same error, or in parts."""

    pickled: bytes | None
    kind: type[BaseException]
    arguments: tuple[Any, ...]
    fields: dict[str, Any]
    trace: str
    out_of_memory: bool

    @classmethod
    def of(cls, error: BaseException) -> "RemoteError":
        """The error that is being handled."""
        return cls(
            pickled=_pickled(error),
            kind=type(error),
            arguments=tuple(argument for argument in error.args if _same(argument)) or (str(error),),
            fields={name: value for name, value in vars(error).items() if _same(value)},
            trace=traceback.format_exc(),
            out_of_memory=isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError",
        )

    def error(self) -> BaseException:
        """The error again, of its own class, with a note about where it happened."""
        if self.pickled is not None:
            error: BaseException = pickle.loads(self.pickled)
        else:  # our classes take fields and compose their text, which is known already
            error = self.kind.__new__(self.kind, *self.arguments)
            error.args = self.arguments
            error.__dict__.update(self.fields)
        error.add_note(f"raised in a worker of the Ray cluster:\n{self.trace}")
        return error


def _pickled(error: BaseException) -> bytes | None:
    try:
        content = pickle.dumps(error)
        again = pickle.loads(content)
    except Exception:
        return None
    return content if type(again) is type(error) and str(again) == str(error) else None


def _same(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:
        return False
    return True


class Worker:
    """One process of the pool. threads: for each library that has threads of its own."""

    def __init__(self, environment: dict[str, str], threads: int) -> None:
        os.environ.update(environment)
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        self._key = ""
        self._state: Any = None
        # For libraries that are loaded already; the others, torch among them, read the environment.
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads)

    def likeness(self) -> tuple[str, int]:
        """What must be alike on every machine, and this process."""
        return likeness(), os.getpid()

    def run(self, work: Callable[..., Any], key: str, holder: list[Any], block: Any) -> Outcome:
        """Do the work on a block; `holder` keeps the state's bytes from being fetched where it is known."""
        advanced = 0

        def advance(rows: int) -> None:
            nonlocal advanced
            advanced += rows

        try:
            result = work(self._known(key, holder), block, advance)
            return Outcome(result=result, advanced=advanced)
        except Exception as error:
            return Outcome(error=RemoteError.of(error))

    def forget(self) -> None:
        """Let go of the state."""
        self._key, self._state = "", None

    def _known(self, key: str, holder: list[Any]) -> Any:
        if key != self._key:
            import ray

            self.forget()  # first: two models may not fit into memory at once
            self._state = pickle.loads(ray.get(holder[0]))
            self._key = key
        return self._state


def likeness() -> str:
    """The version of Tamis and of the formats that blocks and results are sent in."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tamis", "numpy", "pyarrow"))
