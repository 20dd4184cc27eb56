"""How long threads spin while they wait: briefly, so that two processes can share the processors.

OpenMP's threads spin for milliseconds before they sleep. Alone that is fastest; with a second process that
spins too (a `tamis materialize` while the UI's sensors work, say) each waits for a thread that has no
processor: training fell from 12,400 tokens/s alone to between 150 and 3,400 for each of two on two cores.
With 1,000 spins it is 11,600 alone and 5,200 for each of two.
"""

import os

SPINS = "1000"


def spin_briefly() -> None:
    """Set it for this process and its children, unless somebody has; before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
