"""Resume state of a run: one safetensors file, replaced atomically every few seconds.

It holds the float32 weights, Adam moments, the losses so far and the step (12 bytes a parameter: 70 MB for
6M). A state whose key differs (other data, options, model or device) is ignored, never half used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.training.files import replace_file

if TYPE_CHECKING:
    from torch import Tensor

FILE = "state.safetensors"


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
    draft = folder / f".{FILE}.draft"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    metadata = {"key": key, "step": str(state.step), "seconds": repr(state.seconds)}
    save_file(tensors, draft, metadata=metadata)
    replace_file(draft, folder / FILE)


def load_state(folder: Path, key: str) -> SavedState | None:
    """The state of the run `key`, or None when there is none (or it is another run's)."""
    from safetensors import safe_open

    path = folder / FILE
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("key") != key:
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    return SavedState(step=int(metadata["step"]), seconds=float(metadata["seconds"]), tensors=tensors)
