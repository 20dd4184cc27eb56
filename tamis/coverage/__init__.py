"""How crowded the neighbourhood of each document is, and draws that thin the crowds."""

from tamis.coverage.hashing import collision_probability
from tamis.coverage.sampling import (
    DrawReport,
    draw_report,
    effective_sample_size,
    inverse_propensity_keys,
    inverse_propensity_sample,
)
from tamis.coverage.sketch import DensitySketch
from tamis.coverage.vectors import (
    BadDensityError,
    BadVectorsError,
    ClusteringError,
    SketchError,
    UniformDrawWarning,
)

CODE_VERSION = "2"

__all__ = [
    "CODE_VERSION",
    "BadDensityError",
    "BadVectorsError",
    "ClusteringError",
    "DensitySketch",
    "DrawReport",
    "SketchError",
    "UniformDrawWarning",
    "collision_probability",
    "draw_report",
    "effective_sample_size",
    "inverse_propensity_keys",
    "inverse_propensity_sample",
]
