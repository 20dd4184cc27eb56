"""Plan of a run, fixed before its first step: data, number of steps, and a key that names it."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256

from tamis.base.precision import precision_in_force
from tamis.training.options import StepOptions
from tamis.training.packing import Batch, TrainingSet


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps over a training set; epochs follow each other, the last step of each may be short.

    accumulation: batches whose gradients make one step. precision: as for `compute_precision`.
    """

    documents: TrainingSet
    steps: int
    options: StepOptions
    key: str
    accumulation: int = 1
    precision: str = "auto"

    def batches(self, first_step: int) -> Iterator[list[Batch]]:
        """The batches of every step from `first_step` on."""
        options, size = self.options, self.options.batch_size
        rows = self.documents.rows(options.sequence_length)
        for step in range(first_step, self.steps):
            epoch, place = divmod(step, self._per_epoch)
            first = place * size * self.accumulation
            last = min(first + size * self.accumulation, rows)
            yield [
                self.documents.batch(
                    options.sequence_length, options.seed, epoch, slice(start, min(start + size, last))
                )
                for start in range(first, last, size)
            ]

    def tokens(self, steps: int) -> int:
        """Tokens read in the first `steps` steps."""
        return sum(self._tokens(steps))

    def source_tokens(self, steps: int) -> int:
        """Those of them that an encoder reads."""
        return self._tokens(steps)[1]

    def _tokens(self, steps: int) -> tuple[int, int]:
        """Tokens read in the first `steps` steps by the model itself, and by its encoder."""
        options, epochs = self.options, steps // self._per_epoch
        rest = steps % self._per_epoch * options.batch_size * self.accumulation
        whole = self.documents.rows(options.sequence_length) if epochs else 0
        full = self.documents.tokens_in(options.sequence_length, options.seed, 0, whole)
        part = self.documents.tokens_in(options.sequence_length, options.seed, epochs, rest)
        return epochs * full[0] + part[0], epochs * full[1] + part[1]

    @property
    def _per_epoch(self) -> int:
        return steps_per_epoch(self.documents, self.options, self.accumulation)


def steps_per_epoch(documents: TrainingSet, options: StepOptions, accumulation: int = 1) -> int:
    """Steps over all documents once."""
    return -(-documents.rows(options.sequence_length) // (options.batch_size * accumulation))


def steps_for(documents: TrainingSet, options: StepOptions, tokens: int) -> int:
    """The first number of steps that reaches `tokens` predicted tokens, over as many epochs as that takes."""
    epochs, rest = divmod(tokens, documents.targets)
    per_step = options.batch_size * options.sequence_length
    return epochs * steps_per_epoch(documents, options) + -(-rest // per_step)


def run_key(origin: str, options: StepOptions, documents: TrainingSet, device: str) -> str:
    """Hex SHA-256 of all that decides the weights: origin of the model, options, data, device, precision."""
    digest = sha256(documents.content())
    digest.update(
        json.dumps([origin, asdict(options), device, precision_in_force(device)], sort_keys=True).encode()
    )
    return digest.hexdigest()
