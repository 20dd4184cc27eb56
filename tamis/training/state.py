"""Resume state of a run: one safetensors file, replaced atomically every few seconds.

It holds the float32 weights that are trained, Adam moments, the losses so far and the step (12 bytes a
parameter: 70 MB for 6M). A state whose key differs (other data, options, model or device), or that a disk has
damaged, is ignored, never half used. `keep_newest` bounds what runs that were never finished leave behind.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.base.files import whole_file

if TYPE_CHECKING:
    from torch import Tensor

FILE = "state.safetensors"
FOLDER = "training"
"""Of the cache: resume states of every kind of training, none of which removes those of another."""


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """Where a run stood: steps done, seconds spent, tensors by name."""

    step: int
    seconds: float
    tensors: Mapping[str, "Tensor"]


def save_state(folder: Path, key: str, state: SavedState) -> None:
    """Replace the state in `folder`; a kill at any moment leaves the old one or the new one."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    metadata = {"key": key, "step": str(state.step), "seconds": repr(state.seconds)}
    with whole_file(folder / FILE) as draft:
        save_file(tensors, draft, metadata=metadata)


def load_state(folder: Path, key: str) -> SavedState | None:
    """The state of the run `key`, or None when there is none (or it is another run's)."""
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError:
        return None
    return SavedState(step=int(metadata["step"]), seconds=float(metadata["seconds"]), tensors=tensors)


def resume_folder(cache: Path, kind: str, name: str) -> Path:
    """Where a training of this kind keeps its resume state; `kind` is the asset that trains."""
    return cache / FOLDER / f"{kind}-{name}"


def keep_newest(folder: Path, count: int, kind: str = "") -> list[Path]:
    """Of the resume folders of a kind in `folder`, remove all but the `count` written to last; returns them.

    Those of other kinds stay: a base model may have trained for weeks when a trial begins. A finished run
    removes its own, so what is there belongs to runs that were stopped: the newest may go on, older ones are
    mostly of settings that have changed since.
    """
    own = f"{kind}-*" if kind else "*"
    found = [path for path in folder.glob(own) if path.is_dir()]
    removed = sorted(found, key=_last_written, reverse=True)[count:]
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)
    return removed


def _last_written(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
