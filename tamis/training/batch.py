"""What a step is computed on, and what a set of training data has to answer.

Plain text is packed, so its batch is rows alone. Pairs stand one to a row with their prompt unscored,
labelled texts carry a class instead of targets, and an encoder's input lies beside the rows.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

IGNORED = -1  # a target that is scored nowhere, and what fills a row up
WIDTH_STEP = 16
"""Rows are as wide as the longest of a batch, rounded up: a CPU's matrix products are compiled anew for each
shape, and oneDNN keeps 1,024 of them. A step of a classifier of .8M parameters takes 65 ms so, 83 ms with
rows of any width (`python -m benchmarks.training --threads 1 --batch-size 16 --length 128`)."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of tokens, filled up on the right with `IGNORED`.

    rows: [b, l + 1], inputs `row[:-1]` and targets `row[1:]`; of labelled texts and where tokens are hidden
    [b, l], all of it input. hidden: [b, l], what stood in place of it, `IGNORED` where it counts nowhere.
    first_scored: [b], which target of a row is the first to count; None: all do. sources: [b, s], what an
    encoder reads. classes: [b].
    """

    rows: np.ndarray
    first_scored: np.ndarray | None = None
    sources: np.ndarray | None = None
    classes: np.ndarray | None = None
    hidden: np.ndarray | None = None

    @cached_property
    def targets(self) -> np.ndarray:
        """What is to be predicted: [b, l], `IGNORED` where it does not count."""
        if self.hidden is not None:
            return self.hidden
        targets = self.rows[:, 1:]
        if self.first_scored is None:
            return targets
        return np.where(np.arange(targets.shape[1]) >= self.first_scored[:, None], targets, IGNORED)

    @property
    def count(self) -> int:
        """Predictions that count."""
        return len(self.rows) if self.classes is not None else int((self.targets != IGNORED).sum())


class TrainingSet(Protocol):
    """Examples in the form that training takes, in an order that a seed and an epoch fix."""

    @property
    def targets(self) -> int:
        """Tokens that an epoch reads."""

    def rows(self, sequence_length: int) -> int:
        """Rows an epoch."""

    def batch(self, sequence_length: int, seed: int, epoch: int, part: slice) -> Batch:
        """Some rows of an epoch."""

    def tokens_in(self, sequence_length: int, seed: int, epoch: int, rows: int) -> tuple[int, int]:
        """Tokens in the first rows of an epoch, and those that an encoder reads for them."""

    def content(self) -> bytes:
        """All that decides what is learnt, for a digest."""


def filled(parts: list[np.ndarray], longest: int, behind: int = 0) -> np.ndarray:
    """Lists of tokens as rows of one width, in steps of `WIDTH_STEP`: int64 [n, width].

    longest: of all lists that there are; no row gets wider. behind: tokens at the end that are no input.
    """
    lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
    width = -(-(int(lengths.max(initial=0)) - behind) // WIDTH_STEP) * WIDTH_STEP + behind
    rows = np.full((len(parts), min(width, longest)), IGNORED, dtype=np.int64)
    rows[np.arange(rows.shape[1])[None] < lengths[:, None]] = np.concatenate(parts)
    return rows
