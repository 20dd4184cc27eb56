"""The five laws as one family, so that one solver, one grid and one Jacobian serve all of them.

    log L(D) = level + alpha * log( share * g(x) + (1 - share) ),   x = D / centre,   g(1) = 1

with g(x) = (1 + d) / (d + x^beta), or ((1 + d) / (d + x))^beta for the shifted law. The coordinates are
(level, logit share, log beta, log d, log alpha); a law frees some of them. Written so, a pure power law
(d -> 0, share -> 1) and a straight descent (d -> infinity) are ordinary points instead of overflows, and
the centre makes every fit independent of the units of sizes and losses. Sources: Lin et al. (arXiv
2402.02314), equation 4 (rectified) and 2 (vanilla); Hoffmann et al. (arXiv 2203.15556) for power3.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tamis.scaling.measurements import Floats

LEVEL, SHARE, BETA, DELAY, ALPHA = range(5)
LOWER = np.array([-np.inf, -30.0, np.log(0.005), -30.0, np.log(0.05)])
UPPER = np.array([np.inf, 40.0, np.log(8.0), 30.0, np.log(50.0)])
PRIOR_SPREAD = np.array([np.inf, 5.0, 1.0, 6.0, 1.0])
"""Standard deviations of weak priors on the coordinates; only intervals use them, never a fit."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """One law of the family: the coordinates it frees, and its parameters by the paper's names."""

    name: str
    formula: str
    free: tuple[int, ...]
    parameters: Callable[[Floats, float], dict[str, float]]
    shifted: bool = False

    def log_loss(self, coordinates: Floats, log_x: Floats) -> tuple[Floats, Floats]:
        """Log losses [s, n] and their derivatives [s, n, 5] for coordinates [s, 5] at log sizes [n]."""
        level, share, log_beta, delay, log_alpha = (coordinates[:, i, None] for i in range(5))
        beta, alpha = np.exp(log_beta), np.exp(log_alpha)
        power = log_x if self.shifted else beta * log_x
        with np.errstate(over="ignore"):
            delayed = 1.0 / (1.0 + np.exp(power - delay))  # share of d in d + x^beta
            delayed_centre = 1.0 / (1.0 + np.exp(-delay))
        log_g = np.logaddexp(0.0, delay) - np.logaddexp(power, delay)
        if self.shifted:
            by_beta, by_delay = beta * log_g, beta * (delayed_centre - delayed)
            log_g = beta * log_g
        else:
            by_beta, by_delay = -(1.0 - delayed) * power, delayed_centre - delayed
        log_share, log_rest = -np.logaddexp(0.0, -share), -np.logaddexp(0.0, share)
        inner = np.logaddexp(log_share + log_g, log_rest)
        falling = np.exp(log_share + log_g - inner)  # the part of the loss that data can still remove
        by_share = falling * np.exp(log_rest) - (1.0 - falling) * np.exp(log_share)
        columns = (
            np.ones_like(inner),
            alpha * by_share,
            alpha * falling * by_beta,
            alpha * falling * by_delay,
            alpha * inner,
        )
        return level + alpha * inner, np.stack(columns, axis=-1)


def _levels(q: Floats) -> tuple[float, float, float, float]:
    """(irreducible term, reducible term at the centre, beta, alpha)."""
    alpha = float(np.exp(q[ALPHA]))
    with np.errstate(over="ignore"):
        scale = float(np.exp(q[LEVEL] / alpha))
    rest, share = np.exp(-np.logaddexp(0.0, [q[SHARE], -q[SHARE]]))
    return scale * float(rest), scale * float(share), float(np.exp(q[BETA])), alpha


def _power(base: float, exponent: float) -> float:
    """Infinite where Python raises OverflowError."""
    with np.errstate(over="ignore"):
        return float(np.exp(exponent * np.log(base)))


def _rectified(q: Floats, centre: float) -> dict[str, float]:
    floor, reducible, beta, _alpha = _levels(q)
    unit, delay = _power(centre, beta), float(np.exp(q[DELAY]))
    return {"B": reducible * (1.0 + delay) * unit, "D_l": delay * unit, "beta": beta, "E": floor}


def _rectified5(q: Floats, centre: float) -> dict[str, float]:
    return _rectified(q, centre) | {"alpha": float(np.exp(q[ALPHA]))}


def _power3(q: Floats, centre: float) -> dict[str, float]:
    floor, reducible, beta, _alpha = _levels(q)
    return {"B": reducible * _power(centre, beta), "beta": beta, "E": floor}


def _vanilla(q: Floats, centre: float) -> dict[str, float]:
    return _power3(q, centre) | {"alpha": float(np.exp(q[ALPHA]))}


def _shifted(q: Floats, centre: float) -> dict[str, float]:
    floor, reducible, exponent, _alpha = _levels(q)
    delay = float(np.exp(q[DELAY]))
    amplitude = reducible * _power((1.0 + delay) * centre, exponent)
    return {"A": amplitude, "b": exponent, "C": delay * centre, "E": floor}


LAWS = {
    law.name: law
    for law in (
        Law(
            name="rectified",
            formula="B / (D_l + D^beta) + E",
            free=(LEVEL, SHARE, BETA, DELAY),
            parameters=_rectified,
        ),
        Law(
            name="vanilla",
            formula="(B / D^beta + E)^alpha, all parameters > 0",
            free=(LEVEL, SHARE, BETA, ALPHA),
            parameters=_vanilla,
        ),
        Law(name="power3", formula="B / D^beta + E", free=(LEVEL, SHARE, BETA), parameters=_power3),
        Law(
            name="shifted",
            formula="E + A (D + C)^-b",
            free=(LEVEL, SHARE, BETA, DELAY),
            parameters=_shifted,
            shifted=True,
        ),
        Law(
            name="rectified5",
            formula="(B / (D_l + D^beta) + E)^alpha",
            free=(LEVEL, SHARE, BETA, DELAY, ALPHA),
            parameters=_rectified5,
        ),
    )
}


def coordinates_of(values: Floats, delay: Floats | float, alpha: Floats | float) -> Floats:
    """Stack (level, share, log beta) [s, 3] with a delay and an alpha into coordinates [s, 5]."""
    rest = [np.broadcast_to(np.asarray(part, dtype=np.float64), values.shape[:1]) for part in (delay, alpha)]
    return np.column_stack([values, *rest])
