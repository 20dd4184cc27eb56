"""Operations of a run by formula: 6 N T to train all weights, 4 N T + 6 M T to train M on N frozen ones.

N: distinct parameters, T: tokens read. An encoder-decoder reads the prompt with its encoder and the response
with its decoder, each counted for itself; a forward pass is 2 N T (Kaplan et al. 2001.08361).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis.training.examples import Chat, Example, Labelled, Pair, text_of
from tamis.training.models import Kind, LoadedModel
from tamis.training.tokenizer import boundary_tokens, count_tokens, load_tokenizer

ADAPTER = "lora_"  # in the name of every parameter that an adapter adds
REPLACED = "original_module"  # in the name of what an adapter keeps, but trains a copy of: an output layer


@dataclass(frozen=True, kw_only=True)
class Size:
    """Parameters of a part of a model, and how many of them are trained or were added to be."""

    parameters: int
    trained: int

    def training(self, tokens: int) -> float:
        """Operations of forward and backward passes over `tokens`."""
        if self.trained == self.parameters:
            return 6.0 * self.parameters * tokens
        return 4.0 * self.parameters * tokens + 6.0 * self.trained * tokens

    def reading(self, tokens: int) -> float:
        """Operations of a forward pass over `tokens`."""
        return 2.0 * self.parameters * tokens


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a whole model, and of the parts that read prompts and responses (one and the same but in an
    encoder-decoder, where tables that both use count for both)."""

    whole: Size
    encoder: Size
    decoder: Size

    def training(self, tokens: int, source_tokens: int = 0) -> float:
        """Operations to train on `tokens`, of which an encoder reads `source_tokens`."""
        return self.encoder.training(source_tokens) + self.decoder.training(tokens - source_tokens)

    def reading(self, tokens: int, source_tokens: int = 0) -> float:
        """Operations to evaluate on them."""
        return self.encoder.reading(source_tokens) + self.decoder.reading(tokens - source_tokens)


def sizes_of(loaded: LoadedModel) -> Sizes:
    """Return the sizes of a model before its adapter is merged."""
    whole = _size(loaded.model)
    if loaded.kind != Kind.ENCODER_DECODER:
        return Sizes(whole=whole, encoder=Size(parameters=0, trained=0), decoder=whole)
    return Sizes(
        whole=whole,
        encoder=_size(loaded.model.get_encoder()),
        decoder=_size(loaded.model.get_decoder(), loaded.model.get_output_embeddings()),
    )


def _size(*parts: object) -> Size:
    named = {one: name for part in parts for name, one in part.named_parameters()}  # type: ignore[attr-defined]
    named = {one: name for one, name in named.items() if REPLACED not in name}
    return Size(
        parameters=sum(one.numel() for one, name in named.items() if ADAPTER not in name),
        trained=sum(one.numel() for one in named if one.requires_grad),
    )


def tokens_per_epoch(tokenizer_folder: Path, examples: Sequence[Example], sequence_length: int) -> int:
    """Tokens read in an epoch over examples of one kind.

    Exact for plain text, and for labelled text but for special tokens that the model's own code adds. Of
    pairs too long for a row the prompt is cut, and then there are fewer.
    """
    if not examples:
        return 0
    tokenizer = load_tokenizer(tokenizer_folder)
    counts = count_tokens(tokenizer_folder, [text_of(example) for example in examples]).astype(np.int64)
    if isinstance(examples[0], Labelled):
        special = tokenizer.num_special_tokens_to_add(pair=False)
        return int(np.clip(counts + special, 1, sequence_length).sum())
    begin, end = boundary_tokens(tokenizer)
    if isinstance(examples[0], Pair | Chat):  # what a template adds is not counted
        return int(counts.sum()) + len(counts)  # <bos> and <eos> of each, and the last token is not read
    borders = 1 if begin == end else 2
    return max(int((counts + borders)[counts > 0].sum()) - 1, 0)  # the last token of all is not read
