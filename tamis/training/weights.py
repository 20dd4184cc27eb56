"""AdamW on float32 master weights while the model computes in bfloat16.

Casting once a step beats autocast, which casts inside every operation: 11.8 against 8.2 thousand tokens a
second for 2.6M parameters in 4 layers on two cores, for .01 bits per byte more than float32 at 300,000
tokens. Only parameters are cast; rotary tables stay in float32. What is frozen is cast too, and has neither
moments nor a place in the resume state.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class MasterWeights:
    """Owner of a model's float32 weights and Adam moments; the model itself holds a working copy."""

    def __init__(
        self, model: "nn.Module", precision: "torch.dtype", *, betas: tuple[float, float], weight_decay: float
    ) -> None:
        import torch

        self._working = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._frozen = [
            (parameter, parameter.data) for parameter in model.parameters() if not parameter.requires_grad
        ]
        self._master = [parameter.detach().clone() for parameter in self._working]
        for parameter in model.parameters():
            parameter.data = parameter.data.to(precision)
        groups = [
            # Norm gains and biases are not decayed: shrinking them only rescales what follows.
            {
                "params": [weight for weight in self._master if weight.dim() >= 2],
                "weight_decay": weight_decay,
            },
            {"params": [weight for weight in self._master if weight.dim() < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], betas=betas, fused=True
        )
        for weight in self._master:
            self._optimizer.state[weight] = {
                "step": torch.zeros((), dtype=torch.float32, device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    def step(self, learning_rate: float, maximum_norm: float) -> None:
        """Clip the working gradients to `maximum_norm`, update the masters, refresh the working copy."""
        import torch

        for master, working in zip(self._master, self._working, strict=True):
            master.grad = None if working.grad is None else working.grad.float()
            working.grad = None
        torch.nn.utils.clip_grad_norm_(self._master, maximum_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._refresh()

    def _refresh(self) -> None:
        import torch

        with torch.no_grad():
            for working, master in zip(self._working, self._master, strict=True):
                working.copy_(master)

    def tensors(self) -> dict[str, "Tensor"]:
        """Everything the next step depends on, by name; the tensors themselves, not copies."""
        named = {}
        for index, weight in enumerate(self._master):
            named[f"{index}.weight"] = weight.detach()
            named.update({f"{index}.{key}": value for key, value in self._optimizer.state[weight].items()})
        return named

    def restore(self, tensors: Mapping[str, "Tensor"]) -> None:
        """Take over the values that `tensors` gave."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self._refresh()

    def values(self) -> dict[str, "Tensor"]:
        """The float32 weights alone, by name; the tensors themselves."""
        return {f"{index}.weight": weight.detach() for index, weight in enumerate(self._master)}

    def take(self, values: Mapping[str, "Tensor"]) -> None:
        """Take over weights that `values` gave; the moments stay as they are."""
        for name, weight in self.values().items():
            weight.copy_(values[name])
        self._refresh()

    def release(self) -> None:
        """Give the model its float32 weights."""
        for parameter, original in self._frozen:
            parameter.data = original
        for master, working in zip(self._master, self._working, strict=True):
            working.data = master.detach()
