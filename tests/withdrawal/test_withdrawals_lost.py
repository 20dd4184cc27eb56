"""A home that lost its table of withdrawals reads nothing until the table has been written again, whole."""

from collections.abc import Callable
from types import ModuleType

import pytest
from projects import manifests_of, rows_of
from withdrawal_home import IDS, TEXTS

from tamis.corpus.refusing import refusal
from tamis.records.receipts import (
    LATEST,
    WithdrawalsLostError,
    is_lost,
    read_receipts,
    receipt_ids,
    receipt_problems,
    require_withdrawals,
    restore_lost,
)
from tamis.store.home import Home, writing
from tamis.store.withdrawn import read_withdrawals, withdrawn_ids, withdrawn_versions
from tamis.withdrawal import purging, withdrawing
from tamis.withdrawal.asking import Asking, WithdrawalReason
from tamis.withdrawal.telling import history, withdrawn_lines
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import Withdrawn, finish, withdraw

NEVER_STORED = ["e" * 32, "f" * 32]


def take_back(home: Home, *doc_ids: str) -> Withdrawn:
    asking = Asking(store=home.store)
    asking.ids(doc_ids)
    return withdraw(home, asking.done(), WithdrawalReason.COPYRIGHT)


def completed(home: Home) -> list[Withdrawn]:
    with writing(home, "test"):
        return finish(home)


def shown(home: Home, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in home.root.rglob("*") if path.is_file())


def stop(*_given, **_named):
    raise KeyboardInterrupt


def killed_at(home: Home, module: ModuleType, step: str, stopping: Callable[..., None]) -> None:
    """Withdraw the first document, and be killed at a step."""
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(module, step, stopping)
        with pytest.raises(KeyboardInterrupt):
            take_back(home, IDS[0])


def test_a_lost_table_is_written_again_and_until_then_nothing_is_read(home):
    """As the advice on a damaged table has it, whose folder is deleted where there is no backup."""
    bad = {"shard": "web__a", "row": 9, "reason": "malformed_row", "detail": "", "excerpt": TEXTS[0][:50]}
    home.store.append("quarantine", rows_of("quarantine", [bad]))
    assert restore_lost(home) == []
    take_back(home, IDS[0], IDS[1])
    asking = Asking(store=home.store)
    asking.shard("web__b")
    withdraw(home, asking.done(), WithdrawalReason.COPYRIGHT)
    before = read_withdrawals(home.store).drop("loose_id")
    assert len(before) == 6
    home.store.drop("withdrawals")
    with pytest.raises(WithdrawalsLostError, match="writes the table again from the receipts"):
        require_withdrawals(home)
    (said,) = restore_lost(home)
    assert "from the receipts (6 rows)" in said
    assert home.store.version("withdrawals") == 1, "a part of it would be taken for all of it"
    assert read_withdrawals(home.store).drop("loose_id").sort("doc_id").equals(before.sort("doc_id"))
    assert set(refusal(home.store).doc_ids) >= {IDS[0], IDS[1], IDS[4]}
    assert withdrawn_versions(home.store)


def test_another_withdrawal_writes_a_lost_table_again_first(home):
    take_back(home, IDS[0])
    home.store.drop("withdrawals")
    lines = withdrawn_lines(take_back(home, IDS[1]), [], True)
    assert sorted(read_withdrawals(home.store)["doc_id"]) == sorted(IDS[:2])
    assert lines[0].startswith("the table of withdrawals was gone")


def cut_off(home: Home, receipt: str) -> None:
    manifests_of(home).path(receipt).write_text("{")


def altered(home: Home, receipt: str) -> None:
    path = manifests_of(home).rows_path(manifests_of(home).read(receipt).rows["withdrawals"])
    path.write_bytes(bytes(len(path.read_bytes())))


def without_rows(home: Home, receipt: str) -> None:
    manifests_of(home).rows_path(manifests_of(home).read(receipt).rows["withdrawals"]).unlink()


def missing(home: Home, receipt: str) -> None:
    manifests_of(home).path(receipt).unlink()


@pytest.mark.parametrize("harm", [cut_off, missing, without_rows, altered])
@pytest.mark.parametrize("which", [0, 1])
def test_what_only_a_lost_receipt_said_is_withdrawn_again_by_its_places(home, harm, which):
    take_back(home, IDS[0])
    take_back(home, IDS[1])
    before = home.store.read_arrow("withdrawals")
    lost = receipt_ids(home.store)[which]
    home.store.drop("withdrawals")
    harm(home, lost)
    _said, by_places, warned = restore_lost(home)
    assert by_places.startswith("1 withdrawn document or excerpt had no readable receipt")
    assert f"1 receipt of withdrawals cannot be read ({lost[:16]}…)" in warned
    rows = {row["doc_id"]: row for row in read_withdrawals(home.store).to_dicts()}
    assert set(rows) == set(IDS[:2])
    again = rows[IDS[which]]
    assert (again["reason"], again["scope"], again["receipt"]) == ("not_stated", "document", None)
    assert [len(one.new) for one in completed(home)] == [1]
    assert read_withdrawals(home.store, "receipt IS NULL").is_empty()
    assert before.num_rows == len(read_withdrawals(home.store))


@pytest.mark.parametrize("receipts", [True, False])
def test_places_alone_are_enough(home, receipts):
    """As after a withdrawal that was killed before its receipt; then, without any receipt at all."""
    if receipts:
        take_back(home, IDS[5])
    killed_at(home, purging, "purge_exports", stop)
    home.store.drop("withdrawals")
    assert shown(home, TEXTS[0])
    assert restore_lost(home)
    assert completed(home)
    assert not shown(home, TEXTS[0])
    assert all("do not match receipt" in problem for problem in verify(home).problems)
    assert set(withdrawn_ids(home.store)) == {IDS[0], *([IDS[5]] if receipts else [])}


def test_an_excerpt_that_only_a_place_names_shows_nothing_any_more(home):
    bad = {"shard": "web__b", "row": 9, "reason": "malformed_row", "detail": "", "excerpt": TEXTS[0][:50]}
    home.store.append("quarantine", rows_of("quarantine", [bad]))
    killed_at(home, purging, "withhold", stop)
    home.store.drop("withdrawals")
    restore_lost(home)
    completed(home)
    assert home.store.read("quarantine")["excerpt"].to_list() == [""]


def test_ids_that_were_never_stored_are_not_forgotten(home):
    """They have no place, so a file of the home says that there were withdrawals."""
    take_back(home, *NEVER_STORED)
    assert home.store.count("withdrawn_places") == 0
    home.store.drop("withdrawals")
    assert is_lost(home)
    assert "NOT everything" in "".join(verify(home).lines())
    for reading in (require_withdrawals, history):
        with pytest.raises(WithdrawalsLostError):
            reading(home)
    restore_lost(home)
    assert sorted(withdrawn_ids(home.store)) == NEVER_STORED


def test_a_home_from_before_there_was_such_a_file_gets_it(home):
    take_back(home, *NEVER_STORED)
    said = (home.root / LATEST).read_bytes()
    (home.root / LATEST).unlink()
    assert restore_lost(home) == []
    assert (home.root / LATEST).read_bytes() == said


def test_a_home_without_withdrawals_is_not_lost(home):
    assert restore_lost(home) == []
    assert not (home.root / LATEST).exists()
    assert not is_lost(home)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_receipt_that_is_gone_is_named_although_nothing_else_says_what_it_held(home, which):
    for doc_id in ("d" * 32, *NEVER_STORED):
        take_back(home, doc_id)
    lost = receipt_ids(home.store)[which]
    home.store.drop("withdrawals")
    missing(home, lost)
    _said, warned = restore_lost(home)
    assert lost[:16] in warned
    assert "not known any more; withdraw these again" in warned
    assert len(withdrawn_ids(home.store)) == 2
    if which < 2:
        assert any("is missing" in problem for problem in verify(home).problems)


def test_where_nothing_is_left_a_person_reads_what_to_do(home):
    take_back(home, *NEVER_STORED)
    (receipt,) = receipt_ids(home.store)
    home.store.drop("withdrawals")
    missing(home, receipt)
    for trying in (restore_lost, lambda home: take_back(home, IDS[0])):
        with pytest.raises(WithdrawalsLostError, match=f"delete {LATEST} and withdraw all") as refused:
            trying(home)
        assert "`tamis materialize`" not in str(refused.value)
    assert not home.store.exists("withdrawals")
    (home.root / LATEST).unlink()
    take_back(home, IDS[0])
    assert withdrawn_ids(home.store).to_list() == [IDS[0]]


def test_a_receipt_that_was_written_twice_gives_its_rows_once(home):
    real, calls = withdrawing.write_withdrawals, []

    def die_at_last(*given):
        calls.append(given)
        return real(*given) if len(calls) == 1 else stop()

    killed_at(home, withdrawing, "write_withdrawals", die_at_last)
    completed(home)
    (named,) = read_receipts(home)
    home.store.drop("withdrawals")
    restore_lost(home)
    assert read_withdrawals(home.store)["receipt"].to_list() == [named]
    assert receipt_problems(home, named, missing_only=True) == []
