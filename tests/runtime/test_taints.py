"""The check `untainted` fails at once on what saw a withdrawn document, while that is current."""

import dagster as dg
import pytest
from projects import heads_of, record, rows_of, write_rows

from tamis.runtime.checks import UNTAINTED, log_taints, taint_evaluation
from tamis.store.home import Home
from tamis.withdrawal.asking import Asked, WithdrawalReason
from tamis.withdrawal.withdrawing import withdraw

SEEN, UNSEEN = "a" * 32, "b" * 32


@pytest.fixture
def home(tmp_path) -> Home:
    """A home with one base model that was trained on one document."""
    home = Home(tmp_path / "home")
    train(home, [SEEN])
    return home


def train(home: Home, doc_ids: list[str]) -> None:
    scope = "checkpoint = 'model'"
    rows = [{"checkpoint": "model", "doc_id": one, "data": "pool"} for one in doc_ids]
    home.store.replace("trained_on", rows_of("trained_on", rows), scope)
    digest = write_rows(home, "trained_on", scope)
    stated = {"input_key": digest, "rows": {"trained_on": digest}, "scopes": {"trained_on": scope}}
    record(home, "base_models", "model", row_count=len(doc_ids), **stated)


def logged(instance: dg.DagsterInstance, asset: str) -> list[bool]:
    key = dg.AssetCheckKey(dg.AssetKey(asset), UNTAINTED)
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    return [record.event.asset_check_evaluation.passed for record in records]


def test_the_check_fails_once_until_what_is_current_did_not_see_it(home):
    with dg.DagsterInstance.ephemeral() as instance:
        assert log_taints(instance, home, heads_of(home)) == []
        withdraw(home, Asked(scopes={UNSEEN: "document"}), WithdrawalReason.MISTAKE)
        assert log_taints(instance, home, heads_of(home)) == []
        withdraw(home, Asked(scopes={SEEN: "document"}), WithdrawalReason.MISTAKE)
        for _again in range(2):
            assert log_taints(instance, home, heads_of(home)) == ["base_models"]
        assert logged(instance, "base_models") == [False]
        assert logged(instance, "trials") == []
        train(home, ["c" * 32])
        assert log_taints(instance, home, heads_of(home)) == []
        assert logged(instance, "base_models") == [True, False]


def test_weights_are_an_error_and_name_the_checkpoint(home):
    assert taint_evaluation(home, heads_of(home), "base_models").passed
    withdraw(home, Asked(scopes={SEEN: "document"}), WithdrawalReason.MISTAKE)
    found = taint_evaluation(home, heads_of(home), "base_models")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.metadata["which"].data == {"base_models[model]": "pre-trained on it"}
