"""What selections publish: the last value that passed its check, whatever the tables hold since."""

from typing import Any

import dagster as dg
import polars as pl
import pytest
from projects import CHOSEN, GRAPH, SmallProject
from projects import selection as selection_of

from tamis.base.errors import PermanentError
from tamis.graph import trial_data
from tamis.graph.stages import SQL_FOLDER
from tamis.history.explain import explain_document
from tamis.history.versions import read_versions
from tamis.platform.assets import selection
from tamis.records.published import SelectionRefusedError, published_sources
from tamis.report.summary import summary
from tamis.sql import load_project, run_model
from tamis.sql.plan import pin_tables
from tamis.store.tables import Store
from tamis.verbs.elsewhere.export import export_selection
from tamis.verbs.status import read_status
from tamis.withdrawal.asking import Asked, WithdrawalReason
from tamis.withdrawal.withdrawing import withdraw

MODELS = frozenset({"stg_decisions", "mart_reasons"})
PAGE = "selection_near.html"


def refused(_decided: pl.DataFrame, _pool: pl.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(asset_key="decisions", check_name="every_document_decided", passed=False)


def die(*_arguments: Any) -> None:
    raise PermanentError("killed")


def ask_for_more(graph: SmallProject) -> None:
    """Let the next choice of `near` be seven documents in place of five."""
    graph.reconfigure('target = "goal"\nbudget = 5', 'target = "goal"\nbudget = 7')


def refuse(graph: SmallProject) -> None:
    """Have the check refuse another choice of `near`."""
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(selection, "_every_document_decided", refused)
        assert "selected_subset" in graph.try_making(CHOSEN, partitions=["near"]).failed


def kill_between_the_tables(graph: SmallProject) -> None:
    """End the step after `decisions` was written, before `selected_subset` is."""
    replace = Store.replace

    def dying(store: Store, table: str, *arguments: Any, **named: Any) -> None:
        if table == "selected_subset":
            die()
        replace(store, table, *arguments, **named)

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(Store, "replace", dying)
        assert "selected_subset" in graph.try_making(CHOSEN, partitions=["near"]).failed


def kill_before_the_record(graph: SmallProject) -> None:
    """End the step after both tables were written, before the current values move."""
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr("tamis.runtime.step.write_current_values", die)
        assert "selected_subset" in graph.try_making(CHOSEN, partitions=["near"]).failed


def exported(graph: SmallProject) -> pl.DataFrame:
    path = export_selection(graph.project, "near", "parquet").path
    return pl.read_parquet(path)


def readers(graph: SmallProject) -> dict[str, Any]:
    """What everybody who reads the selection `near` sees of it."""
    store, folder = graph.store, graph.manifests
    sources = published_sources(store, folder, graph.current)
    project = load_project(SQL_FOLDER)
    tables = pin_tables(store, project, "mart_reasons", (), sources)
    mart = run_model(project, "mart_reasons", tables.read).table.to_pylist()
    (status,) = [one for one in read_status(graph.project).selections if one["selection"] == "near"]
    stage = trial_data._selected(graph.project, graph.current, "near")
    first = stage.doc_ids[0]
    return {
        "export": exported(graph).drop("text").rows(),
        "mart": sorted(str(row) for row in mart if row["selection"] == "near"),
        "documents": status["documents"],
        "trial": (stage.digest, stage.doc_ids),
        "explain": explain_document(graph.home, first)["decisions"],
        "summary": [line for line in summary(graph.project).splitlines() if "near" in line],
        "page": (graph.home.reports / PAGE).read_bytes(),
        "versions": read_versions(store, "near"),
    }


FAULTS = {
    "its check refuses it": refuse,
    "the process dies between the two tables": kill_between_the_tables,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_readers_see_the_last_value_that_passed(graph, fault):
    before = readers(graph)
    assert len(before["export"]) == before["documents"] == 5
    ask_for_more(graph)
    FAULTS[fault](graph)
    assert graph.store.count("decisions", "selection = 'near' AND verdict = 'selected'") == 7
    assert readers(graph) == before
    assert not [node.name for node in graph.audit().nodes.values() if node.status == "red"]


def test_a_value_that_passes_later_is_published(graph):
    ask_for_more(graph)
    refuse(graph)
    for entry in (("decisions", "near"), ("selected_subset", "near")):
        assert not graph.current[entry].passed, "both are parts of what was refused"
    (state,) = [one["state"] for one in read_status(graph.project).selections if one["selection"] == "near"]
    assert state == "refused by its check; an earlier choice is used"
    graph.reconfigure("budget = 7", "budget = 6")
    graph.make()
    found = readers(graph)
    assert len(found["export"]) == found["documents"] == 6
    assert [version.documents for version in found["versions"]] == [5, 6], "a refused choice is no version"
    graph.assert_sound()


def test_decisions_and_chosen_documents_are_published_in_one_commit(graph):
    ask_for_more(graph)
    kill_before_the_record(graph)
    assert len(exported(graph)) == 5
    note_version = selection.note_version

    def dying(*arguments: Any, **named: Any) -> None:
        if graph.current["decisions", "near"].finished:
            die()
        note_version(*arguments, **named)

    with pytest.MonkeyPatch.context() as broken:  # recorded, but killed before its rows are in their file
        broken.setattr(selection, "note_version", dying)
        assert "selected_subset" in graph.try_making(CHOSEN, partitions=["near"]).failed
    assert len(exported(graph)) == 7
    graph.reconfigure("budget = 7", "budget = 6")
    kill_between_the_tables(graph)
    assert len(exported(graph)) == 7
    graph.make()
    assert [version.documents for version in read_versions(graph.store, "near")] == [5, 7, 6]
    graph.assert_sound()


def test_a_selection_that_never_passed_cannot_be_exported(graph):
    graph.configure(GRAPH + selection_of("wide", "density", 9))
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(selection, "_every_document_decided", refused)
        assert "selected_subset" in graph.try_making(CHOSEN, partitions=["wide"]).failed
    with pytest.raises(SelectionRefusedError, match=r"check of decisions\[wide\] failed"):
        export_selection(graph.project, "wide", "parquet")
    rows = published_sources(graph.store, graph.manifests, graph.current)["decisions"](["selection"])
    assert set(rows["selection"].to_pylist()) == {"near", "thin"}
    assert not (graph.home.reports / "selection_wide.html").exists()


def test_a_document_withdrawn_after_a_refused_attempt_leaves_what_is_published(graph):
    ask_for_more(graph)
    refuse(graph)
    before = exported(graph)["doc_id"].to_list()
    withdraw(graph.home, Asked(scopes={before[0]: "document"}), WithdrawalReason.OWNER_REQUEST)
    assert exported(graph)["doc_id"].to_list() == before[1:]


def test_a_mart_is_not_made_of_a_refused_selection(graph):
    graph.make(CHOSEN | MODELS)
    before = graph.store.read("mart_reasons")
    ask_for_more(graph)
    refuse(graph)
    graph.try_making(CHOSEN | MODELS)
    assert graph.store.read("mart_reasons").equals(before)
