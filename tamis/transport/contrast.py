"""Away from a bad target: documents that add mass where the pool should not be (Kang et al., GOT-D contrast).

The gradient of the distance to a bad target is largest for documents that move the pool away from it, so
contrast takes the largest first. Alone it says nothing of where to go: everything far from the bad examples
ranks alike, so the combined form also goes towards good examples, at the price of a second pass.
"""

from typing import Any

import numpy as np

from tamis.base.arguments import as_number
from tamis.base.progress import Advance, ignore
from tamis.transport.blocks import BadShapeError, OneShotIterableError, Rows, as_floats, is_array
from tamis.transport.potential import Float32s, TargetPotential


def contrast(
    bad: TargetPotential,
    candidates: Rows,
    *,
    good: TargetPotential | None = None,
    weight: float = 1.0,
    row_cost: Any = None,
    device: str = "auto",
    advance: Advance = ignore,
) -> Float32s:
    """Scores [n] of candidates [n, d], smallest selected first: away from `bad`, and towards `good` if given.

    -f_bad, or f_good - weight * f_bad, plus row_cost [n]: the exact gradient of OT(pool, good) - weight *
    OT(pool, bad), both in units of the cost and up to a constant (Kang et al. 2405.02774, section 4.1 and
    appendix C). So the largest gradient to a bad target comes first, the reverse of `gradient`. Candidates
    are read once a potential. Raises ValueError on a weight below 0 and as `gradient`, and on generators.
    """
    if not 0 <= as_number(weight) < np.inf:
        raise BadShapeError("weight", repr(weight), "a finite, non-negative number")
    if good is None:
        opposite = None if row_cost is None else -as_floats(row_cost, "row_cost", "one number a candidate")
        return -bad.gradient(candidates, opposite, device=device, advance=advance)
    if not is_array(candidates) and iter(candidates) is candidates:
        raise OneShotIterableError("candidates")
    toward_n = good.gradient(candidates, row_cost, device=device, advance=advance)
    return toward_n - np.float32(weight) * bad.gradient(candidates, device=device, advance=advance)
