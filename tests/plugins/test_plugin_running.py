"""Plug-ins at work: imports from hashed bytes, answers against what is expected of them, and failures."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.plugins.reading import Plugin, plugins_of_files
from tamis.plugins.running import (
    PluginChangedError,
    PluginFailedError,
    WrongAnswerError,
    numbers,
    opened,
    ranks_of,
    scores_of,
)

HEAD = 'from tamis.plugins import score\n\n\n@score(name="length", version="1")\n'
LENGTH = HEAD + "def length(texts):\n    return [len(text) for text in texts]\n"


def plugin_of(folder: Path, code: str = LENGTH, **helpers: str) -> Plugin:
    (folder / "scores.py").write_text(code)
    for name, content in helpers.items():
        (folder / f"{name}.py").write_text(content)
    (plugin,) = plugins_of_files(folder, ["scores.py"]).known
    return plugin


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Plugin:
    return plugin_of(tmp_path_factory.mktemp("plugin"))


@given(st.lists(st.sampled_from(["a", "bb", "bad", "worse"]), max_size=40))
def test_a_batch_is_halved_until_the_texts_at_fault_are_alone(plugin, texts):
    calls = []

    def function(some: list[str]) -> list[int]:
        calls.append(len(some))
        if "bad" in some:
            raise ValueError(some)
        if "worse" in some:
            sys.exit(1)
        return [len(text) for text in some]

    answer_n, failures = scores_of(plugin, function, texts)
    bad = [place for place, text in enumerate(texts) if text in ("bad", "worse")]
    assert sorted(failures) == bad
    assert {failures[place].name for place in bad} <= {"ValueError", "SystemExit"}
    expected = [np.nan if place in bad else len(text) for place, text in enumerate(texts)]
    np.testing.assert_array_equal(answer_n, np.array(expected, dtype=float))
    if texts:
        assert len(calls) <= 1 + 2 * len(bad) * (len(texts).bit_length() + 1)


ANSWERS = {
    "list": [1, 2.5, None],
    "array": np.array([1, 2.5, np.nan]),
    "halves": np.array([1, 2.5, np.inf], dtype=np.float16),
    "series": pl.Series([1.0, 2.5, None]),
    "tuple of numpy": (np.int32(1), np.float32(2.5), float("-inf")),
    "whole numbers without end": (1, 2.5, 10**400),
}


@pytest.mark.parametrize("answered", ANSWERS.values(), ids=ANSWERS)
def test_numbers_of_any_kind_count_and_what_is_not_finite_is_no_value(plugin, answered):
    np.testing.assert_array_equal(numbers(plugin, answered, 3), [1.0, 2.5, np.nan])


def test_tensors_and_truth_count_as_numbers(plugin):
    import torch

    np.testing.assert_array_equal(numbers(plugin, torch.tensor([1.0, 2.5]), 2), [1.0, 2.5])
    np.testing.assert_array_equal(numbers(plugin, [True, False], 2), [1.0, 0.0])


class Quoting:
    """A value of a plug-in's own whose errors quote a text."""

    shape = ()

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[float]:
        raise RuntimeError("secret")

    def __float__(self) -> float:
        raise RuntimeError("secret")


NOT_ANSWERS = {
    "fewer": ([1.0], "returned 1 answer for 3 documents"),
    "more": ([1.0] * 4, "returned 4 answers for 3 documents"),
    "nothing": (None, "returned NoneType; expected a list or array"),
    "a number": (2.0, "returned float; expected a list or array"),
    "a text": ("abc", "returned str; expected a list or array"),
    "a mapping": ({"a": 1, "b": 2, "c": 3}, "returned dict; expected"),
    "a column": (np.zeros((3, 1)), "returned ndarray of shape (1,) as answer 1 of 3"),
    "a text within": ([1, "2", 3], "returned str as answer 2 of 3; expected a number, or None"),
    "complex": ([1j, 1, 1], "returned complex as answer 1 of 3"),
    "texts of numpy": (np.array(["1", "2", "3"]), "returned str_ of shape () as answer 1 of 3"),
    "durations": (np.array([1, 2, 3], dtype="timedelta64[s]"), "returned timedelta64 of shape () as answer"),
    "a set": ({1.0, 2.0, 3.0}, "returned set; expected a list or array"),
    "no list": (Quoting(), "returned Quoting of shape (); expected a list or array"),
    "no float": ([Quoting(), 1, 2], "returned Quoting of shape () as answer 1 of 3"),
    "scalar array": (np.float64(3), "returned float64 of shape (); expected"),
}


@pytest.mark.parametrize("name", NOT_ANSWERS)
def test_other_answers_are_refused_and_quote_nothing(plugin, name):
    answered, said = NOT_ANSWERS[name]
    with pytest.raises(WrongAnswerError) as error:
        scores_of(plugin, lambda texts: answered, ["secret", "texts", "here"])
    assert str(error.value).startswith(f"plug-in length (scores.py) {said}")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("end", ["sys.exit(0)", "return [1.0] * len(texts)", "raise ValueError"])
def test_a_fork_that_a_plugin_leaves_running_does_not_go_on_with_the_step(plugin, tmp_path, end):
    code = (
        "import os, sys\n"
        f"{HEAD}def length(texts):\n"
        "    if not (child := os.fork()):\n"
        f"        {end}\n"
        "    os.waitpid(child, 0)\n"
        "    return [2.0] * len(texts)\n"
    )
    forking = plugin_of(tmp_path, code)
    goes_on = tmp_path / "goes_on"
    with opened(forking) as function:
        answer_n, failures = scores_of(forking, function, ["a", "bb"])
        with goes_on.open("a") as file:  # by each process that gets here
            file.write(f"{os.getpid()}\n")
    assert goes_on.read_text() == f"{os.getpid()}\n"
    assert (answer_n.tolist(), failures) == ([2.0, 2.0], {})


def test_memory_and_network_are_no_fault_of_a_document(plugin):
    for raised in (MemoryError(), ConnectionResetError(), TimeoutError()):

        def function(texts: list[str], raised: Exception = raised) -> list[float]:
            raise raised

        with pytest.raises(type(raised)):
            scores_of(plugin, function, ["a", "b"])


def test_a_failure_names_the_line_of_the_code_and_quotes_no_text(tmp_path):
    code = HEAD + "def length(texts):\n    import helper\n\n    return helper.fail(texts)\n"
    plugin = plugin_of(tmp_path, code, helper="def fail(texts):\n    raise ValueError(texts[0])\n")
    with opened(plugin) as function:
        _answers, failures = scores_of(plugin, function, ["secret"])
        assert (failures[0].name, failures[0].place) == ("ValueError", "helper.py, line 2")
        with pytest.raises(PluginFailedError) as error:
            ranks_of(plugin, function, 1, ["secret"])
    assert str(error.value) == "plug-in length failed with ValueError (helper.py, line 2)"


def test_modules_come_from_next_to_the_file_before_installed_ones_and_leave_afterwards(tmp_path):
    import yaml as installed

    code = f"""from __future__ import annotations
import dataclasses
import json
import yaml
{HEAD}def length(texts):
    import late

    return [yaml.ONE, late.TWO, json.dumps is not None]


@dataclasses.dataclass
class Known:
    number: int = 0
"""
    plugin = plugin_of(tmp_path, code, yaml="ONE = 1\n", late="TWO = 2\n", json="raise RuntimeError\n")
    finders = list(sys.meta_path)
    with opened(plugin) as function:
        assert function([]) == [1, 2, True]
    assert sys.modules["yaml"] is installed
    assert "late" not in sys.modules
    assert sys.meta_path == finders
    assert not any(re.fullmatch("tamis_plugin_[0-9a-f]{16}", name) for name in sys.modules)


def test_an_import_by_a_name_made_up_at_run_time_finds_no_file_next_to_it(tmp_path):
    code = HEAD + "def length(texts):\n    return __import__('hid' + 'den').ANSWERS\n"
    plugin = plugin_of(tmp_path, code, hidden="ANSWERS = [1]\n")
    with opened(plugin) as function, pytest.raises(ModuleNotFoundError):
        function(["a"])


@pytest.mark.parametrize("changed", ["scores.py", "helper.py"])
def test_code_that_changed_since_it_was_read_does_not_run(tmp_path, changed):
    plugin = plugin_of(tmp_path, "import helper\n" + LENGTH, helper="")
    marker = tmp_path / "ran"
    (tmp_path / changed).write_text(f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(PluginChangedError, match="its code changed"), opened(plugin):
        pass
    assert not marker.exists()


AT_IMPORT = {
    "raises": (
        "raise RuntimeError('no such\\nmodel')",
        "scores.py, line 7 raised RuntimeError: no such model",
    ),
    "exits": ("import sys\nsys.exit(3)", "scores.py, line 8 raised SystemExit: 3"),
    "module is not there": ("import not_there", "raised ModuleNotFoundError: No module named 'not_there'"),
    "helper is broken": ("import broken", "broken.py, line 1 raised SyntaxError: "),
    "bad arguments of a hidden decorator": (
        "score(name='x', version='1', higher='best')",
        "scores.py, line 7 raised PluginError: higher = 'best' is not valid",
    ),
}


@pytest.mark.parametrize("name", AT_IMPORT)
def test_an_error_at_import_is_named_with_file_and_line(tmp_path, name):
    code, said = AT_IMPORT[name]
    plugin = plugin_of(tmp_path, f"{LENGTH}{code}\n", broken="def (:\n")
    with pytest.raises(PluginFailedError) as error, opened(plugin):
        pass
    assert str(error.value).startswith("plug-in length: importing ")
    assert said in str(error.value)


def test_a_name_that_is_no_function_after_the_import_is_named(tmp_path):
    plugin = plugin_of(tmp_path, f"{LENGTH}length = 3\n")
    with pytest.raises(PluginFailedError, match="after the import length is no function"), opened(plugin):
        pass
