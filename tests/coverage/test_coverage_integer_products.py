"""Products by 8-bit digits, float32 and float64, against integers of any size."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.coverage import DensitySketch, hashing
from tamis.coverage.hashing import Projector, digit_products_are_exact, digit_products_are_faster


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 70), st.integers(0, 40), st.integers(0, 99))
def test_products_are_those_of_integers(n, d, o, bits, seed):
    rng = np.random.default_rng(seed)
    points = rng.integers(-(2**bits), 2**bits, size=(n, d), endpoint=True)
    directions = rng.integers(-127, 127, size=(o, d), endpoint=True).astype(np.int8)
    exact = directions.astype(np.int64) @ points.T
    largest = float((np.abs(directions.astype(np.int64)) @ np.abs(points.T)).max()) + 1
    for digits in {False, digit_products_are_exact(d)}:
        products = Projector(points, largest=largest, digits=digits).products(directions)
        assert products.dtype == (np.int32 if largest < 2**31 else np.int64)
        assert np.array_equal(products, exact)


def test_the_largest_digits_do_not_saturate():
    points = np.full((3, 1_000), -128)
    directions = np.full((5, 1_000), 127, dtype=np.int8)
    for digits in {False, digit_products_are_exact(1_000)}:
        projector = Projector(points, largest=1e9, digits=digits)
        assert (projector.products(directions) == -128 * 127 * 1_000).all()


def test_float32_holds_the_largest_sums_that_are_left_to_it():
    points = np.array([[2**17 - 1, 1], [-(2**17) + 1, -1]])
    directions = np.full((5, 2), 127, dtype=np.int8)
    exact = directions.astype(np.int64) @ points.T
    assert 2**23 < np.abs(exact).max() < 2**24
    assert np.array_equal(Projector(points, largest=2.0**24 - 1, digits=False).products(directions), exact)
    assert np.array_equal(
        Projector(points + 2**25, largest=2.0**33, digits=False).products(directions),
        directions.astype(np.int64) @ (points + 2**25).T,
    )


@pytest.mark.parametrize("slow", [True, False])
def test_digits_are_used_where_they_are_faster_and_nothing_else_changes(monkeypatch, slow):
    vectors = np.random.default_rng(1).normal(size=(300, 40))
    without = DensitySketch(40, rows=60, hashes=3, width=2.0).add(vectors)
    used, product = [], hashing._digit_product

    def counted(directions, digit):
        used.append(len(directions))
        return product(directions, digit)

    monkeypatch.setattr(hashing, "digit_products_are_faster", lambda dim, other: not slow)
    monkeypatch.setattr(hashing, "_digit_product", counted)
    assert digit_products_are_exact(40)
    used.clear()
    assert DensitySketch(40, rows=60, hashes=3, width=2.0).add(vectors).fingerprint == without.fingerprint
    assert bool(used) is not slow


def test_slow_digits_are_noticed(monkeypatch):
    product = hashing._digit_product

    def slowly(directions, digit):
        time.sleep(0.05)
        return product(directions, digit)

    monkeypatch.setattr(hashing, "_digit_product", slowly)
    digit_products_are_faster.cache_clear()
    assert not digit_products_are_faster(40, np.dtype(np.float32))
    monkeypatch.undo()
    digit_products_are_faster.cache_clear()


def test_a_machine_without_exact_products_counts_the_same(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(300, 40)) * 30
    here = DensitySketch(40, rows=60, hashes=3, width=2.0).add(vectors)

    def saturating(directions, digit):
        return np.clip(directions.astype(np.int64) @ digit.numpy(), -(2**15), 2**15 - 1)

    def absent(directions, digit):
        raise AttributeError("_int_mm")

    for broken in (saturating, absent):
        monkeypatch.setattr(hashing, "_digit_product", broken)
        digit_products_are_exact.cache_clear()
        assert not digit_products_are_exact(40)
        there = DensitySketch(40, rows=60, hashes=3, width=2.0).add(vectors)
        assert there.fingerprint == here.fingerprint
    monkeypatch.undo()
    digit_products_are_exact.cache_clear()


def test_sums_that_float64_could_not_hold_are_our_own_mistake():
    with pytest.raises(AssertionError):
        Projector(np.ones((1, 1), dtype=np.int64), largest=2.0**53)


def test_products_on_many_threads_leave_torch_its_threads(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    meeting, product = threading.Barrier(4), torch._int_mm

    def met(*given):
        meeting.wait(20)  # all four are within at once, so that some enter after the number was set
        assert torch.get_num_threads() == 1
        return product(*given)

    monkeypatch.setattr(torch, "_int_mm", met)
    points, directions = np.full((4, 40), 3), np.ones((8, 40), dtype=np.int8)
    try:
        with ThreadPoolExecutor(4) as pool:
            projectors = [Projector(points, largest=1e9, digits=True) for _ in range(4)]
            found = list(pool.map(lambda one: one.products(directions), projectors))
        assert all((products == 120).all() for products in found)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
