"""Optimal transport from a pool to a target: GOT-D scores and how far to trust them (Kang et al. 2405.02774).

A solve is summarised by M numbers, the target potential g, and a document's score is one soft c-transform of
g. So a pool of any size is streamed, sharded and updated with M floats of state, at the price of redoing the
products on every pass: 1,000,000 x 1,000 x 384 from a table take 12 s of two cores, all scores included.
"""

from tamis.transport.certificate import (
    EstimatedTopK,
    UnionCertificate,
    calibrate,
    estimated_top_k,
    union_certificate,
)
from tamis.transport.cost import BadShapeError, BadVectorError, OneShotIterableError
from tamis.transport.gaps import Stability, bootstrap_stability
from tamis.transport.ordering import smallest_first
from tamis.transport.potential import TargetPotential, UnreadablePotentialError
from tamis.transport.prepare import FewTargetPoints, LargeEpsilon
from tamis.transport.scoring import nearest_cost
from tamis.transport.shards import (
    OtherPotentialError,
    ShardNameError,
    ShardSums,
    UnknownShardError,
    join,
    leave,
)
from tamis.transport.solve import NotConverged, solve_and_score, solve_potential

CODE_VERSION = "5"
POOL_CODE_VERSION = "1"
GAPS_CODE_VERSION = "2"

__all__ = [
    "CODE_VERSION",
    "GAPS_CODE_VERSION",
    "POOL_CODE_VERSION",
    "BadShapeError",
    "BadVectorError",
    "EstimatedTopK",
    "FewTargetPoints",
    "LargeEpsilon",
    "NotConverged",
    "OneShotIterableError",
    "OtherPotentialError",
    "ShardNameError",
    "ShardSums",
    "Stability",
    "TargetPotential",
    "UnionCertificate",
    "UnknownShardError",
    "UnreadablePotentialError",
    "bootstrap_stability",
    "calibrate",
    "estimated_top_k",
    "join",
    "leave",
    "nearest_cost",
    "smallest_first",
    "solve_and_score",
    "solve_potential",
    "union_certificate",
]
