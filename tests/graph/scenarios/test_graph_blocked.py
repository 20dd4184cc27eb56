"""What a blocking check refuses: nothing is made of it, and what was there before stays."""

import dagster as dg
import polars as pl
from projects import CHOSEN, SmallProject

from tamis.graph.plan import due_partitions, full_plan
from tamis.graph.stages import stages
from tamis.platform.assets import selection

MODELS = frozenset({"stg_decisions", "mart_reasons"})


def readers(graph: SmallProject) -> list[str]:
    """Stages that could be made now."""
    snapshot, current = graph.snapshot, graph.current
    return [name for name, stage in stages().items() if [*due_partitions(stage, snapshot, current)]]


def test_nothing_is_made_of_decisions_that_their_check_refuses(graph, monkeypatch):
    assert "mart_reasons" not in readers(graph), "a view waits between"
    assert "stg_decisions" in readers(graph)
    with monkeypatch.context() as broken:
        broken.setattr(selection, "_every_document_decided", refused)
        graph.forget(("decisions", "near"), ("selected_subset", "near"))
        assert "selected_subset" in graph.try_making(CHOSEN).failed
    value = graph.current["decisions", "near"]
    assert not value.passed
    assert not value.usable
    assert "stg_decisions" not in readers(graph)
    plan = {due.asset: due.waits_for for due in full_plan(graph.snapshot, graph.current)}
    assert plan["stg_decisions"] == "decisions[near]"


def refused(_decided, _pool) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(asset_key="decisions", check_name="every_document_decided", passed=False)


def test_a_model_whose_tests_fail_does_not_replace_its_table(graph):
    graph.make(CHOSEN | MODELS)
    before = graph.store.read("mart_reasons")
    assert graph.current["mart_reasons", ""].usable
    alter_verdicts(graph)
    graph.forget(("mart_reasons", ""))
    assert "mart_reasons" in graph.try_making(MODELS).failed
    assert graph.store.read("mart_reasons").equals(before)
    assert not graph.current["mart_reasons", ""].usable


def alter_verdicts(graph: SmallProject) -> None:
    """Let what the selection `thin` published hold a verdict that there is not."""
    path = graph.manifests.kept_path(graph.manifest("decisions", "thin").rows["decisions"])
    pl.read_parquet(path).with_columns(verdict=pl.lit("maybe")).write_parquet(path)
