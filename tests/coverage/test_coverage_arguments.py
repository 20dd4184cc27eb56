"""What callers pass by mistake is named, and frames, lists and columns of vectors are taken."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tamis.base.errors import BadArgumentError
from tamis.coverage import (
    BadDensityError,
    BadVectorsError,
    ClusteringError,
    DensitySketch,
    SketchError,
    collision_probability,
    draw_report,
    inverse_propensity_sample,
)
from tamis.samplers.prototypes import fit_prototypes
from tamis.samplers.semdedup import semantic_redundancy

VECTORS = np.random.default_rng(0).normal(size=(30, 4))
IDS = [f"d{row}" for row in range(30)]
DENSITY = np.arange(1.0, 31.0)
FORMS = {
    "list": VECTORS.tolist(),
    "pandas": pd.DataFrame(VECTORS, index=range(5, 35)),
    "polars": pl.DataFrame(VECTORS),
    "column of lists": pl.Series(VECTORS.tolist()),
    "column of arrays": pd.Series(list(VECTORS)),
}


def sketch(**options):
    return DensitySketch(4, **({"rows": 20, "hashes": 2, "buckets": 100, "width": 2.0} | options))


@pytest.mark.parametrize("vectors", FORMS.values(), ids=FORMS)
def test_vectors_may_be_a_frame_a_list_or_a_column(vectors):
    assert np.array_equal(sketch().add(VECTORS).density(vectors), sketch().add(vectors).density(VECTORS))
    one, other = (fit_prototypes(IDS, given, clusters=3).centroids_kd for given in (VECTORS, vectors))
    assert np.array_equal(one, other)
    assert semantic_redundancy(IDS, vectors).equals(semantic_redundancy(IDS, VECTORS))


@pytest.mark.parametrize("vectors", ["abc", [[1, 2], [3]], [["a"] * 4], {"a": 1}, None])
def test_what_are_no_vectors_is_named(vectors):
    with pytest.raises(BadVectorsError):
        sketch().add(vectors)
    with pytest.raises(BadVectorsError):
        fit_prototypes(IDS, vectors)


@pytest.mark.parametrize(
    "setting", [{"rows": 1.5}, {"hashes": None}, {"buckets": "a"}, {"seed": None}, {"width": None}]
)
def test_a_sketch_names_the_setting_that_is_no_number(setting):
    with pytest.raises(SketchError) as caught:
        sketch(**setting)
    assert [caught.value.setting] == [*setting]


@pytest.mark.parametrize("expected", ["a", float("inf")])
def test_a_number_of_documents_is_finite(expected):
    with pytest.raises(SketchError, match="expected"):
        sketch(width="auto", expected=expected)


def test_a_file_that_is_no_sketch_is_named(tmp_path):
    saved, path = tmp_path / "saved", tmp_path / "other"
    sketch().add(VECTORS).save(saved)
    path.write_text("text")
    with pytest.raises(SketchError, match="not a file written by"):
        DensitySketch.load(path)
    with np.load(saved) as parts:
        settings, counts = parts["settings"], parts["counts"]
    for wrong in ({"x": counts}, {"settings": np.array("[]"), "counts": counts}, {"settings": settings}):
        with path.open("wb") as file:
            np.savez(file, **wrong)
        with pytest.raises(SketchError, match="format"):
            DensitySketch.load(path)
    with path.open("wb") as file:
        np.savez(file, settings=settings, counts=counts[:3])
    with pytest.raises(SketchError, match="not a whole sketch"):
        DensitySketch.load(path)


def test_the_index_of_a_column_of_ids_means_nothing():
    ids = pd.Series(IDS, index=range(7, 37))
    assert inverse_propensity_sample(ids, DENSITY, 5, 0) == inverse_propensity_sample(IDS, DENSITY, 5, 0)
    assert inverse_propensity_sample(iter(IDS), DENSITY, 5, 0) == inverse_propensity_sample(
        IDS, DENSITY, 5, 0
    )


@pytest.mark.parametrize("ids", [None, "x" * 30, range(30), [None, *IDS[1:]]])
def test_ids_are_strings(ids):
    for call in (
        lambda: inverse_propensity_sample(ids, DENSITY, 5, 0),
        lambda: fit_prototypes(ids, VECTORS),
        lambda: semantic_redundancy(ids, VECTORS),
    ):
        with pytest.raises((BadArgumentError, ClusteringError)):
            call()


def test_numbers_that_are_none_are_named():
    for wrong in (1.5, None, "a"):
        with pytest.raises(BadDensityError):
            inverse_propensity_sample(IDS, DENSITY, wrong, 0)
        with pytest.raises(ClusteringError):
            fit_prototypes(IDS, VECTORS, clusters=wrong if wrong else 0)
    for seed in (None, "a", 2**127):
        with pytest.raises(BadArgumentError, match="seed"):
            inverse_propensity_sample(IDS, DENSITY, 5, seed)
    with pytest.raises(BadArgumentError, match="density"):
        draw_report(["a"])
    with pytest.raises(SketchError, match="width"):
        collision_probability(np.ones(3), 0)
