"""Tests of many cases, in parts: the long suite tries some, `make test-exhaustive` the others."""

import pytest


def in_parts(count: int, tried: int = 1, name: str = "part") -> pytest.MarkDecorator:
    """Call a test with the numbers of its parts; the first `tried` belong to the long suite."""
    others = (pytest.param(part, marks=pytest.mark.exhaustive) for part in range(tried, count))
    return pytest.mark.parametrize(name, [*range(tried), *others])
