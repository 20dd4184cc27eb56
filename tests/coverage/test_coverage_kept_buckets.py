"""Buckets that are kept: the same sketch and densities as by hashing every vector, whatever came and went."""

import numpy as np
import pytest

from tamis.coverage import DensitySketch, storing
from tamis.coverage.storing import MOST_FILES, KeptBuckets

DIM = 12


def calibrated(vectors_nd: np.ndarray) -> DensitySketch:
    return DensitySketch(DIM, rows=30, hashes=4, expected=200, buckets=500).calibrate(vectors_nd[:50])


@pytest.fixture
def vectors_nd() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(260, DIM)).astype(np.float32)


def through(cache, sketch, ids, vectors_nd, block=64):
    """Counts of a sketch and densities by kept buckets, and how many documents were hashed."""
    hashed = []
    plain = sketch.buckets_of
    sketch.buckets_of = lambda given: hashed.append(len(given)) or plain(given)
    blocks = (
        (ids[start : start + block], vectors_nd[start : start + block]) for start in range(0, len(ids), block)
    )
    found = [buckets for _, buckets in KeptBuckets(cache, sketch).of(blocks, lambda _count: None)]
    together = np.concatenate(found, axis=1)
    sketch.add_buckets(together)
    return sketch, sketch.density_in(together), sum(hashed)


def same_as_hashed(sketch, density_n, vectors_nd):
    whole = calibrated(sketch.reference).add(vectors_nd)
    assert sketch.fingerprint == whole.fingerprint
    assert np.array_equal(density_n, whole.density(vectors_nd))


def names(rows) -> list[str]:
    return [f"{row:032x}" for row in rows]


def test_documents_that_come_change_and_go_are_counted_as_if_all_were_hashed(tmp_path, vectors_nd):
    rng, changed = np.random.default_rng(0), vectors_nd.copy()
    present, hashed_before = np.zeros(len(vectors_nd), dtype=bool), 0
    for step in range(MOST_FILES + 6):
        before, values = present.copy(), changed.copy()
        flipped = rng.choice(len(present), 12, replace=False) if step else np.arange(200)
        present[flipped] = ~present[flipped]
        again = np.flatnonzero(present)[:3]  # the same id with another vector
        changed[again] += 1e-3
        rows = np.flatnonzero(present)
        sketch = calibrated(vectors_nd)
        sketch.reference = vectors_nd
        sketch, density_n, hashed = through(tmp_path / "cache", sketch, names(rows), changed[rows])
        same_as_hashed(sketch, density_n, changed[rows])
        new = (present & ~before) | (present & (values != changed).any(axis=1))
        assert hashed <= (200 if not step else new.sum())
        hashed_before += hashed
    assert hashed_before < 600
    assert len([*(tmp_path / "cache").rglob("*.npy")]) <= MOST_FILES


def test_a_large_pool_is_kept_in_files_of_one_size_and_small_ones_alone_are_rewritten(
    tmp_path, vectors_nd, monkeypatch
):
    monkeypatch.setattr(storing, "FILE_BYTES", 64 * 100)  # some sixty documents
    cache, count = tmp_path / "cache", 200
    sketch = calibrated(vectors_nd)
    through(cache, sketch, names(range(count)), vectors_nd[:count], block=20)
    large = {path.name for path in cache.rglob("*.npy") if path.stat().st_size > 64 * 50}
    assert len(large) >= 3
    for more in range(MOST_FILES + 3):
        rows = range(count + more + 1)
        sketch = calibrated(vectors_nd)
        sketch.reference = vectors_nd
        sketch, density_n, hashed = through(cache, sketch, names(rows), vectors_nd[: len(rows)], block=20)
        same_as_hashed(sketch, density_n, vectors_nd[: len(rows)])
        assert hashed == 1
    files = {path.name for path in cache.rglob("*.npy")}
    assert large <= files
    assert len(files - large) <= MOST_FILES
    rows = range(0, count, 2)  # half of it goes
    sketch = calibrated(vectors_nd)
    sketch.reference = vectors_nd
    sketch, density_n, hashed = through(cache, sketch, names(rows), vectors_nd[0:count:2])
    same_as_hashed(sketch, density_n, vectors_nd[0:count:2])
    assert hashed == 0
    assert not large & {path.name for path in cache.rglob("*.npy")}


@pytest.mark.parametrize("threads", ["1", "3"])
def test_threads_change_no_bit(monkeypatch, threads):
    vectors_nd = np.random.default_rng(4).normal(size=(3_500, DIM)).astype(np.float32)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    sketch = calibrated(vectors_nd)
    buckets_rn = sketch.buckets_of(vectors_nd)
    assert np.array_equal(buckets_rn[:, 7:8], sketch.buckets_of(vectors_nd[7:8]))
    sketch.add_buckets(buckets_rn)
    assert sketch.fingerprint == calibrated(vectors_nd).add(vectors_nd).fingerprint
    assert np.array_equal(sketch.density_in(buckets_rn), sketch.density(vectors_nd))


def test_another_width_and_damaged_files_are_hashed_again(tmp_path, vectors_nd):
    cache, ids = tmp_path / "cache", names(range(260))
    sketch = calibrated(vectors_nd)
    sketch.reference = vectors_nd
    assert through(cache, sketch, ids, vectors_nd)[2] == 260
    wider = DensitySketch(DIM, rows=30, hashes=4, expected=2, buckets=500).calibrate(vectors_nd[:50])
    assert wider.width != sketch.width
    found, density_n, hashed = through(cache, wider, ids, vectors_nd)
    assert hashed == 260
    assert len([*cache.iterdir()]) == 1
    assert np.array_equal(density_n, found.density(vectors_nd))
    (file,) = cache.rglob("*.npy")
    content = bytearray(file.read_bytes())
    changed = bytearray(content)
    changed[-9] ^= 4
    for damaged in (content[: len(content) // 2], b"", bytes(len(content)), changed):
        file.write_bytes(damaged)
        again = DensitySketch(DIM, rows=30, hashes=4, expected=2, buckets=500).calibrate(vectors_nd[:50])
        again, density_n, hashed = through(cache, again, ids, vectors_nd)
        assert hashed == 260
        assert np.array_equal(density_n, again.density(vectors_nd))
        (file,) = cache.rglob("*.npy")


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, vectors_nd):
    (tmp_path / "cache").write_text("a file")
    sketch = calibrated(vectors_nd)
    sketch.reference = vectors_nd
    sketch, density_n, _hashed = through(tmp_path / "cache", sketch, names(range(260)), vectors_nd)
    same_as_hashed(sketch, density_n, vectors_nd)
