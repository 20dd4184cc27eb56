"""Erased rows are in no file of their table, whatever marks, versions and tags there were."""

from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest
from withdrawal_home import IDS, made_home

from tamis.store import erasing
from tamis.store.erasing import (
    TRIED,
    UntriedVersionError,
    VersionsLeftError,
    count_rows_of,
    erase_rows,
    forget_versions,
    is_bare,
    unwritten_files,
)
from tamis.store.retained import purge_answers
from tamis.store.schemas import schema_of
from tamis.store.tables import Store
from tamis.withdrawal.asking import Asked, WithdrawalReason
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import finish, withdraw


@pytest.fixture
def store(tmp_path) -> Store:
    """Fifty short texts in five commits, which Lance stores as they are."""
    store = Store(tmp_path / "lance")
    for start in range(0, 50, 10):
        numbers = range(start, start + 10)
        rows = [{"doc_id": f"{n:032x}", "text": f"MARK{n:06d} {n * 7919}"} for n in numbers]
        store.append("documents", pa.Table.from_pylist(rows, schema=schema_of("documents")))
    return store


def shown(store: Store, number: int) -> list[str]:
    wanted = f"MARK{number:06d}".encode()
    files = (path for path in store.folder.rglob("*") if path.is_file())
    return [path.name for path in files if wanted in path.read_bytes()]


@pytest.mark.parametrize("tagged", [False, True])
def test_a_deleted_row_leaves_every_file_and_the_others_stay(store, tagged):
    if tagged:
        store.open("documents").tags.create("old", 3)
    assert shown(store, 7)
    assert erase_rows(store, "documents", "doc_id", [f"{7:032x}"]) == 1
    assert shown(store, 7), "a deletion alone is a mark"
    assert forget_versions(store, "documents")
    assert shown(store, 7) == []
    assert shown(store, 8)
    assert store.count("documents") == 49
    assert store.schema("documents").equals(schema_of("documents"), check_metadata=True)


def test_many_rows_go_in_one_pass(store, monkeypatch):
    monkeypatch.setattr("tamis.store.erasing.CHUNK", 5)
    gone = [f"{n:032x}" for n in range(0, 50, 2)]
    assert count_rows_of(store, "documents", "doc_id", gone) == 25
    version = store.version("documents")
    assert erase_rows(store, "documents", "doc_id", [*gone, "f" * 32]) == 25
    assert store.version("documents") == version + 1
    assert erase_rows(store, "documents", "doc_id", gone) == 0
    forget_versions(store, "documents")
    assert [bool(shown(store, n)) for n in range(50)] == [n % 2 == 1 for n in range(50)]
    assert store.schema("documents").equals(schema_of("documents"), check_metadata=True)


def test_what_was_deleted_earlier_leaves_the_files_too(store):
    store.delete("documents", f"doc_id = '{3:032x}'")
    store.open("documents").optimize()
    assert shown(store, 3), "compaction leaves a few deleted rows in large files"
    forget_versions(store, "documents")
    assert shown(store, 3) == []


def test_a_table_that_is_bare_makes_no_version(store):
    forget_versions(store, "documents")
    assert is_bare(store, "documents")
    version = store.version("documents")
    assert not forget_versions(store, "documents")
    assert store.version("documents") == version


def test_versions_that_are_dated_in_the_future_go_too(store, monkeypatch):
    """Lance, which is compiled, reads the clock itself, so here it removes no version at all."""
    from lancedb.table import LanceTable

    real, cleaned = LanceTable.optimize, []

    def optimize(self, **named):
        cleaned.append(len(self.list_versions()))
        if len(cleaned) > 1:
            real(self, **named)

    monkeypatch.setattr(LanceTable, "optimize", optimize)
    assert erase_rows(store, "documents", "doc_id", [f"{7:032x}"]) == 1
    assert forget_versions(store, "documents")
    assert cleaned[0] > 1
    assert cleaned[1] == 1
    assert is_bare(store, "documents")
    assert shown(store, 7) == []
    assert sorted(Store(store.folder).read("documents")["doc_id"]) == [
        f"{n:032x}" for n in range(50) if n != 7
    ]


def test_what_cannot_be_removed_is_no_success(store, monkeypatch):
    from lancedb.table import LanceTable

    erase_rows(store, "documents", "doc_id", [f"{7:032x}"])
    with monkeypatch.context() as broken:
        broken.setattr(LanceTable, "optimize", lambda self, **named: None)
        broken.setattr("tamis.store.erasing.remove_named", lambda place, names: None)
        with pytest.raises(VersionsLeftError, match=r"still be in version 1, version 2, .* run the same"):
            forget_versions(store, "documents")
    assert forget_versions(store, "documents")
    assert shown(store, 7) == []


def test_what_a_killed_write_has_left_goes_from_a_bare_table(store):
    forget_versions(store, "documents")
    data = store.folder / "documents.lance" / "data"
    (whole,) = data.iterdir()
    (data / ".tmpAb12Cd").write_bytes(whole.read_bytes())
    (data / whole.name.replace(whole.name[:4], "abcd")).write_bytes(whole.read_bytes())
    assert len(unwritten_files(store, "documents")) == 2
    assert forget_versions(store, "documents")
    assert [path.name for path in data.iterdir()] == [whole.name]
    assert store.count("documents") == 50


def test_a_table_may_lose_all_its_rows(store):
    assert erase_rows(store, "documents", "doc_id", [f"{n:032x}" for n in range(50)]) == 50
    forget_versions(store, "documents")
    assert store.count("documents") == 0
    assert [shown(store, n) for n in range(50)] == [[]] * 50
    assert store.schema("documents").names == schema_of("documents").names


def test_the_tests_of_erasing_run_with_a_version_that_is_stated_and_constrained():
    assert version("lancedb") in TRIED
    constraints = (Path(__file__).resolve().parents[2] / "constraints.txt").read_text().splitlines()
    assert f"lancedb=={TRIED[-1]}" in constraints


def test_a_withdrawal_with_a_version_that_was_not_tried_is_refused_before_it_begins(tmp_path, monkeypatch):
    home = made_home(tmp_path / "home")
    asked = Asked(scopes={IDS[0]: "document"})

    def versions():
        return {table: home.store.version(table) for table in home.store.names()}

    before = versions()
    monkeypatch.setattr(erasing, "version", lambda package: "0.41.0")
    with pytest.raises(UntriedVersionError) as refused:
        withdraw(home, asked, WithdrawalReason.COPYRIGHT)
    for part in ("nothing was removed", "0.41.0 is installed", f"pip install lancedb=={TRIED[-1]}"):
        assert part in str(refused.value)
    assert finish(home) == [], "nothing is left to be completed"
    with pytest.raises(UntriedVersionError):
        purge_answers(home.store)
    assert versions() == before
    monkeypatch.undo()
    assert withdraw(home, asked, WithdrawalReason.COPYRIGHT).new == [IDS[0]]
    assert verify(home).holds


def test_a_withdrawal_is_not_verified_with_a_version_that_was_not_tried(tmp_path, monkeypatch):
    home = made_home(tmp_path / "home")
    withdraw(home, Asked(scopes={IDS[0]: "document"}), WithdrawalReason.COPYRIGHT)
    monkeypatch.setattr(erasing, "version", lambda package: "0.41.0")
    assert "0.41.0" in " ".join(verify(home).problems)
