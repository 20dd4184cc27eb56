"""Work that tests send to workers; a module of its own, so that workers can import it."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tamis.base.errors import PermanentError, TransientError


class FieldError(PermanentError, ValueError):
    """Takes fields and composes its text, as the errors of Tamis do, so it cannot be unpickled plainly."""

    def __init__(self, name: str, row: int) -> None:
        self.name, self.row = name, row
        super().__init__(f"{name} is wrong in row {row}")


class BusyError(TransientError):
    """One that may be tried again."""


@dataclass(frozen=True)
class Counted:
    """State that notes in a folder how often it was unpickled, by which process."""

    folder: Path
    factor: int

    def __reduce__(self):
        return _loaded, (self.folder, self.factor)


def _loaded(folder: Path, factor: int) -> Counted:
    if folder.name != "nowhere":
        (folder / f"loaded-{os.getpid()}-{time.time_ns()}").touch()
    return Counted(folder, factor)


def multiply(state: Counted, block: int, advance) -> int:
    advance(block)
    return block * state.factor


def multiply_slowly(state: Counted, block: int, advance) -> int:
    (state.folder / f"began-{block}-{os.getpid()}-{time.time_ns()}").touch()
    time.sleep(0.4)
    advance(1)
    return block * state.factor


def where(_state: object, _block: int, _advance) -> str:
    import ray

    time.sleep(0.05)
    return ray.get_runtime_context().get_node_id()


def fail_on(state: str, block: int, _advance) -> int:
    if block == 3:
        raise {"permanent": FieldError("text", block), "transient": BusyError("busy"), "other": KeyError(3)}[
            state
        ]
    return block


def die_once(state: Path, block: int, _advance) -> int:
    """Killed as the system kills what takes too much memory, the first time."""
    if block == 2 and not (state / "died").exists():
        (state / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return block


def always_die(_state: object, block: int, _advance) -> int:
    if block == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return block


def run_out(state: Path, block: int, _advance) -> int:
    """Asks for more than there is, the first time."""
    if block == 1 and not (state / "ran-out").exists():
        (state / "ran-out").touch()
        raise MemoryError
    return block


def threads(_state: object, _block: int, _advance) -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ["RAYON_NUM_THREADS"]
