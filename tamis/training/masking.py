"""Text for an encoder: some tokens are hidden, and these alone are predicted (Devlin et al. 1810.04805).

15 % of the tokens of every row are chosen, others in each epoch: of these 80 % are replaced by the mask, 10 %
by any token and 10 % stay. It is how an encoder is warmed up on selected text before it learns labels; its
loss is no code length, so no bits per byte follow from it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tamis.training.packing import IGNORED, Batch, PackedDocuments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOSEN, MASKED, REPLACED = 0.15, 0.8, 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedDocuments:
    """Packed documents with hidden tokens, a `TrainingSet`. mask: what hides; vocabulary: how many tokens."""

    documents: PackedDocuments
    mask: int
    vocabulary: int

    @property
    def targets(self) -> int:
        """Tokens that an epoch reads."""
        return self.documents.targets

    def rows(self, sequence_length: int) -> int:
        """Rows an epoch."""
        return self.documents.rows(sequence_length)

    def batch(self, sequence_length: int, seed: int, epoch: int, part: slice) -> Batch:
        """Some rows of an epoch; what is hidden depends on the seed, the epoch and the row alone."""
        rows = self.documents.batch(sequence_length, seed, epoch, part).rows[:, 1:]
        kept = [self._hidden(row, (seed, epoch, part.start + place)) for place, row in enumerate(rows)]
        return Batch(rows=np.stack([inputs for inputs, _ in kept]), hidden=np.stack([out for _, out in kept]))

    def _hidden(self, row: np.ndarray, key: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """A row as it is read, and what is to be predicted of it."""
        draw = np.random.default_rng(key)
        chosen = (draw.random(len(row)) < CHOSEN) & (row != IGNORED)
        if not chosen.any():
            chosen[0] = True  # a row has at least one token, and a step at least one target
        lot, other = draw.random(len(row)), draw.integers(0, self.vocabulary, len(row))
        inputs = np.where(chosen & (lot < MASKED), self.mask, row)
        inputs = np.where(chosen & (lot >= 1 - REPLACED), other, inputs)
        return inputs, np.where(chosen, row, IGNORED)

    def tokens_in(self, sequence_length: int, seed: int, epoch: int, rows: int) -> tuple[int, int]:
        """Tokens in the first rows of an epoch."""
        return self.documents.tokens_in(sequence_length, seed, epoch, rows)

    def content(self) -> bytes:
        """The documents; that they are masked is said by the model they are for."""
        return b"masked" + self.documents.content()


def masked(tokenizer: "PreTrainedTokenizerBase", documents: PackedDocuments) -> MaskedDocuments:
    """Documents for a model of this tokenizer; a tokenizer without a mask hides behind its filling token."""
    mask = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.pad_token_id
    assert mask is not None, "an encoder's tokenizer has a mask or a padding token"
    return MaskedDocuments(documents=documents, mask=int(mask), vocabulary=len(tokenizer))
