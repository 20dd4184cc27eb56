"""Old versions are gone through one at a time, and no further than needed."""

import gc

import polars as pl
import pytest
from projects import rows_of
from withdrawal_home import IDS, TEXTS

from tamis.store.home import Home
from tamis.store.tables import Store
from tamis.withdrawal import departed
from tamis.withdrawal.asking import Asking, WithdrawalReason
from tamis.withdrawal.departed import departed_places, texts_of
from tamis.withdrawal.withdrawing import withdraw

VERSIONS = 12
LEFT = [f"{number:032x}" for number in range(500)]


def left_in_versions(home: Home) -> None:
    """Let documents leave that each of several versions of the index has, under another file."""
    for number in range(VERSIONS):
        places = [{"shard": f"old__{number}", "row": row, "doc_id": one} for row, one in enumerate(LEFT)]
        home.store.overwrite("occurrences", rows_of("occurrences", places))
    home.store.delete("occurrences", "true")


def test_rows_of_old_versions_are_not_held_all_at_once(home, monkeypatch):
    """The same rows in each version are no more than those of one; else millions of them fill the memory."""
    for _ in range(VERSIONS):
        places = [{"shard": "old__a", "row": row, "doc_id": one} for row, one in enumerate(LEFT)]
        home.store.overwrite("occurrences", rows_of("occurrences", places))
    home.store.delete("occurrences", "true")
    held, read = [], Store.read

    def noting(*given, **named):
        found = read(*given, **named)
        held.append(sum(len(one) for one in gc.get_objects() if isinstance(one, pl.DataFrame)))
        return found

    monkeypatch.setattr(Store, "read", noting)
    assert set(departed_places(home.store)["doc_id"]) == {*LEFT, *IDS}
    assert len(held) > VERSIONS
    assert max(held) - held[0] < 5 * len(LEFT)


def test_a_document_has_all_the_places_that_any_version_had(home):
    left_in_versions(home)
    places = departed_places(home.store).filter(doc_id=LEFT[0])
    assert set(places["shard"]) == {f"old__{number}" for number in range(VERSIONS)}


def test_the_corpus_of_a_file_that_left_is_the_one_that_was_noted_last(home):
    left_in_versions(home)
    for corpus in ("first", "second"):
        home.store.overwrite("shard_files", rows_of("shard_files", [{"shard": "old__0", "corpus": corpus}]))
    home.store.delete("shard_files", "true")
    places = departed_places(home.store)
    assert set(places.filter(shard="old__0")["corpus"]) == {"second"}
    assert set(places.filter(shard="old__1")["corpus"]) == {"old"}


@pytest.fixture
def asked_versions(monkeypatch) -> list[tuple[str, int]]:
    """The earlier versions of tables that are opened from here on."""
    found: list[tuple[str, int]] = []
    opened = Store._opened

    def noting(self, table, version=None):
        if version is not None:
            found.append((table, version))
        return opened(self, table, version)

    monkeypatch.setattr(Store, "_opened", noting)
    return found


def test_versions_are_not_read_once_all_texts_are_found(home, asked_versions):
    for doc_id in IDS[:3]:
        home.store.delete("documents", f"doc_id = '{doc_id}'")
    found = [some for some in texts_of(home.store, IDS[2:]) if some]
    assert {doc_id: text for some in found for doc_id, text in some.items()} == dict(
        zip(IDS[2:], TEXTS[2:], strict=True)
    )
    assert len(asked_versions) == 1


def test_texts_of_many_documents_come_from_whichever_version_has_them(home, monkeypatch):
    monkeypatch.setattr(departed, "TEXTS_AT_ONCE", 2)
    for doc_id in IDS[:5]:
        home.store.delete("documents", f"doc_id = '{doc_id}'")
    home.store.append("documents", rows_of("documents", [{"doc_id": "f" * 32, "text": "one"}]))
    blocks = list(texts_of(home.store, [*IDS, "e" * 32]))
    assert max(map(len, blocks)) <= 2
    assert {doc_id: text for some in blocks for doc_id, text in some.items()} == dict(
        zip(IDS, TEXTS, strict=True)
    )


def test_a_withdrawal_reads_the_texts_of_old_versions_once(home, asked_versions):
    home.store.delete("documents", f"doc_id = '{IDS[0]}'")
    asking = Asking(store=home.store)
    asking.ids([IDS[0]])
    asked = asking.done()
    asked_versions.clear()
    withdraw(home, asked, WithdrawalReason.COPYRIGHT)
    assert [table for table, _version in asked_versions].count("documents") == 1
