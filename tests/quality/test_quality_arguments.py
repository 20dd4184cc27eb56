"""A grader of features that say nothing predicts the mean, and what cannot be read is named."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from tamis.base.archives import UnreadableFileError
from tamis.base.errors import BadArgumentError
from tamis.quality import (
    AskLLM,
    Endpoint,
    Grader,
    JudgeModelError,
    auc,
    check_judge,
    choose_actively,
    choose_sample,
    fit_grader,
    grader_features,
    judge_identity,
    planted_noise,
    split_sample,
    surface_features,
)

DRAW = np.random.default_rng(0)
COUNT = 60
FEATURES = DRAW.normal(size=(COUNT, 4))
MARGINS = FEATURES @ [1.0, -1.0, 0.5, 0.0]
HOLD_OUT = np.arange(COUNT) % 3 == 0
IDS = [f"d{row}" for row in range(COUNT)]


def fitted(features=FEATURES, margins=MARGINS, hold_out=HOLD_OUT, **options):
    options = {"doc_ids": IDS, "lengths_n": np.arange(1.0, 61.0)} | options
    return fit_grader(features, margins, hold_out, **options)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("features", [np.ones((60, 4)), np.full((60, 4), np.nan), np.full((60, 4), 1e-300)])
@pytest.mark.parametrize("vector_columns", [0, 2])
def test_features_that_say_nothing_predict_the_mean(features, vector_columns):
    grader = fitted(features, vector_columns=vector_columns)
    assert grader.predict(features) == pytest.approx(MARGINS[~HOLD_OUT].mean())
    assert grader.quality(features) == pytest.approx(0.5)
    assert not grader.report.passed


@pytest.mark.parametrize("form", [pd.DataFrame, pl.DataFrame, np.ndarray.tolist, torch.tensor])
def test_features_in_any_form_make_the_same_grader(form):
    grader, same = fitted(), fitted(form(FEATURES), pd.Series(MARGINS, index=range(5, 65)))
    assert np.array_equal(grader.predict(FEATURES), same.predict(form(FEATURES)))


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("features", FEATURES[:, 0]),
        ("features", FEATURES * 1e300),
        ("features", np.where(FEATURES > 1, np.inf, FEATURES)),
        ("features", "a"),
        ("features", None),
        ("margins", FEATURES),
        ("margins", ["a"] * COUNT),
        ("hold_out", None),
        ("lengths_n", FEATURES),
        ("doc_ids", None),
        ("vector_columns", 1.5),
        ("cut_share", "a"),
        ("seed", -1),
    ],
)
def test_what_no_grader_can_be_fitted_to_is_named(argument, wrong):
    with pytest.raises(BadArgumentError, match=argument):
        fitted(**{argument: wrong})


def test_a_file_that_is_no_grader_is_named(tmp_path):
    path = tmp_path / "file"
    path.write_text("text")
    with pytest.raises(UnreadableFileError, match="not a whole archive"):
        Grader.load(path)
    with path.open("wb") as file:
        np.savez(file, numbers=np.array("{}"))
    with pytest.raises(UnreadableFileError, match=r"not a file written by Grader.save"):
        Grader.load(path)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("size", lambda: choose_sample(IDS, 1.5, 0)),
        ("hold_out", lambda: split_sample(IDS, 0, hold_out="a")),
        ("doc_ids", lambda: split_sample(range(3), 0)),
        ("doc_ids", lambda: split_sample(None, 0)),
        ("groups", lambda: split_sample(IDS, 0, groups=IDS[:3])),
        ("active_share", lambda: choose_actively(IDS, FEATURES, 9, 0, active_share=None)),
        ("features_nk", lambda: choose_actively(IDS, FEATURES[:, 0], 9, 0, active_share=0.5)),
        ("surface_nk", lambda: grader_features(FEATURES, FEATURES[:, 0], MARGINS)),
        ("clean_n", lambda: auc(["a"], [1.0])),
        ("resamples", lambda: auc([1.0], [1.0], resamples=0)),
        ("seed", lambda: planted_noise(["a b"], -1)),
        ("texts", lambda: planted_noise("a b")),
        ("texts", lambda: surface_features(["a", None])),
        ("texts", lambda: surface_features(None)),
        ("batch_size", lambda: AskLLM("smollm2-135m", batch_size=None)),
        ("max_tokens", lambda: AskLLM("smollm2-135m", max_tokens="x")),
        ("texts", lambda: AskLLM("smollm2-135m").score("a text")),
        ("url", lambda: Endpoint(None, "m")),
        ("attempts", lambda: Endpoint("http://localhost", "m", attempts="x")),
        ("answers", lambda: check_judge(None, ["a b"], answers=pl.DataFrame({"margin": []}))),
    ],
)
def test_arguments_are_named(argument, call):
    with pytest.raises(BadArgumentError) as caught:
        call()
    assert caught.value.argument == argument


def test_a_judge_is_a_name():
    with pytest.raises(JudgeModelError, match="None"):
        judge_identity(None)
