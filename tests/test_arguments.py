"""Arguments are read into one form, and named where they have none."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from tamis.base.archives import UnreadableFileError, read_npz
from tamis.base.arguments import as_floats, as_frame, as_list, as_share, as_whole
from tamis.base.errors import BadArgumentError
from tamis.cli.choice_options import call_of

NUMBERS = [[1.0, 2.0], [3.0, 4.0]]
FORMS = {
    "list": NUMBERS,
    "array": np.array(NUMBERS, dtype=np.float16),
    "pandas": pd.DataFrame(NUMBERS, index=[7, 8]),
    "polars": pl.DataFrame(NUMBERS, orient="row"),
    "column": pl.Series(NUMBERS),
    "arrays": pd.Series([np.array(row) for row in NUMBERS]),
    "gradient": torch.tensor(NUMBERS, requires_grad=True),
    "bfloat16": torch.tensor(NUMBERS, dtype=torch.bfloat16),
    "whole": torch.tensor(NUMBERS).long(),
}


@pytest.mark.parametrize("values", FORMS.values(), ids=FORMS)
def test_numbers_in_any_form_are_one_array(values):
    found = as_floats("values", values, "numbers")
    assert found.dtype == np.float64
    assert found.tolist() == NUMBERS


@pytest.mark.parametrize("values", ["a", [[1], [1, 2]], {"a": 1}, torch.eye(2).to_sparse(), [10**400]])
def test_what_are_no_numbers_is_named(values):
    with pytest.raises(BadArgumentError, match=r"values: a .* that is not an array of numbers; expected"):
        as_floats("values", values, "rows")


def test_whole_numbers_and_shares():
    assert [as_whole("k", value, 1) for value in (1, 3.0, np.int64(2))] == [1, 3, 2]
    for wrong in (0, 1.5, None, "1", float("nan"), float("inf")):
        with pytest.raises(BadArgumentError, match=r"k: .* expected a whole number, 1 or more"):
            as_whole("k", wrong, 1)
    assert as_share("share", 0.5) == 0.5
    for wrong in (-0.1, 1.1, None, "1", float("nan")):
        with pytest.raises(BadArgumentError, match="share"):
            as_share("share", wrong)


def test_lists_of_anything_that_has_elements():
    for given in (["a", "b"], ("a", "b"), pd.Series(["a", "b"], index=[5, 6]), iter("ab")):
        assert as_list("ids", given, "strings") == ["a", "b"]
    for wrong in (None, "ab", 3, {"a": 1}):
        with pytest.raises(BadArgumentError, match=r"ids: a .*; expected strings"):
            as_list("ids", wrong, "strings")


def test_tables_of_any_kind_are_one_frame():
    frame = pl.DataFrame({"a": ["x", None], "b": [1.0, 2.0]})
    pandas = pd.DataFrame({"a": ["x", None], "b": [1.0, 2.0]}, index=[3, 4])
    for given in (frame, frame.lazy(), pandas, pa.table(frame.to_dict(as_series=False)), frame.to_dict()):
        assert as_frame("frame", given).equals(frame)
    for wrong in (None, "a", [1], np.zeros((2, 2))):
        with pytest.raises(BadArgumentError, match=r"frame: a .*; expected a frame"):
            as_frame("frame", wrong)


def test_files_that_are_no_archives_are_named(tmp_path):
    for name, content in {"text": b"text", "empty": b"", "zip": b"PK\x03\x04"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableFileError, match="not a whole archive of arrays"):
            read_npz(tmp_path / name)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(UnreadableFileError):
        read_npz(tmp_path / "one.npy")
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "absent")


@pytest.mark.parametrize(("given", "budget"), [("400", 400), ("10%", "10%"), ("٣", "٣"), ("²", "²")])
def test_a_budget_on_the_command_line_is_a_number_in_digits_of_ascii(given, budget):
    lists = {"target": [], "keep_away": [], "scores": []}
    texts = {"text_column": "auto", "form": "text", "rules": "none"}
    shares = {"per": None, "maximum_share": None, "minimum_share": None}
    assert call_of(["pool.jsonl"], budget=given, **lists, **texts, **shares).budget == budget
