"""The shapes of the base models that the graph pre-trains itself: five small Llama models.

A base model of the default project must be trained in a minute on two CPU cores and still differ from its
neighbours enough for a scaling law to tell them apart. Wide and shallow wins at under a million tokens: at
200,000 tokens, 448 x 2 layers reaches 2.63 bits per byte on held-out docstrings and 384 x 3 (as many
parameters) 2.66, 15 % slower; 256 x 2 reaches 2.73, 192 x 4 2.78.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tamis.base.arguments import as_whole
from tamis.base.errors import UnknownNameError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

INITIAL_DEVIATION = 0.8  # of weights, times the root of the width; .02 for every width costs .1 bits per byte


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Dimensions of a Llama model with tied embeddings (Touvron et al. 2302.13971, section 2.2)."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    vocabulary: int = 4_096
    maximum_positions: int = 1_024
    rotary_base: float = 500.0
    """Longest wavelength of the rotary embedding, over 2 pi; rows here are hundreds of tokens long."""

    @property
    def parameters(self) -> int:
        """Exact number of distinct parameters, embeddings counted once."""
        # Attention, feed-forward and norms of a layer.
        layer = 4 * self.hidden_size**2 + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        return self.vocabulary * self.hidden_size + self.layers * layer + self.hidden_size


PRESETS: dict[str, ModelShape] = {
    "llama-0.3m": ModelShape(hidden_size=64, intermediate_size=128, layers=2, heads=2),  # 344,384
    "llama-0.8m": ModelShape(hidden_size=128, intermediate_size=256, layers=2, heads=4),  # 852,608
    "llama-2.5m": ModelShape(hidden_size=256, intermediate_size=608, layers=2, heads=4),  # 2,508,032
    "llama-6m": ModelShape(hidden_size=448, intermediate_size=896, layers=2, heads=7),  # 5,851,328
    "llama-22m": ModelShape(hidden_size=512, intermediate_size=960, layers=8, heads=8),  # 22,290,944
}


def preset_shape(name: str, vocabulary: int) -> ModelShape:
    """The shape of a preset, with as many outputs as a tokenizer of that vocabulary may need.

    Raises `UnknownNameError` for a name that is no preset.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise UnknownNameError("preset", str(name), PRESETS)
    shape = PRESETS[name]
    return replace(shape, vocabulary=max(shape.vocabulary, as_whole("vocabulary", vocabulary, 1)))


def new_model(shape: ModelShape, seed: int, tokenizer: "PreTrainedTokenizerBase") -> "LlamaForCausalLM":
    """A float32 model with weights drawn from `seed`; the caller's random state is left as it was."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.maximum_positions,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rotary_base},
        initializer_range=INITIAL_DEVIATION / shape.hidden_size**0.5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
