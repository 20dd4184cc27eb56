"""Notes of removals: what came back is taken off, so that a later loss of it is a new one."""

from datetime import datetime

from tamis.retention.removals import TABLE, begun_removals, end_removals, removed_values, take_off_returned
from tamis.store.home import Home

FIRST, SECOND = datetime(2026, 1, 1), datetime(2026, 1, 2)


def noted(home: Home, removal: str, entries: str, begun_at: datetime) -> None:
    row = {"removal": removal, "entries": entries, "documents": 1, "allowed": "[]", "begun_at": begun_at}
    home.store.merge_values(TABLE, [row | {"ended_at": None}])


def test_an_entry_counts_as_begun_until_it_is_back(tmp_path):
    home = Home(tmp_path)
    noted(home, "first", '["documents[a]", "documents[b]"]', FIRST)
    noted(home, "second", '["trials[c]"]', SECOND)
    take_off_returned(home.store, lambda entry: entry == "documents[a]")
    assert begun_removals(home.store) == {"documents[b]", "trials[c]"}
    take_off_returned(home.store, lambda entry: entry.startswith("documents"))
    assert begun_removals(home.store) == {"trials[c]"}
    notes = dict(home.store.read(TABLE, ["removal", "ended_at"]).iter_rows())
    assert (notes["first"] is None, notes["second"] is None) == (False, True)
    end_removals(home.store)
    assert begun_removals(home.store) == set()


def test_a_value_was_removed_when_its_last_removal_began(tmp_path):
    home = Home(tmp_path)
    noted(home, "second", '["trials[a]"]', SECOND)
    noted(home, "first", '["trials[a]", "trials[b]"]', FIRST)
    assert removed_values(home.store) == {"trials[a]": SECOND, "trials[b]": FIRST}
