"""A budget per source: decided, explained, shown, exported, kept when pinned, unknown to other selections."""

from collections.abc import Iterator

import polars as pl
import pytest
from projects import CHOSEN, GRAPH, SmallProject, selection

from tamis.history.differences import difference
from tamis.history.explain import explain_document, explanation_lines
from tamis.history.versions import restore
from tamis.selection.stage import SELECTION_STAGE
from tamis.settings.sections import DIVIDING
from tamis.verbs.elsewhere.export import export_selection

DIVIDED = GRAPH + "\n".join(
    [
        selection("near", "got-d", 6, target="goal", per="source", maximum_shares=0.5),
        selection("spoken", "random", 4, per="language", maximum_shares=0.5),
    ]
)


@pytest.fixture(scope="module")
def divided(tmp_path_factory, made_graph) -> Iterator[SmallProject]:
    graph = made_graph.copy(tmp_path_factory.mktemp("divided") / "graph")
    graph.configure(DIVIDED.replace(selection("near", "got-d", 5, target="goal"), "", 1))
    graph.make(CHOSEN)
    yield graph
    graph.close()


def decisions(graph: SmallProject, name: str) -> pl.DataFrame:
    return graph.store.read("decisions", where=f"selection = '{name}'").sort("rank", "doc_id")


def test_half_of_the_budget_for_each_file(divided):
    found = decisions(divided, "near")
    chosen = found.filter(pl.col("verdict") == "selected")
    assert dict(chosen.group_by("budget_group").len().iter_rows()) == dict.fromkeys(
        found["budget_group"].unique().to_list(), 3
    )
    assert found["budget_group"].null_count() == found["training_count"].count() == 0
    over = found.filter(pl.col("reason") == "over_source_budget")
    (group,) = over["budget_group"].unique()
    assert set(over["detail"]) == {f"{group} may fill 50 %: 3 of 6 documents"}
    explained = explanation_lines(explain_document(divided.home, over["doc_id"][0]))
    said = f"near: rejected, over the source's budget: {group} may fill 50 %: 3 of 6 documents, rank"
    assert any(said in line for line in explained)
    exported = pl.read_parquet(export_selection(divided.project, "near", "parquet").path)
    assert exported["doc_id"].to_list() == chosen["doc_id"].to_list()
    assert "training_count" not in exported.columns


def test_the_page_shows_shares_of_the_pool_bounds_and_shares_reached(divided):
    page = (divided.home.reports / "selection_near.html").read_text()
    table = page.split("The budget by source")[1].split("</table>")[0]
    groups = decisions(divided, "near")["budget_group"].unique()
    assert all(f"<td>{group}</td>" in table for group in groups)
    assert table.count("at most 50 %") == len(groups) == 2
    assert table.count("50.0 %") == 2
    assert "over source budget" in page
    assert "has a cut of its own" in page
    assert "The budget by" not in (divided.home.reports / "selection_thin.html").read_text()


def test_what_cannot_be_had_is_said(divided):
    found = decisions(divided, "spoken")
    assert set(found["budget_group"]) == {"unknown"}
    assert found["verdict"].eq("selected").sum() == 2
    said = "the budget is 4 documents, but the maximum shares allow only 2 documents"
    assert said in (divided.home.reports / "selection_spoken.html").read_text()


def test_other_selections_know_nothing_of_it(divided):
    snapshot = divided.snapshot
    assert SELECTION_STAGE.settings(snapshot, "near").keys() >= DIVIDING
    assert not DIVIDING & SELECTION_STAGE.settings(snapshot, "thin").keys()
    assert decisions(divided, "thin")["budget_group"].count() == 0


@pytest.mark.with_pages
def test_a_version_with_groups_is_compared_and_restored(divided):
    before = decisions(divided, "near")
    changed = (
        divided.root.joinpath("tamis.toml")
        .read_text()
        .replace("maximum_shares = 0.5", "maximum_shares = 1.0", 1)
    )
    divided.configure(changed)
    divided.make(CHOSEN)
    found = difference(divided.project, "near")
    assert found.changes["cause"].is_in(["over_source_budget", "budget", "others"]).all()
    assert len(found.changes) > 0
    restore(divided.project, "near", found.before.version)
    divided.make(CHOSEN)
    assert decisions(divided, "near").equals(before)
    assert "The budget by source" in (divided.home.reports / "selection_near.html").read_text()
