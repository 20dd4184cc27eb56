"""How crowded the neighbourhood of each document is, and draws that thin the crowds."""

from tamis.coverage.errors import BadDensityError, BadVectorsError, SketchError
from tamis.coverage.kernel import collision_probability
from tamis.coverage.sampling import effective_sample_size, inverse_propensity_keys, inverse_propensity_sample
from tamis.coverage.sketch import DensitySketch

CODE_VERSION = "1"

__all__ = [
    "CODE_VERSION",
    "BadDensityError",
    "BadVectorsError",
    "DensitySketch",
    "SketchError",
    "collision_probability",
    "effective_sample_size",
    "inverse_propensity_keys",
    "inverse_propensity_sample",
]
