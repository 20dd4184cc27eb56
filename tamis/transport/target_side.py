"""The target of a transport problem as every pass reads it: points, masses and squared norms, on a device."""

from typing import TYPE_CHECKING

import numpy as np

from tamis.transport.cost import Floats

if TYPE_CHECKING:
    import torch

ROUNDING_TURNS = 4


class TargetSide:
    """What a pass knows of the target: points, masses and squared norms, of those with mass only."""

    def __init__(self, points_md: "torch.Tensor", mass_m: Floats) -> None:
        self.kept_m = np.flatnonzero(mass_m > 0)
        self.count = len(mass_m)
        self.points_kd = points_md if len(self.kept_m) == len(mass_m) else points_md[self.kept_m.tolist()]
        self.points_dm = self.points_kd.T.contiguous()
        self.mass_k = mass_m[self.kept_m]
        self.squared_norm_k: Floats = self.points_kd.double().square().sum(1).cpu().numpy()
        self._half_points: tuple[torch.Tensor, ...] = ()

    def half_points_dm(self, turn: int) -> "torch.Tensor":
        """The points in bfloat16; those of four turns are rounded so that they average to the points.

        Rows round independently, but a column rounded once shifts its sum: by .15 % on real vectors.
        """
        if not self._half_points:
            self._half_points = _rounded_in_turn(self.points_dm, ROUNDING_TURNS)
        return self._half_points[turn % ROUNDING_TURNS]

    def expand(self, values_k: Floats) -> Floats:
        """Values of the kept columns as [M], zero for targets without mass."""
        values_m = np.zeros(self.count)
        values_m[self.kept_m] = values_k
        return values_m


def _rounded_in_turn(points_dm: "torch.Tensor", turns: int) -> "tuple[torch.Tensor, ...]":
    rounded, owed_dm = [], points_dm.clone()
    for _ in range(turns):
        rounded.append(owed_dm.bfloat16())
        owed_dm += points_dm - rounded[-1]
    return tuple(rounded)
