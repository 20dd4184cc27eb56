"""Unbalanced transport: the target sends all its mass, the pool takes it as unevenly as it likes.

The balance of GOT-D is relaxed to a penalty, KL of the mass that candidates receive (Chizat et al.
1607.05816), and candidates are ranked by that mass, as in arXiv 2602.14696. At the penalty used there, 1e-2
of epsilon, a target point spreads its mass over its softly nearest candidates; as the penalty grows the order
becomes that of GOT-D. Streamed like GOT-D, with M floats of state: 2 to 4 passes at that penalty.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.base.progress import Advance, ignore
from tamis.samplers.choice import Choice, choose
from tamis.samplers.neighbours import READING_ROWS, Sides, sides_of
from tamis.transport.cost import BadShapeError, Floats, Matrix, Rows, check_positive, check_whole
from tamis.transport.sinkhorn import exact_products
from tamis.transport.solve import NotConverged

if TYPE_CHECKING:
    import torch


def unbalanced(
    target: Matrix,
    candidates: Rows,
    k: int,
    *,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    relative_epsilon: float = 0.01,
    penalty: float = 0.01,
    tolerance: float = 1e-3,
    max_passes: int = 500,
    center: Any = True,
    normalize: bool = True,
    device: str = "auto",
    advance: Advance = ignore,
) -> Choice:
    """The k candidates [n, d] that receive most mass from the target [M, d].

    epsilon = relative_epsilon * mean cost; penalty: weight of KL(mass received | uniform) in units of
    epsilon. Both as in arXiv 2602.14696, whose costs are half of these. tolerance: L1 error of the mass that
    leaves the target. score [n]: -log(n * mass received), below 0 where a candidate gets more than its share.
    Raises ValueError as `solve_potential`, and unless 1 <= k <= n; warns with `NotConverged`.
    """
    for name, value in (
        ("relative_epsilon", relative_epsilon),
        ("penalty", penalty),
        ("tolerance", tolerance),
    ):
        check_positive(name, value)
    check_whole("max_passes", max_passes)
    sides = sides_of(target, candidates, center=center, normalize=normalize, device=device)
    problem = _Relaxed(sides=sides, penalty=penalty, advance=advance)
    epsilon = relative_epsilon * float(problem.soft_costs(np.zeros(len(sides.points_md)), None)[0].mean())
    return choose(problem.solve(epsilon, tolerance, max_passes), k, ids=ids, seed=seed)


@dataclass(frozen=True, kw_only=True)
class _Relaxed:
    """The relaxed problem, dual over the target: h = soft c-transform, mass = exp(-h / epsilon / (1 + p))."""

    sides: Sides
    penalty: float
    advance: Advance

    def solve(self, epsilon: float, tolerance: float, max_passes: int) -> Floats:
        """-log(n * mass) [n] once the target's masses are met within the tolerance."""
        count = len(self.sides.points_md)
        g_m = np.zeros(count)
        for _ in range(max_passes):
            soft_n, log_sum_m = self.soft_costs(g_m, epsilon)
            error = float(np.abs(np.exp(log_sum_m) - 1 / count).sum())
            if error <= tolerance:
                break
            g_m = g_m - epsilon * (log_sum_m + np.log(count))
        else:
            warnings.warn(
                f"unbalanced transport did not converge: after {max_passes} passes the mass error is "
                f"{error:.3g}, above the tolerance {tolerance:.3g}; raise max_passes or tolerance",
                NotConverged,
                stacklevel=3,
            )
        return soft_n / (epsilon * (1 + self.penalty))

    def soft_costs(self, g_m: Floats, epsilon: float | None) -> tuple[Floats, Floats]:
        """Soft c-transforms [n] of g and log column sums [M]; without epsilon the mean costs [n] instead."""
        import torch

        softs, sums_m = [np.zeros(0)], torch.full((len(g_m),), -torch.inf, dtype=torch.float64)
        assert epsilon is None or epsilon > 0
        for cost_nm in self._costs():
            if epsilon is None:
                softs.append(cost_nm.mean(1).double().cpu().numpy())
                continue
            exponent_nm = (torch.as_tensor(g_m, device=cost_nm.device) - cost_nm.double()) / epsilon
            soft_n = -(exponent_nm.logsumexp(1) - np.log(len(g_m)))
            # log of plan = -h/(1+p) [row mass] + exponent + h [softmax over the row], h in units of epsilon
            row_n = soft_n * (self.penalty / (1 + self.penalty))
            column_m = (exponent_nm + row_n[:, None]).logsumexp(0) - np.log(len(g_m))
            sums_m = torch.logaddexp(sums_m, column_m.cpu())
            softs.append((soft_n * epsilon).cpu().numpy())
        found_n = np.concatenate(softs)
        return found_n, (sums_m - np.log(len(found_n))).numpy()

    def _costs(self) -> "Iterator[torch.Tensor]":
        """Squared distances [n, M] of a chunk of candidates to the target."""
        import torch

        points_md, geometry = self.sides.points_md, self.sides.geometry
        squared_m = points_md.square().sum(1)
        for start, raw_nd in self.sides.source.chunks(READING_ROWS):
            points_nd = geometry.points(raw_nd, first_row=start, name="candidates", like=points_md)
            if points_nd.shape[1] != points_md.shape[1]:
                raise BadShapeError(
                    "candidates", f"width {points_nd.shape[1]}", f"width {points_md.shape[1]}"
                )
            with exact_products():
                cost_nm = torch.addmm(squared_m, points_nd, points_md.T, alpha=-2.0)
            yield (cost_nm + points_nd.square().sum(1)[:, None]).clamp_min(0)
            self.advance(len(points_nd))
