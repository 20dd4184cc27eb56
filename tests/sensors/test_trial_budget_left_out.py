"""A trial whose runs died without a word is left out, with the time that they took."""

from types import SimpleNamespace

import pytest
from projects import plain_project, settings

from tamis.graph.automation import Group
from tamis.platform.sensors.trial_budget import _left_out
from tamis.training.failures import failures_of, note_failure


@pytest.fixture
def store(tmp_path, nowhere):
    home = plain_project(tmp_path, settings()).home
    return SimpleNamespace(home=home, tables=home.store)


GROUP = Group(assets=("trials",), partitions=("law__small__8",), keys=("k",))
RUNS = [(100.0, 105.0), (200.0, 202.0), (300.0, None), (None, None)]


@pytest.mark.parametrize(("noted", "expected"), [(0.0, 7.0), (5.0, 7.0), (9.0, 9.0)])
def test_time_that_a_failed_run_noted_itself_is_not_counted_again(store, noted, expected):
    if noted:
        note_failure(store.tables, "law__small__8", "k", "it broke", permanent=False, seconds=noted)
    runs = [SimpleNamespace(start_time=start, end_time=end) for start, end in RUNS]
    said = _left_out(store, GROUP, runs, "how far it is")
    assert "4 of its runs ended without a result; how far it is" in str(said.skip_message)
    (failure,) = failures_of(store.tables)
    assert failure.permanent
    assert failure.spent_seconds == expected


def test_what_is_no_trial_is_not_left_out(store):
    group = Group(assets=("loss_curves",), partitions=("",), keys=("k",))
    assert "materialize it to see why" in str(_left_out(store, group, [], "").skip_message)
    assert failures_of(store.tables) == []
