"""What counts as one size: sizes nearer than 2 % do, and a slope over so small a step is never used."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.scaling import predict_full_loss
from tamis.scaling.measurements import measured

SIZES = 100 * 2.0 ** np.arange(6)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([1.0, 1.0001, 1.015, 1.02, 1.05, 2.0]), max_size=12),
    st.floats(1e-3, 1e6),
    st.randoms(use_true_random=False),
)
def test_a_size_belongs_to_the_smallest_within_two_per_cent(steps, unit, draw):
    pairs = [(unit * float(size), draw.uniform(0.5, 5)) for size in np.cumprod(steps)]
    draw.shuffle(pairs)
    groups: list[list[tuple[float, float]]] = []
    for size, loss in sorted(pairs):
        if not groups or size / groups[-1][0][0] > 1.02 - 1e-8:
            groups.append([])
        groups[-1].append((size, loss))
    found = measured(*map(list, zip(*pairs, strict=True))) if pairs else measured([], [])
    assert len(found) == len(groups)
    for size, loss, group in zip(found.sizes, found.losses, groups, strict=True):
        if len(group) == 1:
            assert (size, loss) == group[0]
        means = np.exp(np.log(np.array(group)).mean(0))
        assert (size, loss) == pytest.approx(tuple(means), rel=1e-12)


def test_one_size_measured_again_stays_what_it_is():
    found = measured([300.1, 100.7, 300.1], [2.0, 3.0, 2.5])
    assert found.sizes.tolist() == [100.7, 300.1]
    assert any("measured more than once: 1" in remark for remark in found.remarks)


@pytest.mark.parametrize("gap", [1e-4, 1e-3, 1e-2])
def test_two_seeds_a_size_that_differ_a_little_predict_as_if_they_did_not(gap):
    """Six sizes, each measured twice, the second time up to 1 % larger, as sizes in tokens are."""
    held, wild, trials = 0, 0, 0
    for seed in range(12):
        draw = np.random.default_rng(seed)
        curves, truth = {}, {}
        for number in range(5):
            drop, delay, floor = draw.uniform(1, 4), 10 ** draw.uniform(2.3, 4), draw.uniform(0.3, 1.5)
            sizes = np.sort(np.concatenate([SIZES, SIZES * (1 + gap * draw.uniform(0.2, 1, 6))]))
            clean = [floor + drop / (1 + (size / delay) ** 0.5) for size in (*sizes, 6_400.0)]
            noisy = clean * np.exp(0.004 * draw.normal(size=13))
            curves[f"m{number}"], truth[f"m{number}"] = (sizes, noisy[:12]), noisy[12]
        for name, found in predict_full_loss(curves, 6_400).items():
            held += found.low <= truth[name] <= found.high
            wild += not 0.8 < found.loss / truth[name] < 1.25
            trials += 1
    assert wild == 0
    assert held / trials > 0.85
