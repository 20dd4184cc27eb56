"""Runs that are no longer planned: kept by name, brought back whole, and not for ever."""

import polars as pl
import pytest

from tamis.comparison import runs as finished
from tamis.comparison.runs import LEFT, TABLE, bring_back, known_runs, set_aside
from tamis.store.schemas import schema_of
from tamis.store.tables import Store


def put(store, runs, failure=None):
    schema = schema_of(TABLE)
    rows = [
        dict.fromkeys(schema.names)
        | {"run": run, "sampler": "got-d", "failure": failure, "seconds": 1.5, "curve_target": [2.0, 1.0]}
        for run in runs
    ]
    store.merge(TABLE, pl.DataFrame(rows, infer_schema_length=None).to_arrow().cast(schema))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    put(store, ["a", "b", "c"])
    return store


def test_a_run_that_leaves_comes_back_to_the_bit(store):
    before = store.read(TABLE).sort("run")
    set_aside(store, {"b"})
    assert known_runs(store) == {"b"}
    assert bring_back(store, ["a", "b", "never made"]) == {"a"}
    assert bring_back(store, ["c"]) == {"c"}
    assert store.read(TABLE).sort("run").equals(before)


def test_a_run_without_losses_is_tried_again(store):
    put(store, ["a"], failure="diverged: the training loss is not finite at step 3")
    set_aside(store, {"b"})
    assert bring_back(store, ["a", "c"]) == {"c"}


def test_nothing_planned_is_touched_and_nothing_left_makes_no_table(store):
    version = store.version(TABLE)
    set_aside(store, {"a", "b", "c", "d"})
    assert store.version(TABLE) == version
    assert not store.exists(LEFT)
    assert bring_back(store, ["d"]) == set()


def test_the_last_ones_to_leave_are_kept(store, monkeypatch):
    monkeypatch.setattr(finished, "MOST_LEFT", 3)
    monkeypatch.setattr(finished, "BLOCK", 2)
    set_aside(store, set())
    put(store, ["d", "e"])
    set_aside(store, set())
    left = set(store.read(LEFT)["run"])
    assert {"d", "e"} < left
    assert len(left) == 3
