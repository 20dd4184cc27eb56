"""A sample of the reference as a model of all of it: one reading of all rows then does the work of three.

Full approximation scheme of multigrid methods (Brandt 1977): at a potential g with column sums r on all rows
and s on the sample, the sample problem is solved again for column sums s b / r. Its solution moves g by what
the whole problem needs, up to the sampling noise of the *derivative* rather than of the sums. Measured on
real vectors (50,000 x 2,000 x 384, a sample of 20,000): marginal errors of .060, .0039, .0003 in three
readings, against .060, .010, .0022 by Anderson mixing, for five passes over the sample each.
"""

from dataclasses import dataclass, replace

import numpy as np

from tamis.base.progress import Advance
from tamis.transport.anderson import iterate
from tamis.transport.cost import Floats
from tamis.transport.rows import StoredRows
from tamis.transport.sinkhorn import PassResult, evaluate
from tamis.transport.target_side import TargetSide

INNER_SHARE, INNER_PASSES = 0.05, 30
# A column is never asked to carry more than e^3 times its share: far from the solution that is noise.
LARGEST_CHANGE = 3.0
# The first guess of how fast the sample problem contracts; only the certificate needs a measured one.
PLAIN_CONTRACTION = 0.5


@dataclass(frozen=True, kw_only=True)
class Coarse:
    """The problem on stored rows, whose answers correct potentials of the whole problem."""

    side: TargetSide
    stored: StoredRows
    epsilon: float
    advance: Advance

    def correct(
        self, g_k: Floats, whole: PassResult, tolerance: float, max_passes: int
    ) -> tuple[Floats, int]:
        """The next potential [K] after a pass over all rows at g [K], and the passes over the sample."""
        here = evaluate(self.stored, self.side, g_k, self.epsilon, self.advance)
        change_k = np.log(self.side.mass_k) - whole.log_column_sum_k
        log_wanted_k = here.log_column_sum_k + np.clip(change_k, -LARGEST_CHANGE, LARGEST_CHANGE)
        wanted_k = np.exp(log_wanted_k - log_wanted_k.max())
        wanted_k = np.maximum(wanted_k / wanted_k.sum(), np.finfo(np.float64).tiny)
        first = replace(
            here,
            marginal_error=float(np.abs(here.column_sum_k - wanted_k).sum()),
            dual_value=here.dual_value + float((wanted_k - self.side.mass_k) @ g_k),
        )
        solution = iterate(
            lambda next_k: evaluate(
                self.stored, self.side, next_k, self.epsilon, self.advance, wanted_k=wanted_k
            ),
            g_k,
            wanted_k,
            epsilon=self.epsilon,
            tolerance=max(INNER_SHARE * whole.marginal_error, 0.1 * tolerance),
            max_passes=max_passes,
            contraction=PLAIN_CONTRACTION,
            first=first,
        )
        return solution.g_k + solution.step_k, solution.passes
