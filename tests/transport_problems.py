"""Small transport problems, and the exact quantities that the tests compare with."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Problem:
    """target y [M, d] with masses b [M], reference x [N, d] with masses a [N]."""

    y: np.ndarray
    x: np.ndarray
    b: np.ndarray
    a: np.ndarray

    @property
    def weights(self):
        return {"target_weights": self.b, "reference_weights": self.a}


RAW = {"center": False, "normalize": False}


def clustered(seed, n=120, m=25, d=6, clusters=5):
    """Clustered points with Dirichlet masses, which make the duals of the linear program unique."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, d))
    return Problem(
        x=centres[rng.integers(clusters, size=n)] + 0.5 * rng.normal(size=(n, d)),
        y=centres[rng.integers(clusters, size=m)] + 0.5 * rng.normal(size=(m, d)),
        a=rng.dirichlet(np.ones(n)),
        b=rng.dirichlet(np.ones(m)),
    )


def costs(problem):
    """Squared Euclidean costs [N, M] of the raw points."""
    return ((problem.x[:, None, :] - problem.y[None, :, :]) ** 2).sum(2)


def prepared(problem):
    """The same problem after centring by the weighted reference mean and normalising."""
    centre = problem.a @ problem.x
    unit = [(v - centre) / np.linalg.norm(v - centre, axis=1, keepdims=True) for v in (problem.y, problem.x)]
    return Problem(y=unit[0], x=unit[1], a=problem.a, b=problem.b)


def centred(values, weights=None):
    """Values less their (weighted) mean: potentials are defined up to a constant."""
    values = np.asarray(values, dtype=np.float64)
    return values - (values.mean() if weights is None else weights @ values)


class Blocks:
    """Rows in blocks of uneven sizes that can be iterated again."""

    def __init__(self, rows, sizes):
        self.rows, self.sizes = rows, sizes

    def __iter__(self):
        start, turn = 0, 0
        while start < len(self.rows):
            size = self.sizes[turn % len(self.sizes)]
            yield self.rows[start : start + size]
            start, turn = start + size, turn + 1
