"""Files of the home that a withdrawal goes through: as JSON text, unreadable, of unknown kinds."""

import gzip
import json
from datetime import datetime

import polars as pl
import pytest
from long_stack import below
from projects import rows_of
from withdrawal_home import IDS, TEXTS

from tamis.store.erasing import VersionsLeftError
from tamis.store.home import Home, writing
from tamis.store.withdrawn import DOCUMENT, Withdrawal, write_withdrawals
from tamis.withdrawal import purging, verifying
from tamis.withdrawal.asking import Asked, Asking, WithdrawalReason
from tamis.withdrawal.places import UnreadableRowsError
from tamis.withdrawal.since import UnfinishedWithdrawalError, WithdrawnSince, WithdrawnSinceError
from tamis.withdrawal.telling import withdrawn_lines
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import finish, withdraw

REASON = WithdrawalReason.COPYRIGHT


def asked(home: Home, *doc_ids: str) -> Asked:
    asking = Asking(store=home.store)
    asking.ids(doc_ids)
    return asking.done()


def test_a_text_in_a_column_that_an_export_writes_as_json_text_goes_with_its_row(home):
    home.exports.mkdir()
    columns = {"doc_id": IDS[1:4], "mixed": [json.dumps(one) for one in (7, TEXTS[0], [{"n": TEXTS[0]}])]}
    pl.DataFrame(columns).write_parquet(home.exports / "best.parquet")
    withdraw(home, asked(home, IDS[0]), REASON)
    assert pl.read_parquet(home.exports / "best.parquet")["doc_id"].to_list() == [IDS[1]]
    pl.DataFrame(columns).write_parquet(home.exports / "best.parquet")
    assert not verify(home).holds


def test_a_text_leaves_a_row_of_an_export_that_is_nested_deeply(home):
    home.exports.mkdir()
    path, other = home.exports / "best.jsonl", f'{{"doc_id": "{IDS[1]}"}}\n'
    path.write_text(f'{{"doc_id": "{IDS[2]}", "deep": {"[" * 900}"{TEXTS[0]}"{"]" * 900}}}\n{other}')
    below(200, lambda: withdraw(home, asked(home, IDS[0]), REASON))
    assert path.read_text() == other


def test_a_kept_version_that_nobody_can_read_is_named_and_all_else_is_removed(home):
    broken = home.manifests / "rows" / "90" / "9097.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"PAR1")
    with pytest.raises(UnreadableRowsError, match=r"9097\.parquet cannot be read as parquet .* remove it"):
        withdraw(home, asked(home, IDS[0]), REASON)
    assert home.store.count("documents", f"doc_id = '{IDS[0]}'") == 0
    broken.unlink()
    assert withdraw(home, asked(home, IDS[0]), REASON).receipts
    assert verify(home).holds


def test_what_a_killed_write_of_a_table_has_left_is_found_and_goes(home):
    """Of a table that has no version, all data goes, also where answers were paid for: no row can be read."""
    names = ["documents.lance/data/.tmpAb12Cd", "target_examples.lance/data/.tmpEf34Gh"]
    names += [f"{table}.lance/data/0a1b.lance" for table in ("kept_rows", "scores_judge")]
    left = [home.root / "lance" / name for name in names]

    def be_killed() -> None:
        for path in left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(TEXTS[0])

    be_killed()
    assert verify(home).holds, "nothing is withdrawn"
    withdraw(home, asked(home, IDS[0]), REASON)
    assert not any(path.exists() for path in left)
    be_killed()
    assert [problem.partition(":")[0] for problem in verify(home).problems] == [
        "table documents",
        "table kept_rows",
        "table scores_judge",
        "table target_examples",
    ]
    withdraw(home, asked(home, IDS[0]), REASON)
    assert verify(home).holds
    assert not any(path.exists() for path in left)


def test_a_file_that_is_being_written_is_no_problem(home, monkeypatch):
    withdraw(home, asked(home, IDS[0]), REASON)
    (home.root / "lance" / "documents.lance" / "data" / ".tmpAb12Cd").touch()
    monkeypatch.setattr(verifying, "writer", lambda home: "process 7 (a run)")
    assert verify(home).holds


def test_a_repeated_withdrawal_removes_what_an_old_version_alone_still_has(home):
    withdraw(home, asked(home, IDS[0]), REASON)
    home.store.append("documents", rows_of("documents", [{"doc_id": IDS[0], "text": TEXTS[0]}]))
    home.store.delete("documents", f"doc_id = '{IDS[0]}'")
    assert not verify(home).holds
    done = withdraw(home, asked(home, IDS[0]), REASON)
    assert done.purged.bare == ["documents"]
    assert withdrawn_lines(done, [], True)[0] == (
        "removed what was withdrawn before: 0 rows, and old versions of 1 table"
    )
    assert verify(home).holds


def test_a_table_of_which_versions_are_left_gets_no_receipt_and_stops_no_other(home, monkeypatch):
    real = purging.forget_versions

    def fail(store, table):
        if table == "documents":
            raise VersionsLeftError(table, ["version 1"])
        return real(store, table)

    home.store.append("target_examples", rows_of("target_examples", [{"doc_id": IDS[0], "text": TEXTS[0]}]))
    monkeypatch.setattr(purging, "forget_versions", fail)
    with pytest.raises(VersionsLeftError, match="version 1 of its folder"):
        withdraw(home, asked(home, IDS[0]), REASON)
    assert home.store.count("target_examples") == 0
    monkeypatch.undo()
    assert not verify(home).holds
    with writing(home, "test"):
        (completed,) = finish(home)
    assert completed.receipts
    assert verify(home).holds


def test_copies_that_no_export_wrote_are_named_by_verifying_alone(home):
    home.exports.mkdir()
    rows = pl.DataFrame({"doc_id": IDS, "text": TEXTS})
    content = rows.write_ndjson().encode()
    (home.exports / "best.jsonl.bak").write_bytes(content)
    (home.exports / "best.jsonl.gz").write_bytes(gzip.compress(content))
    rows.write_parquet(home.exports / "best.bin")
    (home.exports / "others.txt").write_text(" ".join(IDS[1:]))
    (home.exports / "cut.bin").write_bytes(b"PAR1")
    withdraw(home, asked(home, IDS[0]), REASON)
    named = [problem.partition(" contains the id")[0] for problem in verify(home).problems]
    assert named == ["exports/best.bin", "exports/best.jsonl.bak", "exports/best.jsonl.gz"]
    assert (home.exports / "best.jsonl.bak").read_bytes() == content


def test_what_was_withdrawn_since_is_noticed(home):
    withdraw(home, asked(home, IDS[0]), REASON)
    since = WithdrawnSince(home)
    since.require_none("best.jsonl")
    withdraw(home, asked(home, IDS[1]), REASON)
    with pytest.raises(WithdrawnSinceError, match=r"^best\.jsonl was not written") as raised:
        since.require_none("best.jsonl")
    assert raised.value.documents == 1


def test_a_withdrawal_at_the_very_beginning_is_noticed(home, monkeypatch):
    def withdrawn_now(_store):
        withdraw(home, asked(home, IDS[0]), REASON)
        return ""

    monkeypatch.setattr("tamis.withdrawal.since.unfinished_line", withdrawn_now)
    with pytest.raises(WithdrawnSinceError):
        WithdrawnSince(home).require_none("best.jsonl")


def test_nothing_is_written_of_what_an_unfinished_withdrawal_has_left(home):
    begun = Withdrawal(doc_id=IDS[0], withdrawn_at=datetime(2026, 11, 1), reason="gdpr", scope=DOCUMENT)
    write_withdrawals(home.store, [begun])
    with pytest.raises(
        UnfinishedWithdrawalError, match=r"of 1 document or excerpt is at work .*materialize`"
    ):
        WithdrawnSince(home)
    assert not verify(home).holds
    with writing(home, "tamis materialize"):
        finish(home)
    WithdrawnSince(home).require_none("best.jsonl")
    assert verify(home).holds


def test_a_damaged_table_that_was_moved_aside_is_named_and_no_problem(home):
    """Its files cannot be read: they may hold numbers under the id, and never a text."""
    home.store.append("scores_judge", rows_of("scores_judge", [{"doc_id": IDS[0], "margin": 1.0}]))
    assert withdraw(home, asked(home, IDS[1]), REASON).aside == []
    aside = home.store.move_aside("scores_judge")
    assert verify(home).holds
    done = withdraw(home, asked(home, IDS[0]), REASON)
    assert f"lance/{aside}, files of a damaged table" in "".join(withdrawn_lines(done, [], True))
    found = verify(home)
    assert found.holds
    assert any(f"lance/{aside}" in line for line in found.lines())
