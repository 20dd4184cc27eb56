"""How crowded the neighbourhood of each document is, and draws that thin the crowds."""

from tamis.coverage.errors import (
    BadDensityError,
    BadVectorsError,
    ClusteringError,
    SketchError,
    UniformDrawWarning,
)
from tamis.coverage.kernel import collision_probability
from tamis.coverage.prototypes import Prototypes, fit_prototypes
from tamis.coverage.redundancy import semantic_redundancy
from tamis.coverage.sampling import (
    DrawReport,
    draw_report,
    effective_sample_size,
    inverse_propensity_keys,
    inverse_propensity_sample,
)
from tamis.coverage.sketch import DensitySketch

CODE_VERSION = "2"

__all__ = [
    "CODE_VERSION",
    "BadDensityError",
    "BadVectorsError",
    "ClusteringError",
    "DensitySketch",
    "DrawReport",
    "Prototypes",
    "SketchError",
    "UniformDrawWarning",
    "collision_probability",
    "draw_report",
    "effective_sample_size",
    "fit_prototypes",
    "inverse_propensity_keys",
    "inverse_propensity_sample",
    "semantic_redundancy",
]
