"""Savings of choosing against its costs, in compute or in seconds.

A winner is worth the compute at which random reaches the winner's loss, read from a measured curve of random.
The net gain divides that by all that was spent for the winner: its own training, choosing, search and guard.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tamis.base.arguments import as_floats, as_number
from tamis.base.errors import BadArgumentError
from tamis.comparison.convergence import crossing

Bound = Literal["exact", "at least", "at most"]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Compute of the winner's training on `tokens`, of choosing for it, of the search, and of the guard.

    In one unit: FLOP, or seconds of a machine.
    """

    own: float
    choosing: float
    search: float
    guard: float
    tokens: float

    @property
    def before(self) -> float:
        """Spent once, whatever is trained on the choice later."""
        return self.choosing + self.search + self.guard


@dataclass(frozen=True, kw_only=True)
class Net:
    """Worth of a winner next to its cost, in the unit of `Spent`.

    reached: compute at which random has the winner's loss, `bound` says how it is meant beyond the curve's
    ends. gross: reached over the own training; net: over all that was spent. break_even: tokens of training
    from which choosing has paid, at most so many where `bound` is "at least"; infinite where it never does.
    """

    reached: float
    bound: Bound
    gross: float
    net: float
    break_even: float


def net(compute_p: Sequence[float], loss_p: Sequence[float], winner: float, spent: Spent) -> Net:
    """Return the net gain of a winner with a loss, from random's losses [p] after so much compute.

    Between points the loss falls by lines over the logarithm of compute. Raises `BadArgumentError` for a
    curve that is no rising compute with losses, or costs that are no compute.
    """
    compute = as_floats("compute_p", compute_p, "rising numbers above 0")
    loss = as_floats("loss_p", loss_p, "a loss for each point")
    if compute.ndim != 1 or not len(compute) or not (compute[0] > 0 and (np.diff(compute) > 0).all()):
        raise BadArgumentError("compute_p", repr(compute.tolist()), "rising numbers above 0")
    if loss.shape != compute.shape or not np.isfinite(loss).all():
        raise BadArgumentError("loss_p", repr(loss.tolist()), f"{len(compute)} finite losses")
    if not math.isfinite(as_number(winner)):
        raise BadArgumentError("winner", repr(winner), "a finite loss")
    for name in ("own", "tokens", "choosing", "search", "guard"):
        value = as_number(getattr(spent, name))
        if not (0 <= value < math.inf and (value > 0 or name not in ("own", "tokens"))):
            raise BadArgumentError(name, repr(value), "a number above 0 for own and tokens, else 0 or more")
    place = crossing(np.log(compute), loss, winner)
    bound: Bound = "at least" if math.isnan(place) else "at most" if loss[0] <= winner else "exact"
    ends = {"at least": compute[-1], "at most": compute[0]}
    reached = float(ends[bound] if bound in ends else math.exp(place))
    saved = (reached - spent.own) / spent.tokens
    return Net(
        reached=reached,
        bound=bound,
        gross=reached / spent.own,
        net=reached / (spent.own + spent.before),
        break_even=spent.before / saved if saved > 0 else math.inf,
    )
