"""RDS+: a language model's own hidden states as vectors, then round-robin (Ivison et al. 2503.01807).

What the model to be fine-tuned makes of a text, instead of an encoder's view: the best representation on one
of two pools in arXiv 2602.14696. The price is a forward pass of that model over the whole pool: 1.2 s of one
core for 135M parameters and a document of 1,100 characters, where the static encoder takes .5 ms.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.base.progress import Advance, ignore
from tamis.samplers.choice import Choice, check_texts
from tamis.samplers.neighbours import round_robin
from tamis.training.models import load_model
from tamis.transport.cost import BadShapeError
from tamis.transport.potential import Float32s, resolve_device

if TYPE_CHECKING:
    from tamis.training.models import LoadedModel

MAX_TOKENS = 512
BATCH_TOKENS = 8_192


def hidden_states(
    target: Sequence[str],
    candidates: Sequence[str],
    k: int,
    *,
    model: "LoadedModel | str | Path",
    seed: int = 0,
    ids: Sequence[str] | None = None,
    max_tokens: int = MAX_TOKENS,
    device: str = "auto",
    advance: Advance = ignore,
) -> Choice:
    """k of the candidate texts by round-robin on cosines of the model's hidden states, as published.

    model: a loaded one, a folder, a hub id or "smollm2-135m". score [n]: rank, as `round_robin`; seed and ids
    decide between equal distances. Raises `BadTextError` on what is no text, ValueError on no texts, and
    unless 1 <= k <= n.
    """
    check_texts(target, "target")
    check_texts(candidates, "candidates")
    loaded = _loaded(model, max_tokens, device)
    target_md, vectors_nd = (
        hidden_state_vectors(texts, loaded, max_tokens=max_tokens, advance=advance)
        for texts in (target, candidates)
    )
    return round_robin(target_md, vectors_nd, k, seed=seed, ids=ids, center=False, device=device)


def hidden_state_vectors(
    texts: Sequence[str],
    model: "LoadedModel | str | Path",
    *,
    max_tokens: int = MAX_TOKENS,
    device: str = "auto",
    advance: Advance = ignore,
) -> Float32s:
    """Vectors [n, d] of length 1: mean of the last hidden states with weights 1, 2, 3, ... by position.

    The weights are those of SGPT (Muennighoff 2202.08904): a causal model has read more at later tokens.
    Texts are cut at max_tokens; one without tokens is read as the end token. Raises ValueError on no texts.
    """
    import torch

    if not len(texts) or max_tokens < 1:
        raise BadShapeError("texts", f"{len(texts)} texts, max_tokens = {max_tokens}", "1 or more of each")
    loaded = _loaded(model, max_tokens, device)
    longest = min(max_tokens, getattr(loaded.model.config, "max_position_embeddings", max_tokens))
    encoded: Any = loaded.tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    end = loaded.tokenizer.eos_token_id
    tokens = [ids or [0 if end is None else int(end)] for ids in encoded]
    vectors_nd = np.empty((len(texts), loaded.model.config.hidden_size), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda row: len(tokens[row]))
    loaded.model.eval()
    with torch.inference_mode():
        for rows in _batches(order, tokens):
            vectors_nd[rows] = _pooled(loaded, [tokens[row] for row in rows])
            advance(len(rows))
    return vectors_nd


def _loaded(model: "LoadedModel | str | Path", max_tokens: int, device: str) -> "LoadedModel":
    import torch

    if isinstance(model, str | Path):
        return load_model(model, torch.device(resolve_device(device)), max_tokens)
    return model


def _batches(order: list[int], tokens: list[list[int]]) -> list[list[int]]:
    """Rows of similar length together, at most BATCH_TOKENS a batch with its padding."""
    batches: list[list[int]] = [[]]
    for row in order:
        if batches[-1] and (len(batches[-1]) + 1) * len(tokens[row]) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


def _pooled(loaded: "LoadedModel", tokens: list[list[int]]) -> Float32s:
    """Vectors [b, d]. A causal model's states do not see the padding on their right, so no mask is needed."""
    import torch

    lengths = torch.tensor([len(ids) for ids in tokens])
    padded_bl = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in tokens], batch_first=True)
    states_bld = loaded.hidden(padded_bl.to(loaded.device)).float().cpu()
    position_l = torch.arange(1, padded_bl.shape[1] + 1)
    weight_bl = (position_l * (position_l <= lengths[:, None])).float()
    return torch.nn.functional.normalize((weight_bl[:, None, :] @ states_bld)[:, 0], dim=1).numpy()
