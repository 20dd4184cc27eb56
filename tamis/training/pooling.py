"""Pooling of a causal model that classifies a text: by its last token, or by the mean over its tokens.

The last token is what transformers reads, so any program can use such a checkpoint. The mean is better for
small models and few labels (62.7 instead of 51.3 % on banking77: `python -m benchmarks.warm_up`, and with
`--pooling last`), but a checkpoint says so only in config.json, by the key that ModernBERT has for it, which
transformers reads for no causal model: `classify` does.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from transformers import PreTrainedModel

LAST = "last"
MEAN = "mean"
KEY = "classifier_pooling"


def choose_pooling(model: "PreTrainedModel", pooling: str) -> None:
    """Write `pooling` to the configuration of a causal classifier.

    Classifiers of other families than the causal ones have a way of their own, and keep it.
    """
    if not _is_causal(model):
        return
    if pooling == MEAN:
        setattr(model.config, KEY, MEAN)
    elif hasattr(model.config, KEY):
        delattr(model.config, KEY)


def averages(model: "PreTrainedModel") -> bool:
    """Return whether a classifier reads by the mean."""
    return bool(_is_causal(model) and getattr(model.config, KEY, LAST) == MEAN)


def _is_causal(model: "PreTrainedModel") -> bool:
    return hasattr(model, "score")  # what transformers names the output layer of every causal classifier


def mean_logits(
    model: "PreTrainedModel", tokens_bl: "Tensor", inside_bl: "Tensor", mask: "Mapping[str, object]"
) -> "Tensor":
    """Logits [b, classes] of the mean last hidden state over the tokens inside a row."""
    hidden_bld = model.base_model(input_ids=tokens_bl, **mask).last_hidden_state
    weights_bl1 = inside_bl.unsqueeze(-1)
    mean_bd = hidden_bld.float().masked_fill(~weights_bl1, 0).sum(1) / weights_bl1.sum(1)
    return model.score(mean_bd.to(hidden_bld.dtype))  # type: ignore[operator]
