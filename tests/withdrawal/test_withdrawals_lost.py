"""A home that lost its table of withdrawals reads nothing until the receipts have written it again."""

import pytest
from projects import rows_of
from withdrawal_home import IDS, TEXTS

from tamis.corpus.refusing import refusal
from tamis.records.receipts import restore_lost
from tamis.store.home import Home
from tamis.store.withdrawn import WithdrawalsLostError, read_withdrawals, withdrawn_versions
from tamis.withdrawal.asking import Asking, WithdrawalReason
from tamis.withdrawal.withdrawing import withdraw


def take_back(home: Home, *doc_ids: str) -> None:
    asking = Asking(store=home.store)
    asking.ids(doc_ids)
    withdraw(home, asking.done(), WithdrawalReason.COPYRIGHT)


def test_a_lost_table_is_written_again_and_until_then_nothing_is_read(home):
    """As the advice on a damaged table has it, whose folder is deleted where there is no backup."""
    bad = {"shard": "web__a", "row": 9, "reason": "malformed_row", "detail": "", "excerpt": TEXTS[0][:50]}
    home.store.append("quarantine", rows_of("quarantine", [bad]))
    assert restore_lost(home) == 0
    take_back(home, IDS[0], IDS[1])
    asking = Asking(store=home.store)
    asking.shard("web__b")
    withdraw(home, asking.done(), WithdrawalReason.COPYRIGHT)
    before = read_withdrawals(home.store).drop("loose_id")
    assert len(before) == 6
    home.store.drop("withdrawals")
    with pytest.raises(WithdrawalsLostError, match="writes the table again from the receipts"):
        withdrawn_versions(home.store)
    assert restore_lost(home) == 6
    assert read_withdrawals(home.store).drop("loose_id").sort("doc_id").equals(before.sort("doc_id"))
    assert set(refusal(home.store).doc_ids) >= {IDS[0], IDS[1], IDS[4]}
    assert withdrawn_versions(home.store)


def test_another_withdrawal_writes_a_lost_table_again_first(home):
    take_back(home, IDS[0])
    home.store.drop("withdrawals")
    take_back(home, IDS[1])
    assert sorted(read_withdrawals(home.store)["doc_id"]) == sorted(IDS[:2])


def test_a_receipt_without_its_file_restores_nothing(home):
    take_back(home, IDS[0])
    home.store.drop("withdrawals")
    for path in (home.manifests / "rows").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(WithdrawalsLostError):
        restore_lost(home)
