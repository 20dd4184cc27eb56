"""Frames of any kind make the same selection, and what is no frame, sampler or option is named."""

import math

import polars as pl
import pytest

import tamis
from tamis.base.errors import BadArgumentError, UnknownNameError
from tamis.embedding import load_encoder
from tamis.selection import MissingColumnsError, find_sampler, select, selection_digest
from tamis.training import model_identity
from tamis.training.errors import UnknownModelError

POOL = pl.DataFrame(
    {"doc_id": [f"d{row}" for row in range(9)], "transport_gradient": [float(row) for row in range(9)]}
)
EXCLUDED = pl.DataFrame({"doc_id": ["d1"], "reason": ["near_duplicate"], "duplicate_of": ["d0"]})


@pytest.mark.parametrize(
    "form", [pl.DataFrame.to_pandas, pl.DataFrame.to_arrow, pl.DataFrame.lazy, pl.DataFrame.to_dict]
)
def test_frames_of_any_kind_make_the_same_selection(form):
    found = select(form(POOL), "got-d", 3, exclusions=form(EXCLUDED))
    assert found.equals(select(POOL, "got-d", 3, exclusions=EXCLUDED))
    assert selection_digest(form(found)) == selection_digest(found)
    counted = found.with_columns(training_count=pl.when(pl.col("rank") == 1).then(2))
    assert selection_digest(form(counted)) == selection_digest(counted) != selection_digest(found)


@pytest.mark.parametrize("wrong", [None, "x", [1], POOL.to_numpy()], ids=["None", "text", "list", "array"])
def test_what_is_no_frame_is_named(wrong):
    with pytest.raises(BadArgumentError, match="candidates"):
        select(wrong, "got-d", 3)
    if wrong is not None:
        with pytest.raises(BadArgumentError, match="exclusions"):
            select(POOL, "got-d", 3, exclusions=wrong)


def test_a_frame_without_decisions_has_no_digest():
    with pytest.raises(MissingColumnsError, match="verdict"):
        selection_digest(POOL)


@pytest.mark.parametrize("wrong", [None, 3, ["got-d"], find_sampler("got-d")])
def test_a_sampler_is_a_name(wrong):
    with pytest.raises(UnknownNameError, match="unknown sampler"):
        select(POOL, wrong, 3)
    with pytest.raises(UnknownNameError, match="unknown sampler"):
        tamis.select(["a"], ["b"], 1, sampler=wrong)


@pytest.mark.parametrize("wrong", ["a", None, math.nan, math.inf])
def test_an_option_is_a_finite_number(wrong):
    with pytest.raises(BadArgumentError, match="quality_weight"):
        select(POOL, "got-d", 3, options={"quality_weight": wrong})


def test_a_temperature_is_above_zero():
    with pytest.raises(BadArgumentError, match="temperature"):
        select(POOL, "got-d", 3, options={"temperature": 0})


@pytest.mark.parametrize("wrong", [None, 3, ["static"]])
def test_an_encoder_and_a_model_are_names(wrong, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown encoder"):
        load_encoder(wrong, cache=tmp_path)
    with pytest.raises(UnknownModelError):
        model_identity(wrong)
