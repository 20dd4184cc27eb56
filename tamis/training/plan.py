"""What a run will do, fixed before its first step: data, number of steps, and a key that names it."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256

import numpy as np

from tamis.training.options import StepOptions
from tamis.training.packing import PackedDocuments


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps over packed documents; epochs follow each other, the last batch of each may be short."""

    documents: PackedDocuments
    steps: int
    options: StepOptions
    key: str

    def batches(self, first_step: int) -> Iterator[np.ndarray]:
        """Rows [b, sequence_length + 1] of every step from `first_step` on."""
        size = self.options.batch_size
        per_epoch = steps_per_epoch(self.documents, self.options)
        epoch, rows = -1, np.empty((0, 0))
        for step in range(first_step, self.steps):
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                rows = self.documents.epoch(self.options.sequence_length, self.options.seed, epoch)
            start = step % per_epoch * size
            yield rows[start : start + size]

    def tokens(self, steps: int) -> int:
        """Predicted tokens in the first `steps` steps."""
        epochs, rest = divmod(steps, steps_per_epoch(self.documents, self.options))
        targets = self.documents.targets
        return epochs * targets + min(targets, rest * tokens_per_step(self.options))


def tokens_per_step(options: StepOptions) -> int:
    """Predicted tokens of a full batch."""
    return options.batch_size * options.sequence_length


def steps_per_epoch(documents: PackedDocuments, options: StepOptions) -> int:
    """Steps over all documents once."""
    return -(-documents.targets // tokens_per_step(options))


def steps_for(documents: PackedDocuments, options: StepOptions, tokens: int) -> int:
    """The first number of steps that reaches `tokens` predicted tokens, over as many epochs as that takes."""
    epochs, rest = divmod(tokens, documents.targets)
    return epochs * steps_per_epoch(documents, options) + -(-rest // tokens_per_step(options))


def run_key(origin: str, options: StepOptions, documents: PackedDocuments, device: str) -> str:
    """SHA-256 (hex) of all that decides the weights: origin of the model, options, data, device kind."""
    digest = sha256(documents.tokens.tobytes())
    digest.update(documents.offsets.tobytes())
    digest.update(json.dumps([origin, asdict(options), device], sort_keys=True).encode())
    return digest.hexdigest()
