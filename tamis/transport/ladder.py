"""The order of a solve: a ladder of larger epsilons when epsilon is small, a sample, then all rows.

Each pass over all rows is followed by a correction on the sample. The first ones use bfloat16 products where
the processor has them; a float32 pass always measures the result. On 1,000,000 x 1,000 rows a
solve to 1e-3 takes two such passes, one of each kind. The ladder is used under .01 of the mean cost only:
there it halves the mean number of passes on well-separated clusters (110 to 58) and takes a fifth off on
text; above, it costs more than it saves.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tamis.transport.anderson import Solution, iterate, plain_step
from tamis.transport.cost import Floats
from tamis.transport.prepare import Problem, SolveOptions
from tamis.transport.rows import KeptPlan, StoredRows
from tamis.transport.sinkhorn import Kernel, PassResult, PassRows, evaluate
from tamis.transport.target_side import TargetSide

SAMPLE_TOLERANCE = 2e-2
LADDER_BELOW, LADDER_TOP, LADDER_FACTOR = 0.01, 0.1, 3.0
LADDER_TOLERANCE, LADDER_PASSES = 0.03, 10
# Sums and derivatives of a sample are off alike, so a correction multiplies the error by about the first
# error: measured .9 to 1.1 times it, for samples of 5,000 to 100,000 rows. Where it gains less than a third,
# mixing takes over.
EXPECTED_FACTOR, LEAST_GAIN = 1.2, 0.7
INNER_SHARE, INNER_PASSES = 0.05, 30
# A column is never asked to carry more than e^3 times its share: far from the solution that is noise.
LARGEST_CHANGE = 3.0
# The first guess of how fast the sample problem contracts; only the certificate needs a measured one.
PLAIN_CONTRACTION = 0.5


@dataclass(frozen=True, kw_only=True)
class Stages:
    """A problem ready to run. `full` is None when the stored rows are all there is."""

    side: TargetSide
    stored: StoredRows
    full: PassRows | None
    problem: Problem
    options: SolveOptions
    reduced: bool
    keep_gradient: bool

    def run(self, start_k: Floats | None, contraction: float | None) -> tuple[Solution, float]:
        """Solve from g = 0 or a given g [K]; also how many readings of the reference the work comes to."""
        limit = self.options.max_passes
        if self.full is None:
            g_k, used = self._ladder(limit // 2) if start_k is None else (start_k, 0)
            solution = self._iterate(self.stored, g_k, self.options.tolerance, limit - used, contraction)
            return solution, float(used + solution.passes)
        if isinstance(self.full, KeptPlan):
            g_k, contraction, share = self._on_sample() if start_k is None else (start_k, contraction, 0.0)
            left = max(1, int(limit - share))
            solution = self._iterate(self.full, g_k, self.options.tolerance, left, contraction)
            return solution, share + solution.passes
        if start_k is not None:
            return self._on_all(start_k, contraction, 0.0, warm=True)
        sample_k, contraction, share = self._on_sample()
        return self._on_all(sample_k, contraction, share, warm=False)

    def _on_sample(self) -> tuple[Floats, float | None, float]:
        """Potential [K] and contraction from the sample, and the share of a full reading that it took."""
        limit = int((self.options.max_passes - 1) / (2 * self._share))
        if limit == 0:
            return np.zeros(len(self.side.mass_k)), None, 0.0
        g_k, used = self._ladder(limit // 2)
        loose = max(self.options.tolerance, SAMPLE_TOLERANCE)
        solution = self._iterate(self.stored, g_k, loose, limit - used, None)
        g_k = solution.g_k + solution.step_k
        return g_k, solution.contraction, (used + solution.passes) * self._share

    def _on_all(
        self, g_k: Floats, contraction: float | None, used: float, *, warm: bool
    ) -> tuple[Solution, float]:
        """Passes over all rows, each followed by a correction on the sample, while that helps."""
        assert self.full is not None
        limit, tolerance = self.options.max_passes, self.options.tolerance
        best: Solution | None = None
        error, gain, best_k = np.inf, 1.0, g_k
        while True:
            expected = 0.0 if warm and error == np.inf else EXPECTED_FACTOR * gain * error
            reduced = self.reduced and expected > tolerance and limit - used >= 2
            g_k = g_k - self.side.mass_k @ g_k
            result = evaluate(
                self.full,
                Kernel(self.side, g_k, self.problem.epsilon),
                self.options.advance,
                reduced=reduced,
                keep_gradient=self.keep_gradient and not reduced,
            )
            used += 1
            if not reduced and (best is None or result.marginal_error <= best.result.marginal_error):
                step_k = plain_step(result, self.side.mass_k, self.problem.epsilon)
                best = Solution(g_k=g_k, result=result, step_k=step_k, passes=1, contraction=contraction)
            if best is not None and (best.result.marginal_error <= tolerance or limit - used < 1):
                return best, used
            inner = min(INNER_PASSES, int((limit - used - 1) / self._share))
            if result.marginal_error > LEAST_GAIN * error or inner < 2:
                best_k = g_k if result.marginal_error < error else best_k
                break
            gain = gain if error < np.inf else min(1.0, result.marginal_error)
            error, best_k = result.marginal_error, g_k
            g_k, passes = self._correct(g_k, result, tolerance, inner)
            used += passes * self._share
        return self._mix(best, best_k, contraction, used)

    def _correct(
        self, g_k: Floats, whole: PassResult, tolerance: float, max_passes: int
    ) -> tuple[Floats, int]:
        """The next potential [K] after a pass over all rows at g [K], and the passes over the sample."""
        here = evaluate(self.stored, Kernel(self.side, g_k, self.problem.epsilon), self.options.advance)
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
                self.stored,
                Kernel(self.side, next_k, self.problem.epsilon),
                self.options.advance,
                wanted_k=wanted_k,
            ),
            g_k,
            wanted_k,
            epsilon=self.problem.epsilon,
            tolerance=max(INNER_SHARE * whole.marginal_error, 0.1 * tolerance),
            max_passes=max_passes,
            contraction=PLAIN_CONTRACTION,
            first=first,
        )
        return solution.g_k + solution.step_k, solution.passes

    def _mix(
        self, best: Solution | None, g_k: Floats, contraction: float | None, used: float
    ) -> tuple[Solution, float]:
        """Float32 passes over all rows with Anderson mixing, from the best potential so far."""
        assert self.full is not None
        first = None if best is None else best.result
        left = int(self.options.max_passes - used) + (first is not None)
        start_k = g_k if best is None else best.g_k
        solution = self._iterate(self.full, start_k, self.options.tolerance, left, contraction, first)
        return solution, used + solution.passes - (first is not None)

    @property
    def _share(self) -> float:
        """What a pass over the sample is of one over all rows."""
        assert self.full is not None
        return self.stored.count / self.full.count

    def _ladder(self, limit: int) -> tuple[Floats, int]:
        """From g = 0, a few passes at each of some larger epsilons; returns g [K] and the passes made."""
        g_k, used = np.zeros(len(self.side.mass_k)), 0
        relative = self.problem.epsilon / self.problem.mean_cost
        rungs = int(np.log(LADDER_TOP / relative) / np.log(LADDER_FACTOR))
        for rung in range(rungs if relative < LADDER_BELOW else 0, 0, -1):
            epsilon = self.problem.epsilon * LADDER_FACTOR**rung
            passes = min(LADDER_PASSES, limit - used)
            if passes < 1:
                break
            solution = iterate(
                self._passes(self.stored, epsilon),
                g_k,
                self.side.mass_k,
                epsilon=epsilon,
                tolerance=LADDER_TOLERANCE,
                max_passes=passes,
            )
            g_k, used = solution.g_k + solution.step_k, used + solution.passes
        return g_k, used

    def _iterate(
        self,
        rows: PassRows,
        g_k: Floats,
        tolerance: float,
        limit: int,
        contraction: float | None,
        first: PassResult | None = None,
    ) -> Solution:
        return iterate(
            self._passes(rows, self.problem.epsilon),
            g_k,
            self.side.mass_k,
            epsilon=self.problem.epsilon,
            tolerance=tolerance,
            max_passes=max(1, limit),
            contraction=contraction,
            first=first,
        )

    def _passes(self, rows: PassRows, epsilon: float) -> Callable[[Floats], PassResult]:
        keep = self.keep_gradient and rows is self.full
        return lambda g_k: evaluate(
            rows, Kernel(self.side, g_k, epsilon), self.options.advance, keep_gradient=keep
        )
