"""Learning rate over a run: linear warm-up, then a cosine down to a tenth of the peak.

The floor of a tenth follows Hoffmann et al. 2203.15556, appendix B.
"""

import math
from dataclasses import dataclass

FLOOR_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Peak learning rate, steps in all, and the share of them that warms up."""

    peak: float
    steps: int
    warm_up_share: float

    def rate(self, step: int) -> float:
        """Learning rate of `step`, counted from 0."""
        warm_up = max(1, round(self.warm_up_share * self.steps))
        if step < warm_up:
            return self.peak * (step + 1) / warm_up
        progress = (step - warm_up) / max(1, self.steps - warm_up)
        return self.peak * (FLOOR_SHARE + (1 - FLOOR_SHARE) * 0.5 * (1 + math.cos(math.pi * progress)))
