"""A score of the user's own on the scales of rankings: best first, quality from 0 to 1, and its log odds."""

import polars as pl

from tamis.settings.sections import ScoreSection

LEAST_QUALITY = 0.01
"""Distance from 0 and 1 to which a quality is clipped before its log odds."""
VALUE = "value"


def best_first(score: ScoreSection) -> pl.Expr:
    """Return the value, with its sign turned where higher is worse: the largest is the best."""
    return pl.col(VALUE) if score.higher == "better" else -pl.col(VALUE)


def as_quality(score: ScoreSection) -> pl.Expr:
    """Return the share of the range that the value has passed, 0 to 1, from the worse end."""
    assert score.range is not None, "settings require it"
    low, high = score.range
    share = ((pl.col(VALUE) - low) / (high - low)).clip(0.0, 1.0)
    return share if score.higher == "better" else 1.0 - share


def as_log_odds(score: ScoreSection) -> pl.Expr:
    """Return the log odds of the quality of a score."""
    return log_odds(as_quality(score))


def log_odds(quality: pl.Expr) -> pl.Expr:
    """Return the log odds of a quality from 0 to 1, which is clipped away from its ends: within 4.6."""
    clipped = quality.clip(LEAST_QUALITY, 1.0 - LEAST_QUALITY)
    return (clipped / (1.0 - clipped)).log()
