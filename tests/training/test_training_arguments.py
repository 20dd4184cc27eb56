"""Ids, names and sizes that are none are named; a folder may be a str."""

import polars as pl
import pytest

from tamis.base.errors import BadArgumentError, UnknownNameError
from tamis.training import count_tokens, fold_of, nested_subset, preset_shape, train_tokenizer

IDS = ["a", "b", "c"]


@pytest.mark.parametrize("ids", [None, 3, [1, 2], [None], pl.Series([1])])
def test_ids_are_strings(ids):
    for call in (fold_of, lambda given: nested_subset(given, 1, 0)):
        with pytest.raises(BadArgumentError, match="doc_ids"):
            call(ids)


@pytest.mark.parametrize("wrong", [None, -1, 1.5, "a"])
def test_sizes_and_seeds_are_whole(wrong, tmp_path):
    for argument, call in {
        "size": lambda: nested_subset(IDS, wrong, 0),
        "seed": lambda: nested_subset(IDS, 2, wrong),
        "vocabulary": lambda: train_tokenizer(["a text"], tmp_path / "tokenizer", wrong),
    }.items():
        with pytest.raises(BadArgumentError, match=argument):
            call()


@pytest.mark.parametrize("name", [None, "", "llama-7m", ["llama-6m"]])
def test_a_preset_is_a_name(name):
    with pytest.raises(UnknownNameError, match="preset"):
        preset_shape(name, 4_096)


def test_the_folder_of_a_tokenizer_may_be_a_str(tmp_path):
    folder = tmp_path / "tokenizer"
    train_tokenizer(["some words and more words"] * 20, folder, 300)
    assert count_tokens(str(folder), ["words"]).tolist() == count_tokens(folder, ["words"]).tolist()
    with pytest.raises(FileNotFoundError):
        count_tokens(tmp_path / "absent", ["words"])
