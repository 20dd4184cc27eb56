"""Pages of a selection: made after it, by `tamis map` in another layout and as a table, withdrawn."""

from collections.abc import Iterator

import polars as pl
import pytest
from projects import CHOSEN, SmallProject, corpus, make_graph, selection, settings

from tamis.base.errors import NotMadeError
from tamis.verbs.map import current_map, map_by_neighbours, write_points

PAGES = "selection_pages"
MADE = CHOSEN | {"target_gaps", PAGES}
DRAWN = frozenset({"raw_shards", "documents", "near_duplicates", "embeddings", "selected_subset", PAGES})


@pytest.fixture(scope="module")
def first(tmp_path_factory, made_graph) -> Iterator[SmallProject]:
    graph = made_graph.copy(tmp_path_factory.mktemp("pages") / "graph")
    graph.make(MADE)
    yield graph
    graph.close()


@pytest.fixture
def made(tmp_path, first, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    graph = first.copy(tmp_path / "graph")
    yield graph
    graph.close()


def shown(page):
    return page.read_text()


def test_each_selection_has_its_pages_and_its_own_leads_to_them(made):
    for name in ("near", "thin"):
        for kind in ("map", "browse", "mix"):
            assert f'href="{kind}_{name}.html"' in shown(made.home.reports / f"selection_{name}.html")
            assert (made.home.reports / f"{kind}_{name}.html").is_file()
    assert "has no target" in shown(made.home.reports / "map_thin.html")


def test_a_map_in_another_layout_is_computed_once_and_its_points_are_a_table(made):
    assert current_map(made.project, "near") == made.home.reports / "map_near.html"
    page = map_by_neighbours(made.project, "near")
    first = shown(page)
    (cached,) = (made.home.cache / "layouts").iterdir()
    cached_at = cached.stat().st_mtime_ns
    assert shown(map_by_neighbours(made.project, "near")) == first
    assert cached.stat().st_mtime_ns == cached_at
    rows = pl.read_parquet(write_points(made.project, "near", by_neighbours=True))
    decided = made.store.read("decisions", where="selection = 'near'")
    assert set(rows.filter(~pl.col("is_target"))["doc_id"]) == set(decided["doc_id"])
    assert rows["row_id"].to_list() == list(range(len(rows)))
    ids = rows["neighbors"].struct.field("ids").explode()
    assert ids.min() >= 0
    assert ids.max() < len(rows)
    assert rows["neighbors"].struct.field("distances").list.eval(pl.element().diff() >= -1e-9).explode().all()


def test_a_map_that_is_not_made_yet_says_so(graph):
    for page in graph.home.reports.glob("map_*.html"):
        page.unlink()
    with pytest.raises(NotMadeError):
        current_map(graph.project, "near")


def test_a_withdrawn_document_is_on_no_page_nor_in_a_table_and_the_next_run_makes_them_again(made):
    pages = [made.home.reports / f"{kind}_near.html" for kind in ("map", "mix")]
    other, table = map_by_neighbours(made.project, "near"), write_points(made.project, "near", False)
    doc_id = made.store.read("documents")["doc_id"][0]
    made.withdraw([doc_id])
    assert not pages[0].exists()
    assert not other.exists()
    assert doc_id not in pl.read_parquet(table)["doc_id"].to_list()
    made.make(MADE)
    assert f".{doc_id[:10]}" not in shown(pages[0])
    assert pages[1].exists()


def test_a_pool_without_documents_has_pages(tmp_path, encoder_cache):
    made = make_graph(tmp_path, encoder_cache, settings(corpus(path="landing"), selection("few")))
    made.make(DRAWN)
    made.withdraw(made.store.read("documents")["doc_id"].to_list())
    made.make(DRAWN)
    assert made.store.read("decisions").is_empty()
    assert (made.home.reports / "browse_few.html").is_file()
    made.close()
