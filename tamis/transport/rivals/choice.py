"""What every rival returns: a choice, and a score per candidate whose order is that choice.

All scores are smallest first, as the gradient is, so that one rule, `top_k` with direction "lowest", serves
every method; where a paper's score is largest first, its sign is turned.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
