"""What is tried again: what may succeed then, and never what a person has cancelled."""

import errno

import dagster as dg
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from resources.platform import MOST_RETRIES, retried, tried_once
from resources.work_errors import take_withheld
from tamis.errors import PermanentError, TransientError
from tamis.kept_errors import kept_message
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


QUOTED = "a line of a document"


def quoting() -> Exception:
    """An error of another library, with a note and a cause that quote a document."""
    error = ValueError(f"cannot convert {QUOTED!r}")
    error.__cause__ = KeyError(QUOTED)
    error.add_note(f"at {QUOTED!r}")
    return error


def of_tamis() -> Exception:
    """An error of Tamis with such a note and cause."""
    error = PermanentError("no such column")
    error.__cause__ = quoting()
    error.add_note(QUOTED)
    return error


@pytest.mark.parametrize("ends", [lambda: retried(0), tried_once], ids=["retried", "tried_once"])
@pytest.mark.parametrize(
    ("error", "kept"), [(quoting, "ValueError"), (of_tamis, "PermanentError: no such column")]
)
def test_what_dagster_stores_of_an_error_quotes_no_document(ends, error, kept):
    with pytest.raises((dg.Failure, dg.RetryRequested)) as caught, ends():
        raise error()
    stored = serializable_error_info_from_exc_info((caught.type, caught.value, caught.tb)).to_string()
    assert QUOTED not in stored
    assert kept in stored
    assert __file__ in stored, "the traceback leads to where it was raised"
    whole = "\n".join(take_withheld().values())
    assert (QUOTED in whole) == (error is quoting), "what is not stored is shown on the terminal"
    assert take_withheld() == {}


def test_what_the_system_says_of_a_file_is_kept():
    error = FileNotFoundError(errno.ENOENT, f"of {QUOTED}", "/data/a.jsonl")
    assert kept_message(error) == "FileNotFoundError: [Errno 2] No such file or directory: '/data/a.jsonl'"
    assert QUOTED not in kept_message(OSError(f"LanceError: {QUOTED}"))


def test_that_memory_ran_out_is_kept():
    error = RuntimeError(f"CUDA out of memory at {QUOTED}")
    assert kept_message(error) == "RuntimeError: out of memory"
