"""Whether what was loaded is a whole model: no weight missing, of another shape or without a finite value.

transformers draws at random what a file lacks and says so in its log alone; a trial would then measure a
model that nobody meant.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tamis.training.errors import UnknownModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAMED = 3  # weights that an error names
DRAWN_LATER = ("pooler.",)  # of the base model: beside the output layer of a classifier, new with it


def require_whole(name: str, model: "PreTrainedModel", report: Mapping[str, Any], new_head: bool) -> None:
    """Raise `UnknownModelError` where weights are missing, other in shape, or not finite.

    `report`: what transformers says of the loading. `new_head`: the output layer may be drawn again.
    """
    import torch

    lost = sorted({*report["missing_keys"], *(found[0] for found in report["mismatched_keys"])})
    prefix = f"{model.base_model_prefix}."
    if new_head:
        lost = [
            key
            for key in lost
            if key.startswith(prefix) and not key.removeprefix(prefix).startswith(DRAWN_LATER)
        ]
    if lost:
        told = f"its files lack {len(lost)} weights that config.json asks for, or hold them in another shape"
        raise UnknownModelError(name, f"{told}: {_some(lost)}")
    broken = [key for key, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if broken:
        raise UnknownModelError(name, f"weights that are no finite numbers: {_some(broken)}")


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more
