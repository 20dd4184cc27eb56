"""The order of a solve: a ladder of larger epsilons when epsilon is small, a sample, then full passes.

The sample starts the full passes near the end: on 60,000 real vectors, M = 500, 4 full passes instead of 7 at
epsilon = .03 of the mean cost. The ladder is used under .01 of it only. There it halves the mean number of
passes on well-separated clusters (110 to 58) and takes a fifth off on text; above, it costs more than it
saves.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tamis.progress import Advance
from tamis.transport.anderson import Solution, iterate
from tamis.transport.certificate import REFINE_BELOW
from tamis.transport.cost import Floats
from tamis.transport.prepare import Accuracy, Problem
from tamis.transport.sinkhorn import PassResult, StoredRows, StreamedRows, TargetSide, evaluate

SAMPLE_TOLERANCE = 1e-2
LADDER_BELOW, LADDER_TOP, LADDER_FACTOR = 0.01, 0.1, 3.0
LADDER_TOLERANCE, LADDER_PASSES = 0.03, 10


@dataclass(frozen=True, kw_only=True)
class Stages:
    """A problem ready to run. `full` is None when the stored rows are all there is."""

    side: TargetSide
    stored: StoredRows
    full: StreamedRows | None
    problem: Problem
    accuracy: Accuracy
    advance: Advance

    def run(self, start_k: Floats | None, contraction: float | None) -> tuple[Solution, float]:
        """Solve from g = 0 or a given g [K]; also how many readings of the reference the work comes to."""
        tolerance, limit = self.accuracy.tolerance, self.accuracy.max_passes
        if self.full is None:
            g_k, used = self._ladder(limit // 2) if start_k is None else (start_k, 0)
            solution = self._iterate(self.stored, g_k, tolerance, limit - used, contraction)
            return solution, float(used + solution.passes)
        used_share = 0.0
        if start_k is not None:
            first = self._passes(self.full, self.problem.epsilon)(start_k)
            if limit < 3 or first.marginal_error <= max(REFINE_BELOW, tolerance):
                solution = self._iterate(self.full, start_k, tolerance, limit, contraction, first)
                return solution, float(solution.passes)
            used_share = 1.0
        g_k, contraction, share = self._on_sample(start_k, contraction)
        used_share += share
        left = max(1, int(limit - used_share))
        solution = self._iterate(self.full, g_k, tolerance, left, contraction)
        return solution, used_share + solution.passes

    def _on_sample(
        self, start_k: Floats | None, contraction: float | None
    ) -> tuple[Floats, float | None, float]:
        """Potential [K] and contraction from the sample, and the share of a full reading that it took."""
        assert self.full is not None
        share = self.stored.count / self.full.count
        limit = int((self.accuracy.max_passes - 1) / (2 * share))
        if limit == 0:
            return np.zeros(len(self.side.mass_k)) if start_k is None else start_k, contraction, 0.0
        g_k, used = self._ladder(limit // 2) if start_k is None else (start_k, 0)
        loose = max(self.accuracy.tolerance, SAMPLE_TOLERANCE)
        solution = self._iterate(self.stored, g_k, loose, limit - used, contraction)
        return solution.g_k, solution.contraction, (used + solution.passes) * share

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
        rows: StoredRows | StreamedRows,
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

    def _passes(self, rows: StoredRows | StreamedRows, epsilon: float) -> Callable[[Floats], PassResult]:
        return lambda g_k: evaluate(rows, self.side, g_k, epsilon, self.advance)
