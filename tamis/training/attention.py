"""Causal attention as three plain matrix products, faster than the fused kernel for short rows on a CPU.

Rows of 256 tokens, 4 heads of 32, forward and backward in bfloat16 on one core: 18 ms here, 27 ms in
transformers' eager attention, 41 ms in PyTorch's fused one. Memory grows with the square of the row, so
longer rows, other devices and other families than Llama stay with the fused kernel. A step of a
classifier of .8M parameters on 16 rows of up to 128 tokens takes 83 ms on one core, 111 ms with the fused one
and its mask (`python -m benchmarks.training --threads 1 --batch-size 16 --length 128`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

NAME = "tamis-plain"
LONGEST_ROW = 512


def choose_attention(model: "PreTrainedModel", sequence_length: int) -> None:
    """Switch a Llama model on a CPU to plain attention when its rows are short; else leave it as loaded."""
    from transformers import AttentionInterface

    config = model.config
    plain = model.device.type == "cpu" and sequence_length <= LONGEST_ROW
    if plain and config.model_type == "llama" and not config.attention_dropout:
        AttentionInterface.register(NAME, plain_attention)
        model.set_attn_implementation(NAME)


def wants_mask(model: "PreTrainedModel") -> bool:
    """Return whether what fills rows up has to be masked; on the right, plain attention never looks at it."""
    return bool(model.config._attn_implementation != NAME)


def plain_attention(
    module: "torch.nn.Module",
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor | None",
    scaling: float,
    **others: Any,
) -> tuple["Tensor", None]:
    """transformers' attention interface: query [b, h, l, d], key and value [b, g, l, d] to [b, l, h, d].

    Always causal over the whole row, so there is no cache.
    """
    import torch

    assert attention_mask is None, "padding is on the right, where no mask is needed"
    batch, heads, length, width = query.shape
    groups = heads // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    future = torch.full((length, length), -torch.inf, dtype=query.dtype, device=query.device).triu_(1)
    scores = torch.baddbmm(future, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=scaling)
    mixed = torch.bmm(torch.softmax(scores, -1), value.flatten(0, 1))
    return mixed.view(batch, heads, length, width).transpose(1, 2), None
