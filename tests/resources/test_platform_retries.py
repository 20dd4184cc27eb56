"""What is tried again: what may succeed then, and never what a person has cancelled."""

import dagster as dg
import pytest

from resources.platform import MOST_RETRIES, retried
from tamis.errors import PermanentError, TransientError
from tamis.store.writable import DiskFullError


@pytest.mark.parametrize("error", [TransientError("busy"), RuntimeError("?"), ConnectionError("reset")])
def test_what_may_pass_is_tried_again_later_each_time(error):
    waits = []
    for attempt in range(2):
        with pytest.raises(dg.RetryRequested) as caught, retried(attempt):
            raise error
        assert caught.value.max_retries == MOST_RETRIES
        assert str(caught.value.__cause__).startswith(type(error).__name__)
        waits.append(caught.value.seconds_to_wait)
    assert waits[1] == 2 * waits[0] > 0


def test_a_full_disk_may_have_room_later(tmp_path):
    with pytest.raises(dg.RetryRequested), retried(0):
        raise DiskFullError(tmp_path, 0)


def test_what_stays_wrong_is_not_tried_again_and_keeps_its_words():
    with pytest.raises(dg.Failure, match="PermanentError: no such column") as caught, retried(0):
        raise PermanentError("no such column")
    assert not caught.value.allow_retries


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
def test_what_was_cancelled_stays_cancelled(stopped):
    with pytest.raises(stopped), retried(0):
        raise stopped


def test_nothing_in_the_graph_has_a_policy_that_starts_a_cancelled_step_again():
    from definitions import defs

    assets = defs.resolve_asset_graph().assets_defs
    policies = [one.op.retry_policy for one in assets if one.is_executable]
    assert len(policies) > 20
    assert set(policies) == {None}
