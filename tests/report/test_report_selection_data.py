"""What the selection page gathers from the store, where nothing may be chosen."""

import polars as pl
import pytest

from tamis.report.selection import selection_page
from tamis.report.selection_data import selection_report
from tamis.selection import select
from tamis.settings.sections import FiltersSection, SelectionSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store


@pytest.fixture
def store(tmp_path) -> Store:
    """A store without a document."""
    store = Store(tmp_path / "lance")
    for table in ("documents", "occurrences"):
        store.overwrite(table, schema_of(table).empty_table())
    return store


def test_a_selection_that_may_choose_nothing_has_a_page(store):
    ids = [f"{number:032x}" for number in range(3)]
    excluded = pl.DataFrame({"doc_id": ids, "reason": ["contaminated"] * 3})
    decided = select(pl.DataFrame({"doc_id": ids}), "random", "50%", exclusions=excluded)
    section = SelectionSection(name="none", sampler="random", budget="50%")
    page = selection_page(selection_report(store, section, decided, FiltersSection()))
    assert "none" in page


@pytest.mark.parametrize(
    ("sampler", "read"),
    [
        ("got-d", {"target"}),
        ("got-d-quality", {"target", "quality_weight"}),
        ("got-d-contrast", {"target", "away_from", "away_weight"}),
        ("got-d-quality-rounds", {"target", "quality_weight", "rounds", "mixing"}),
        ("quality-diversity", {"target", "temperature", "diversity_weight"}),
        ("semdedup", {"target"}),
        ("perplexity:small", {"target"}),
    ],
)
def test_the_page_lists_what_the_sampler_reads(store, sampler, read):
    section = SelectionSection(name="one", sampler=sampler, budget=2, target="near", away_from="far")
    nothing = select(pl.DataFrame({"doc_id": ["a"]}), "random", 1).clear()
    shown = selection_report(store, section, nothing, FiltersSection()).settings
    assert set(shown) == {"name", "sampler", "budget", *read}
