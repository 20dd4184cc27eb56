"""What every rival returns: a choice, and a score per candidate whose order is that choice.

All scores are smallest first, as the gradient is, so that one rule, `top_k` with direction "lowest", serves
every method; where a paper's score is largest first, its sign is turned.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tamis.base.errors import PermanentError
from tamis.transport.cost import Floats
from tamis.transport.ordering import Indices, smallest_first


class Choice(NamedTuple):
    """chosen [k]: positions in the candidates, first chosen first. score [n]: finite, smallest first."""

    chosen: Indices
    score: Floats


def choose(score: npt.ArrayLike, k: int, *, ids: Sequence[str] | None, seed: int) -> Choice:
    """The k smallest of scores [n], equal ones by a hash of the id. Raises ValueError unless 1 <= k <= n."""
    score_n = np.asarray(score, dtype=np.float64)
    return Choice(smallest_first(score_n, k, ids=ids, seed=seed), score_n)


class BadTextError(PermanentError, ValueError):
    """A text that is no string, or that cannot be encoded."""

    def __init__(self, source: str, row: int, problem: str) -> None:
        self.source, self.row, self.problem = source, row, problem
        super().__init__(f"{source} text {row}: {problem}; expected a str that can be encoded as UTF-8")


def check_texts(texts: Sequence[str], source: str) -> None:
    """Raise `BadTextError` on the first text that is none; a gigabyte takes about a second."""
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadTextError(source, row, f"a {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadTextError(
                source, row, f"unpaired surrogate {text[error.start]!a} at character {error.start}"
            ) from None
