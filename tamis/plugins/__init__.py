"""Decorators of scores and samplers in Python.

A function with such a decorator is a plug-in: in a file that `plugins` of `[project]` names, or at an entry
point `tamis.scores` or `tamis.samplers` of an installed package. Tamis reads the arguments of a decorator
without running the file, so they are literals.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from tamis.plugins.declaration import PluginError, declare

Function = TypeVar("Function", bound=Callable[..., Any])

__all__ = ["PluginError", "sampler", "score"]


def score(
    *,
    name: str,
    version: str,
    reads: str = "text",
    higher: str = "better",
    range: tuple[float, float] | None = None,
    meaning: str = "",
    citation: str = "",
    cost: float | None = None,
) -> Callable[[Function], Function]:
    """Return a decorator that makes a function a score: f(texts: list[str]) -> [n] numbers.

    NaN and None are no value. `version`: raised when the same text gets another number. `higher`: "better" or
    "worse". `range`: ends of the scale, for use as quality. `cost`: seconds for 1,000 documents on one core.
    Raises `PluginError`.
    """
    declare("score", locals())
    return _unchanged


def sampler(
    *,
    name: str,
    version: str,
    reads: tuple[str, ...] | str,
    meaning: str = "",
    citation: str = "",
    cost: float | None = None,
) -> Callable[[Function], Function]:
    """Return a decorator that makes a function a sampler: f(candidates, vectors_nd, goal_md, seed) -> [n].

    The smallest number comes first; NaN and None are no value. `candidates`: a polars frame of n documents
    with doc_id, n_tokens and, if `reads` has "text", text. `vectors_nd`: their vectors as float32, if `reads`
    has "vectors", else None. `goal_md`: vectors of the target's training examples, where the selection has a
    target and vectors are read, else None; with "goal" in `reads` a selection must have a target. Other
    arguments as of `score`. Raises `PluginError`.
    """
    declare("sampler", locals())
    return _unchanged


def _unchanged(function: Function) -> Function:
    return function
