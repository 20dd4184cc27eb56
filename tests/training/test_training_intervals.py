"""Intervals of held-out figures: by hand where that is possible, and they cover what they claim to."""

import numpy as np
import pytest

from tamis.training import TrainingResult
from tamis.training.evaluation import macro_f1
from tamis.training.intervals import estimates
from tamis.training.results import Outcomes


def result(**values) -> TrainingResult:
    return TrainingResult(
        steps=1,
        tokens=1,
        flops=1.0,
        seconds=1.0,
        peak_memory_bytes=1,
        parameters=1,
        losses=[],
        outcomes=Outcomes(**values),
    )


def test_figures_are_those_of_all_examples():
    draw = np.random.default_rng(0)
    expected, predicted = draw.integers(0, 3, 60).tolist(), draw.integers(0, 4, 60).tolist()
    found = estimates([result(expected=expected, predicted=predicted)])
    assert found["accuracy"].mean == np.mean(np.array(expected) == np.array(predicted))
    assert found["macro_f1"].mean == pytest.approx(macro_f1(np.array(expected), np.array(predicted)))
    for one in found.values():
        assert one.low < one.mean < one.high


def test_nothing_to_draw_from_is_no_width():
    always = result(expected=[0, 1, 1], predicted=[0, 1, 1])
    found = estimates([always, always])["accuracy"]
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_run_without_held_out_examples_has_no_figures():
    plain = TrainingResult(
        steps=1, tokens=1, flops=1.0, seconds=1.0, peak_memory_bytes=1, parameters=1, losses=[]
    )
    assert estimates([plain]) == {}


def test_an_accuracy_has_the_textbook_width():
    outcomes = {"expected": [0] * 200, "predicted": [0] * 150 + [1] * 50}
    found = estimates([result(**outcomes)])["accuracy"]
    assert found.high - found.low == pytest.approx(2 * 1.97 * (0.75 * 0.25 / 200) ** 0.5, rel=0.08)


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_cover_the_truth(seeds):
    """Documents of a mean code length of 2 bits a byte, and a shift of every seed's own."""
    draw = np.random.default_rng(1)
    covered, trials, spread = 0, 200, 0.05 if seeds > 1 else 0.0
    for number in range(trials):
        sizes = draw.integers(20, 200, 50)
        own = draw.normal(2.0, 0.3, 50)
        runs = [
            result(bits=((own + draw.normal(0, spread)) * sizes).tolist(), n_bytes=sizes.tolist())
            for _ in range(seeds)
        ]
        found = estimates(runs, number)["bits_per_byte"]
        covered += found.low <= 2.0 <= found.high
    assert 0.9 <= covered / trials <= 0.99
