"""The density sketch against the exact kernel sum, and the exactness of add, subtract, merge and save."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import norm, spearmanr

from tamis.coverage import BadVectorsError, DensitySketch, SketchError

DIM = 8


def points(n, seed=0, dim=DIM):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def exact_density(queries, added, width, hashes):
    c = np.maximum(cdist(queries, added), 1e-9)
    k = (
        1
        - 2 * norm.cdf(-width / c)
        - 2 * c / (np.sqrt(2 * np.pi) * width) * -np.expm1(-((width / c) ** 2) / 2)
    )
    return (k**hashes).sum(axis=1)


@pytest.mark.parametrize(("hashes", "width"), [(1, 2.0), (4, 4.0), (8, 8.0)])
def test_density_is_the_exact_kernel_sum(hashes, width):
    added = points(800)
    sketch = DensitySketch(DIM, rows=600, hashes=hashes, width=width).add(added)
    exact = exact_density(added, added, width, hashes)
    estimate = sketch.density(added)
    assert estimate.dtype == np.float32
    assert np.median(np.abs(estimate / exact - 1)) < 0.06
    assert spearmanr(estimate, exact).statistic > 0.9


def test_density_holds_outside_the_counted_points_too():
    added, elsewhere = points(800), points(300, seed=1) + 0.5
    sketch = DensitySketch(DIM, rows=800, hashes=4, width=4.0).add(added)
    exact = exact_density(elsewhere, added, 4.0, 4)
    assert np.corrcoef(sketch.density(elsewhere), exact)[0, 1] > 0.97


def test_error_falls_with_the_square_root_of_the_rows():
    added = points(400)
    exact = exact_density(added, added, 3.0, 2)

    def error(rows):
        estimate = DensitySketch(DIM, rows=rows, hashes=2, width=3.0, seed=3).add(added).density(added)
        return np.sqrt(np.mean((estimate - exact) ** 2))

    assert 1.4 < error(50) / error(200) < 2.9


def test_few_buckets_are_debiased():
    added = points(1_500)
    exact = exact_density(added, added, 3.0, 4)
    estimate = DensitySketch(DIM, rows=600, hashes=4, width=3.0, buckets=200).add(added).density(added)
    bias_without = len(added) / 200
    assert abs(np.mean(estimate - exact)) < 0.1 * bias_without


def test_lonely_vectors_count_themselves_and_nothing_else():
    added = points(40) * 1_000
    density = DensitySketch(DIM, rows=300, hashes=8, width=1.0).add(added).density(added)
    assert np.abs(density - 1).max() < 0.05


def test_noise_is_not_clamped():
    sketch = DensitySketch(DIM, rows=20, hashes=8, width=1.0, buckets=50).add(points(300))
    assert sketch.density(points(200, seed=2) * 100).min() < 0


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.randoms())
def test_any_split_order_and_merge_is_the_single_pass(sizes, random):
    added = points(sum(sizes))
    whole = DensitySketch(DIM, rows=30, hashes=3, width=2.0).add(added)
    parts = np.split(added, np.cumsum(sizes)[:-1])
    random.shuffle(parts)
    sketches = [DensitySketch(DIM, rows=30, hashes=3, width=2.0).add(part) for part in parts]
    merged = sketches[0]
    for sketch in sketches[1:]:
        merged = merged.merge(sketch)
    assert merged is sketches[0]
    assert merged.count == whole.count
    assert merged.fingerprint == whole.fingerprint


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 13))
def test_subtract_undoes_add_in_any_batching(kept, removed, batch):
    stays, goes = points(kept), points(removed, seed=1)
    before = DensitySketch(DIM, rows=30, hashes=4, width=1.5).add(stays)
    sketch = DensitySketch(DIM, rows=30, hashes=4, width=1.5).add(goes).add(stays)
    assert sketch.fingerprint != before.fingerprint
    for start in range(0, removed, batch):
        assert sketch.subtract(goes[::-1][start : start + batch]) is sketch
    assert sketch.fingerprint == before.fingerprint


def test_what_was_never_added_cannot_be_subtracted():
    sketch = DensitySketch(DIM, rows=30, hashes=4, width=1.0).add(points(50))
    before = sketch.fingerprint
    for strangers in (points(50, seed=9) * 10, points(51)):
        with pytest.raises(BadVectorsError):
            sketch.subtract(strangers)
    assert sketch.fingerprint == before


def test_the_same_bits_everywhere():
    """The fingerprint was taken once: it changes when hashing does, and then every stored sketch is void."""
    grid = np.array([[((7 * i + 3 * j) % 23 - 11) / 8 for j in range(DIM)] for i in range(64)])
    sketch = DensitySketch(DIM, rows=16, hashes=4, width=1.5, buckets=101, seed=5).add(grid)
    assert sketch.fingerprint == "2a3ccbff499046d3edd09461b4d6cfccd100c9c0f5f0020cc0ace2b8ecbada5b"


def test_float_types_and_torch_agree():
    half = points(30).astype(np.float16)
    kinds = [half, half.astype(np.float32), half.astype(np.float64), torch.from_numpy(half)]
    kinds.append(torch.from_numpy(half.astype(np.float32)).requires_grad_())
    prints = {DensitySketch(DIM, rows=9, width=1.0).add(kind).fingerprint for kind in kinds}
    assert len(prints) == 1


@pytest.mark.parametrize(
    "other", [{"rows": 31}, {"hashes": 2}, {"width": 2.5}, {"buckets": 99}, {"seed": 1}, {"dim": 9}]
)
def test_unlike_sketches_do_not_merge(other):
    common = {"dim": DIM, "rows": 30, "hashes": 3, "width": 2.0}
    sketch = DensitySketch(**common)
    with pytest.raises(SketchError, match=next(iter(other))):
        sketch.merge(DensitySketch(**{**common, **other}))
    assert DensitySketch(**common).family == sketch.family
    assert DensitySketch(**{**common, **other}).family != sketch.family


def test_auto_width_is_set_by_the_first_add_and_then_kept():
    sketch = DensitySketch(DIM, rows=20, expected=1_000)
    assert sketch.width is None
    assert (sketch.density(points(3)) == 0).all()
    width = sketch.add(points(100)).width
    assert width == DensitySketch(DIM, rows=20, expected=1_000).calibrate(points(100)).width
    assert sketch.add(points(100, seed=1) * 50).width == width
    with pytest.raises(SketchError, match="calibrate"):
        sketch.calibrate(points(10))


def test_an_empty_auto_sketch_takes_the_width_of_what_it_merges():
    counted = DensitySketch(DIM, rows=20, expected=1_000).add(points(100))
    merged = DensitySketch(DIM, rows=20, expected=1_000).merge(counted)
    assert (merged.width, merged.fingerprint) == (counted.width, counted.fingerprint)
    assert counted.merge(DensitySketch(DIM, rows=20, expected=1_000)).count == 100
    calibrated_elsewhere = DensitySketch(DIM, rows=20, expected=1_000).add(points(100) * 7)
    with pytest.raises(SketchError, match="width"):
        merged.merge(calibrated_elsewhere)


@pytest.mark.parametrize("copies", [1, 70_000])
def test_save_and_load_at_exactly_the_path(tmp_path, copies):
    sketch = DensitySketch(DIM, rows=4, buckets=64, expected=500).calibrate(points(50))
    sketch.add(np.repeat(points(3), copies, axis=0))
    path = tmp_path / "sketch.bin"
    sketch.save(path)
    sketch.save(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["sketch.bin"]
    loaded = DensitySketch.load(path)
    assert loaded.fingerprint == sketch.fingerprint
    assert (loaded.count, loaded.width) == (3 * copies, sketch.width)
    assert np.array_equal(loaded.density(points(5)), sketch.density(points(5)))
    assert loaded.merge(sketch).count == 6 * copies


def test_numbers_of_numpy_are_numbers(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(50, 8))
    made = [
        DensitySketch(kind(8), rows=kind(20), expected=kind(50), seed=kind(3)).add(vectors)
        for kind in (int, np.int64)
    ]
    assert made[0].fingerprint == made[1].fingerprint
    made[1].save(tmp_path / "sketch")
    assert DensitySketch.load(tmp_path / "sketch").fingerprint == made[0].fingerprint


def test_a_row_out_of_reach_is_refused():
    vectors = points(3).astype(np.float64)
    vectors[2] *= 1e9
    with pytest.raises(BadVectorsError, match=r"row 2: .*hash widths long"):
        DensitySketch(DIM, rows=4, width=1.0).add(vectors)


def test_sums_at_the_limit_are_still_exact():
    far = points(64).astype(np.float64) * 2.0**18
    whole = DensitySketch(DIM, rows=40, hashes=2, width=1.0).add(far)
    singly = DensitySketch(DIM, rows=40, hashes=2, width=1.0)
    for vector in far:
        singly.add(vector[None])
    assert singly.fingerprint == whole.fingerprint


def test_progress_counts_every_document_once():
    seen = []
    DensitySketch(DIM, rows=300, width=1.0).add(points(10_000), advance=seen.append).density(points(10))
    assert sum(seen) == 10_000
    assert len(seen) > 1


def test_paper_mode_keeps_its_width_through_save_load_and_merge(tmp_path):
    added = points(400)
    sketch = DensitySketch.paper_mode(DIM, seed=3).add(added)
    typical = np.median(cdist(added, added)[np.triu_indices(400, 1)])
    assert 1.3 * typical * (1 - 1 / 16) < sketch.width <= 1.3 * typical * 1.001
    sketch.save(tmp_path / "sketch")
    loaded = DensitySketch.load(tmp_path / "sketch")
    assert loaded.fingerprint == sketch.fingerprint
    assert loaded.merge(DensitySketch.paper_mode(DIM, seed=3)).width == sketch.width
    DensitySketch.paper_mode(DIM).save(tmp_path / "empty")
    assert DensitySketch.load(tmp_path / "empty").add(added).width == sketch.width
    assert DensitySketch.paper_mode(DIM, width=2.0).add(added).width == 2.0


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.floats(0.5, 6.0), st.integers(0, 99))
def test_the_estimate_is_unbiased_over_seeds(hashes, width, seed):
    """Mean over many rows against brute force, within five standard errors of the mean over rows."""
    added, asked = points(60, seed), points(5, seed + 100)
    exact = exact_density(asked, added, width, hashes)
    rows = 2_000
    sketch = DensitySketch(DIM, rows=rows, hashes=hashes, width=width, buckets=500, seed=seed).add(added)
    error = np.abs(sketch.density(asked) - exact)
    deviation = 60 * np.sqrt(np.minimum(exact / 60, 0.25) + 60 / 500 / 60)  # at most, of one row
    assert (error < 5 * deviation / np.sqrt(rows) + 1e-3).all()
