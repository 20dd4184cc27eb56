"""Optimal transport from a pool to a target: GOT-D scores and what they prove (Kang et al. 2405.02774).

A solve is summarised by M numbers, the target potential g, and a document's score is one soft c-transform of
g. So a pool of any size is streamed, sharded and updated with M floats of state, at the price of redoing the
products on every pass: 234,000 x 1,000 x 384 to a marginal error of 1e-3 takes 11 s of one core.
"""

from tamis.transport.blocks import BadShapeError, BadVectorError, OneShotIterableError
from tamis.transport.certificate import (
    CertifiedTopK,
    UnionCertificate,
    calibrate,
    certified_top_k,
    union_certificate,
)
from tamis.transport.nearest import nearest_cost
from tamis.transport.potential import TargetPotential, UnreadablePotentialError
from tamis.transport.prepare import FewTargetPoints, LargeEpsilon
from tamis.transport.solve import NotConverged, solve_potential

CODE_VERSION = "1"

__all__ = [
    "CODE_VERSION",
    "BadShapeError",
    "BadVectorError",
    "CertifiedTopK",
    "FewTargetPoints",
    "LargeEpsilon",
    "NotConverged",
    "OneShotIterableError",
    "TargetPotential",
    "UnionCertificate",
    "UnreadablePotentialError",
    "calibrate",
    "certified_top_k",
    "nearest_cost",
    "solve_potential",
    "union_certificate",
]
