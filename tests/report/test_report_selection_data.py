"""What the selection page gathers from the store, where nothing may be chosen."""

import polars as pl

from tamis.report import selection_page
from tamis.report.selection_data import selection_report
from tamis.sections import SelectionSection
from tamis.selection import select
from tamis.store.schemas import schema_of
from tamis.store.tables import Store


def test_a_selection_that_may_choose_nothing_has_a_page(tmp_path):
    store = Store(tmp_path / "lance")
    for table in ("documents", "occurrences"):
        store.overwrite(table, schema_of(table).empty_table())
    ids = [f"{number:032x}" for number in range(3)]
    excluded = pl.DataFrame({"doc_id": ids, "reason": ["contaminated"] * 3})
    decided = select(pl.DataFrame({"doc_id": ids}), "random", "50%", exclusions=excluded)
    section = SelectionSection(name="none", sampler="random", budget="50%")
    page = selection_page(selection_report(store, section, decided))
    assert "none" in page
