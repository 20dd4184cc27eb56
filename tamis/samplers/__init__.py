"""Other ways to choose documents for a target, behind one signature, for comparison on a user's own data.

`RIVALS[name](target, candidates, k, seed=0, ids=None)` returns positions and a score, smallest first. Those
in `TAKES_TEXTS` take texts, the others vectors; "rds+" also wants `model`.
"""

from collections.abc import Callable

from tamis.samplers.choice import BadTextError, Choice
from tamis.samplers.dsir import importance_resampling
from tamis.samplers.neighbours import chance, nearest, round_robin
from tamis.samplers.rds import hidden_state_vectors, hidden_states
from tamis.samplers.tsds import neighbour_density
from tamis.samplers.unbalanced import unbalanced

CODE_VERSION = "3"  # 3: characters of scripts without spaces are words

RIVALS: dict[str, Callable[..., Choice]] = {
    "random": chance,
    "knn": nearest,
    "round-robin": round_robin,
    "dsir": importance_resampling,
    "tsds": neighbour_density,
    "unbalanced": unbalanced,
    "rds+": hidden_states,
}
TAKES_TEXTS = frozenset({"dsir", "rds+"})

__all__ = [
    "CODE_VERSION",
    "RIVALS",
    "TAKES_TEXTS",
    "BadTextError",
    "Choice",
    "chance",
    "hidden_state_vectors",
    "hidden_states",
    "importance_resampling",
    "nearest",
    "neighbour_density",
    "round_robin",
    "unbalanced",
]
