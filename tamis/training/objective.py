"""Loss of a batch under a model: the loss whose gradient a step follows, and what is scored by itself.

A step over several batches divides each by the targets of all of them, so that accumulated gradients are
those of one large batch even where batches hold unequal numbers of targets.
"""

from typing import TYPE_CHECKING

from tamis.training.attention import wants_mask
from tamis.training.models import Kind, LoadedModel
from tamis.training.packing import IGNORED, Batch
from tamis.training.pooling import averages, mean_logits

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

BLOCK_ELEMENTS = 1 << 24  # logits held at once
TINY = 1.2e-38  # smallest normal float32: a target's loss is capped at 87 nats
CHUNK_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 24}
"""Logits in float32 at once: 2 MiB stay in a processor's cache; what a GPU needs is few operations."""


def linear_cross_entropy(
    hidden: "Tensor",
    weight: "Tensor",
    targets: "Tensor",
    count: int | None = None,
    *,
    weight_wanted: bool = True,
) -> tuple["Tensor", "Tensor", "Tensor | None"]:
    """Mean cross entropy in nats and its gradients: loss [], hidden [n, d], weight [V, d].

    `hidden` [n, d] and `weight` [V, d] share a dtype, which gradients have too; `targets` [n] are int64. The
    sum is divided by `count`, where given, instead of n. A frozen `weight` has no gradient (None).
    """
    import torch

    count, vocabulary = count or len(targets), len(weight)
    rows = max(1, BLOCK_ELEMENTS // vocabulary)
    total = torch.zeros((), device=hidden.device)
    gradient_hidden = torch.empty_like(hidden)
    gradient_weight = None
    for start in range(0, len(targets), rows):
        block = slice(start, start + rows)
        logits = hidden[block] @ weight.T
        total += _to_gradient(logits, targets[block])
        torch.mm(logits, weight, out=gradient_hidden[block])
        if not weight_wanted:
            continue
        part = logits.T @ hidden[block]
        gradient_weight = part if gradient_weight is None else gradient_weight + part
    if gradient_weight is not None:
        gradient_weight.div_(count)
    return total / count, gradient_hidden.div_(count), gradient_weight


def _to_gradient(logits: "Tensor", targets: "Tensor") -> "Tensor":
    """Overwrite logits [n, V] by softmax - one-hot; the summed loss [] in float32."""
    import torch

    total = torch.zeros((), device=logits.device)
    rows = _chunk_rows(logits.device, logits.shape[1])
    for start in range(0, len(logits), rows):
        chunk = logits[start : start + rows]
        target = targets[start : start + rows, None]
        probability = torch.softmax(chunk.float(), -1)
        hit = probability.gather(1, target)
        total -= hit.clamp(min=TINY).log().sum()
        chunk.copy_(probability.scatter_(1, target, hit - 1))
    return total


def _chunk_rows(device: "torch.device", vocabulary: int) -> int:
    """Rows of logits in float32 at once."""
    return max(1, CHUNK_ELEMENTS.get(device.type, CHUNK_ELEMENTS["cuda"]) // vocabulary)


def token_losses(hidden: "Tensor", weight: "Tensor", targets: "Tensor") -> "Tensor":
    """Cross entropy of every token in nats: float32 [n]; `hidden` [n, d], `weight` [V, d], `targets` [n]."""
    import torch

    losses = torch.empty(len(targets), device=hidden.device)
    rows = _chunk_rows(hidden.device, len(weight))
    for start in range(0, len(targets), rows):
        chunk = slice(start, start + rows)
        logits = (hidden[chunk] @ weight.T).float()
        losses[chunk] = torch.nn.functional.cross_entropy(logits, targets[chunk], reduction="none")
    return losses


def backward(loaded: LoadedModel, batch: Batch, count: int | None = None) -> "Tensor":
    """Loss [] in nats, gradients added to the parameters: the sum over the batch by `count`.

    `count`: targets of the whole step, those of this batch where it is not given.
    """
    if loaded.plain_head and loaded.kind == Kind.CAUSAL:
        return _plain_backward(loaded, batch, count)
    import torch

    logits, targets = _scored_logits(loaded, batch)
    loss = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
    loss = loss / (len(targets) if count is None else count)
    loss.backward()
    return loss.detach()


def _plain_backward(loaded: LoadedModel, batch: Batch, count: int | None) -> "Tensor":
    hidden = loaded.hidden(_tensor(loaded, batch.rows)[:, :-1].clamp(min=0)).flatten(0, 1)
    flat = _tensor(loaded, batch.targets).flatten()
    if batch.first_scored is not None or batch.scored is not None or batch.rows.min() == IGNORED:
        scored = flat != IGNORED
        hidden, flat = hidden[scored], flat[scored]
    head = loaded.head
    loss, hidden_gradient, head_gradient = linear_cross_entropy(
        hidden.detach(), head.detach(), flat, count, weight_wanted=head.requires_grad
    )
    hidden.backward(hidden_gradient)
    if head_gradient is not None:
        # A tied output layer already has the gradient of the embeddings.
        head.grad = head_gradient if head.grad is None else head.grad.add_(head_gradient)
    return loss


def target_nats(loaded: LoadedModel, batch: Batch) -> "Tensor":
    """Code length of what is scored in each row: float64 [b], in nats."""
    import torch

    targets = _tensor(loaded, batch.targets if batch.classes is None else batch.classes)
    scored = targets != IGNORED
    if loaded.plain_head and loaded.kind == Kind.CAUSAL:
        inputs = _tensor(loaded, batch.rows)[:, :-1].clamp(min=0)
        losses = token_losses(loaded.hidden(inputs)[scored], loaded.head, targets[scored])
    else:
        logits, scored_targets = _scored_logits(loaded, batch)
        losses = torch.nn.functional.cross_entropy(logits.float(), scored_targets, reduction="none")
    return torch.bincount(torch.nonzero(scored)[:, 0], losses.double(), minlength=len(batch.rows))


def row_logits(loaded: LoadedModel, batch: Batch) -> "Tensor":
    """Logits of a model that reads whole rows: [b, classes], or [b, l, V] of hidden tokens."""
    rows = _tensor(loaded, batch.rows)
    inside = rows != IGNORED
    tokens = rows.masked_fill(~inside, loaded.model.config.pad_token_id or 0)
    mask = {"attention_mask": inside.long()} if wants_mask(loaded.model) else {"use_cache": False}
    if averages(loaded.model):
        return mean_logits(loaded.model, tokens, inside, mask)
    return loaded.model(input_ids=tokens, **mask).logits


def _scored_logits(loaded: LoadedModel, batch: Batch) -> tuple["Tensor", "Tensor"]:
    """Logits [n, V] and targets [n] of everything in the batch that is scored."""
    if loaded.kind == Kind.CLASSIFIER:
        assert batch.classes is not None, "a classifier learns from labelled texts"
        return row_logits(loaded, batch), _tensor(loaded, batch.classes)
    targets = _tensor(loaded, batch.targets)
    scored = targets != IGNORED
    if loaded.kind == Kind.MASKED:
        return row_logits(loaded, batch)[scored], targets[scored]
    inputs = _tensor(loaded, batch.rows)[:, :-1].clamp(min=0)
    if loaded.kind == Kind.CAUSAL:
        # Padding is on the right, where causal attention never looks: no mask.
        logits = loaded.model(input_ids=inputs, use_cache=False).logits
    else:
        assert batch.sources is not None, "an encoder-decoder learns from pairs"
        sources = _tensor(loaded, batch.sources)
        inside = sources != IGNORED
        logits = loaded.model(
            input_ids=sources.clamp(min=0),
            attention_mask=inside.long(),
            decoder_input_ids=inputs,
            use_cache=False,
        ).logits
    return logits[scored], targets[scored]


def _tensor(loaded: LoadedModel, values: "np.ndarray") -> "Tensor":
    import torch

    return torch.tensor(values, device=loaded.device)
