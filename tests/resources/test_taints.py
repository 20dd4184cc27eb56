"""The check `untainted` fails at once on what saw a withdrawn document, while that is current."""

import dagster as dg
import pyarrow as pa
import pytest

from resources.taints import UNTAINTED, log_taints, taint_evaluation
from tamis.lineage.heads import Head, read_heads, write_heads
from tamis.lineage.manifest import Manifest, ManifestFolder
from tamis.store.home import Home
from tamis.store.records import stored_rows
from tamis.store.schemas import schema_of
from tamis.withdrawal.asking import Asked
from tamis.withdrawal.reasons import WithdrawalReason
from tamis.withdrawal.withdrawing import withdraw

SEEN, UNSEEN = "a" * 32, "b" * 32


@pytest.fixture
def home(tmp_path) -> Home:
    """A home with one base model that was trained on one document."""
    home = Home(tmp_path / "home")
    train(home, [SEEN])
    return home


def train(home: Home, doc_ids: list[str]) -> None:
    folder, scope = ManifestFolder(home.manifests), "checkpoint = 'model'"
    rows = [{"checkpoint": "model", "doc_id": one, "data": "pool"} for one in doc_ids]
    home.store.replace("trained_on", pa.Table.from_pylist(rows, schema=schema_of("trained_on")), scope)
    digest, content = stored_rows(home.store, "trained_on", scope)
    folder.write_rows(digest, content)
    made = {"asset": "base_models", "partition": "model", "input_key": digest, "data_version": digest}
    manifest = Manifest(
        **made,
        code_version="1",
        config={},
        seed=0,
        digest=digest,
        row_count=len(doc_ids),
        rows={"trained_on": digest},
        scopes={"trained_on": scope},
    )
    write_heads(home.store, [Head(**made, manifest=folder.write(manifest))])


def logged(instance: dg.DagsterInstance, asset: str) -> list[bool]:
    key = dg.AssetCheckKey(dg.AssetKey(asset), UNTAINTED)
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    return [record.event.asset_check_evaluation.passed for record in records]


def test_the_check_fails_once_until_what_is_current_did_not_see_it(home):
    with dg.DagsterInstance.ephemeral() as instance:
        assert log_taints(instance, home, read_heads(home.store)) == []
        withdraw(home, Asked(scopes={UNSEEN: "document"}), WithdrawalReason.MISTAKE)
        assert log_taints(instance, home, read_heads(home.store)) == []
        withdraw(home, Asked(scopes={SEEN: "document"}), WithdrawalReason.MISTAKE)
        for _again in range(2):
            assert log_taints(instance, home, read_heads(home.store)) == ["base_models"]
        assert logged(instance, "base_models") == [False]
        assert logged(instance, "trials") == []
        train(home, ["c" * 32])
        assert log_taints(instance, home, read_heads(home.store)) == []
        assert logged(instance, "base_models") == [True, False]


def test_weights_are_an_error_and_name_the_checkpoint(home):
    assert taint_evaluation(home, read_heads(home.store), "base_models").passed
    withdraw(home, Asked(scopes={SEEN: "document"}), WithdrawalReason.MISTAKE)
    found = taint_evaluation(home, read_heads(home.store), "base_models")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.metadata["which"].data == {"base_models[model]": "pre-trained on it"}
