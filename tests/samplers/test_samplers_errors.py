"""What the rivals refuse, and how they say it."""

import re

import numpy as np
import pytest
from transport_problems import clustered

from tamis.samplers import RIVALS, BadTextError, hidden_states
from tamis.samplers.tsds import neighbour_density
from tamis.transport import BadShapeError

NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("bandwidth", (0, 0.0, -0.5, NAN, np.inf, "wide"), "a positive finite number"),
        ("scale", (0, -5.0, NAN, np.inf, None), "a positive finite number"),
        ("spread", (-0.1, 1.5, NAN, "half", None), "a number from 0 to 1"),
        ("neighbours", (0, -3, NAN, 2.5), "a whole number, 1 or more"),
    ],
)
def test_settings_of_tsds_that_make_no_sense_are_refused(name, values, expected):
    problem = clustered(1)
    for value in values:
        with pytest.raises(BadShapeError, match=re.escape(f"{name}: {value!r}; expected {expected}")):
            neighbour_density(problem.y, problem.x, 5, **{name: value})


def test_the_ends_of_the_trade_off_and_a_single_candidate_are_fine():
    problem = clustered(2)
    for spread in (0, 1, np.float32(0.5)):
        assert np.isfinite(neighbour_density(problem.y, problem.x, 5, spread=spread).score).all()
    assert neighbour_density(problem.y, problem.x[:1], 1, center=False).chosen.tolist() == [0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("relative_epsilon", 0), ("penalty", NAN), ("tolerance", -1), ("max_passes", NAN), ("max_passes", 2.5)],
)
def test_settings_of_unbalanced_transport_that_make_no_sense_are_refused(name, value):
    problem = clustered(3)
    with pytest.raises(BadShapeError, match=f"{name}: {value!r}; expected a "):
        RIVALS["unbalanced"](problem.y, problem.x, 5, **{name: value})


@pytest.mark.parametrize("rival", [RIVALS["dsir"], lambda *given: hidden_states(*given, model="none")])
def test_texts_that_are_none_are_named(rival):
    surrogate = "unpaired surrogate '\\udc80' at character 3; expected a str that can be encoded as UTF-8"
    for target, pool, message in (
        (["good"], ["fine", "so \udc80 so"], f"candidates text 1: {surrogate}"),
        (["so \udc80"], ["fine"], f"target text 0: {surrogate}"),
        (["good"], ["fine", None], "candidates text 1: a NoneType; expected a str"),
        (["good", b"bytes"], ["fine"], "target text 1: a bytes; expected a str"),
    ):
        with pytest.raises(BadTextError, match=re.escape(message)):
            rival(target, pool, 1)


@pytest.mark.parametrize(("name", "value"), [("buckets", 0), ("buckets", 1.5), ("smoothing", NAN)])
def test_settings_of_dsir_that_make_no_sense_are_refused(name, value):
    with pytest.raises(BadShapeError, match=f"{name}: {value!r}; expected a "):
        RIVALS["dsir"](["a"], ["b"], 1, **{name: value})
    with pytest.raises(BadShapeError, match="target: no texts; expected at least one"):
        RIVALS["dsir"]([], ["b"], 1)
