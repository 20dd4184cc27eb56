"""How slowly Sinkhorn's iteration forgets its slowest mode at a potential: what a small step may still hide.

Where pool and target fall into groups that barely exchange mass, the offset between two groups moves by their
leakage alone. No pass shows that mode, its marginal error is tiny, and a rate read off the steps misses it;
so the certificate uses the second eigenvalue of the derivative itself, on a sample of the rows. Fewer rows
make it larger, and so the estimated error: on real vectors .64 from 8,000 rows and 2,000 targets, .69
from 2,000. 4,000,000 entries take .1 s of two cores.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tamis.transport.cost import Floats
from tamis.transport.sinkhorn import Kernel, exact_products
from tamis.transport.target_side import TargetSide

if TYPE_CHECKING:
    import torch

# 16 MiB of them, or a row for each target point where that fits 128 MiB.
ENTRIES, MOST_ENTRIES = 2**22, 2**25
DENSE_BELOW = 400
_LANCZOS_VECTORS, _LANCZOS_RESTARTS = 20, 10


def spectral_rows(count: int, targets: int) -> npt.NDArray[np.int64]:
    """Those of `count` rows that the spectrum is measured on: evenly spaced, all when there are few."""
    wanted = max(ENTRIES // targets, min(targets, MOST_ENTRIES // targets), 1)
    return np.linspace(0, count - 1, min(wanted, count)).astype(np.int64)


def slowest_contraction(
    rows_nd: "torch.Tensor", mass_n: Floats, side: TargetSide, g_k: Floats, epsilon: float
) -> float:
    """Second largest eigenvalue, in [0, 1], of g -> g + step(g) at g [K]; 0 for a single target point.

    rows_nd and mass_n: stored rows of the reference, of which evenly spaced ones are used. The derivative is
    diag(1/r) P^T diag(1/a) P, self-adjoint under the column sums r; its largest eigenvalue, 1, is that of
    adding a constant to g.
    """
    if len(g_k) == 1:
        return 0.0
    picked = spectral_rows(len(rows_nd), len(g_k))
    plan_nk, mass = _row_plan(rows_nd[picked], mass_n[picked], side, g_k, epsilon)
    sum_k = mass @ plan_nk
    reached_k = sum_k > np.finfo(plan_nk.dtype).tiny
    root_k = np.sqrt(sum_k[reached_k])
    if len(root_k) == 1:
        return 0.0
    scaled_nk = plan_nk if reached_k.all() else plan_nk[:, reached_k]
    scaled_nk *= np.sqrt(mass)[:, None]
    scaled_nk /= root_k
    return float(np.clip(_second_eigenvalue(scaled_nk, root_k), 0.0, 1.0))


def _row_plan(
    rows_nd: "torch.Tensor", mass_n: Floats, side: TargetSide, g_k: Floats, epsilon: float
) -> tuple[Floats, Floats]:
    """Row-normalised plan [n, K] and masses [n] that sum to 1."""
    kernel = Kernel(side, g_k, epsilon)
    points_nd = rows_nd.to(side.points_dm.dtype)
    with exact_products():
        weighed = kernel.weigh(lambda: kernel.similarities(points_nd))
    plan_nk = weighed.weights_nk.div_(weighed.sum_n[:, None]).cpu().numpy()
    mass = mass_n / mass_n.sum() if mass_n.sum() > 0 else np.full(len(mass_n), 1 / len(mass_n))
    return plan_nk, mass.astype(plan_nk.dtype)


def _second_eigenvalue(scaled_nk: Floats, root_k: Floats) -> float:
    if len(root_k) <= DENSE_BELOW:
        matrix_kk = scaled_nk.astype(np.float64).T @ scaled_nk.astype(np.float64)
        return float(np.linalg.eigvalsh(matrix_kk)[-2])
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    first_k = root_k / np.linalg.norm(root_k)

    def apply(vector_k: Floats) -> Floats:
        vector_k = vector_k.reshape(-1).astype(scaled_nk.dtype)
        return scaled_nk.T @ (scaled_nk @ vector_k) - first_k * (first_k @ vector_k)

    operator = LinearOperator((len(root_k),) * 2, matvec=apply, dtype=scaled_nk.dtype)
    start_k = np.random.default_rng(0).normal(size=len(root_k)).astype(scaled_nk.dtype)
    try:
        found = eigsh(
            operator,
            k=1,
            which="LA",
            v0=start_k,
            ncv=_LANCZOS_VECTORS,
            maxiter=_LANCZOS_RESTARTS,
            tol=1e-2,  # of the residual: the value is off by its square
            return_eigenvectors=False,
        )
    except ArpackNoConvergence:
        return 1.0  # unknown: the largest possible error is taken
    return float(found[0])
