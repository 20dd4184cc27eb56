"""Failed steps: a failure is shown until its value is made, or has other inputs."""

import pytest
from projects import due_key, note_made, plain_project, settings, target

from tamis.base.errors import PermanentError
from tamis.graph.failures import MOST_NOTED, TABLE, failed_step_noted, note_failed_step
from tamis.runtime.failures import failure
from tamis.training.failures import note_failure
from tamis.verbs.status import read_status

ENTRY = ("target_examples", "goal")


@pytest.fixture
def project(tmp_path, nowhere):
    return plain_project(tmp_path, settings(target())).project


def test_a_failure_is_a_problem_until_the_value_is_made(project):
    store = project.home.store
    assert read_status(project).failed_steps == []
    note_failed_step(
        store, ENTRY[0], {ENTRY[1]: due_key(project, *ENTRY)}, PermanentError("too few\nexamples")
    )
    status = read_status(project)
    assert "failed: target_examples[goal]: too few examples" in status.problems()
    assert status.to_json()["failed"] == {"target_examples[goal]": "too few examples"}
    assert status.without(frozenset({ENTRY[0]})).failed_steps == []
    note_made(project, *ENTRY)
    assert read_status(project).failed_steps == []


def test_the_reason_of_another_library_is_not_kept(project):
    store, error = project.home.store, ValueError("cannot convert 'Dear Ann'")
    note_failed_step(store, ENTRY[0], {ENTRY[1]: "key"}, error)
    note_failure(store, "trial", "key", error, permanent=True)
    for table in (TABLE, "trial_failures"):
        (reason,) = store.read(table)["reason"]
        assert reason.startswith("ValueError")
        assert "Ann" not in reason


def test_a_failure_that_was_reduced_already_is_kept(project):
    error = failure(PermanentError("the budget is too small"))
    note_failed_step(project.home.store, ENTRY[0], {ENTRY[1]: "key"}, error)
    (reason,) = project.home.store.read(TABLE)["reason"]
    assert reason == "PermanentError: the budget is too small"


def test_a_failure_at_other_inputs_is_not_shown(project):
    note_failed_step(project.home.store, ENTRY[0], {ENTRY[1]: "of other files"}, ValueError("broken"))
    assert read_status(project).failed_steps == []


def test_the_last_reason_of_a_step_is_kept_and_its_error_raised_again(project):
    store = project.home.store
    for reason in ("first", "second"):
        with (
            pytest.raises(PermanentError, match=reason),
            failed_step_noted(store, ENTRY[0], lambda: {ENTRY[1]: "key", "waits": None}),
        ):
            raise PermanentError(reason)
    (row,) = store.read(TABLE).to_dicts()
    assert (row["partition"], row["input_key"], row["reason"]) == ("goal", "key", "second")


def test_a_failure_that_cannot_be_noted_is_still_raised(project):
    def broken():
        raise RuntimeError("the store is gone")

    with pytest.raises(ValueError, match="the real one"), failed_step_noted(project.home.store, "a", broken):
        raise ValueError("the real one")


def test_trials_keep_their_own_account_and_a_broken_disk_fills_no_table(project):
    store = project.home.store
    for asset in ("trials", "raw_shards"):
        with (
            pytest.raises(OSError, match="disk"),
            failed_step_noted(store, asset, lambda: {f"shard-{number:03}": "key" for number in range(300)}),
        ):
            raise OSError("disk")
    assert set(store.read(TABLE)["asset"]) == {"raw_shards"}
    assert store.count(TABLE) == MOST_NOTED
