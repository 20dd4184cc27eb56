"""A potential is compared with exact transport when it is solved from nothing, and keeps the comparison."""

from typing import Any

import dagster as dg
from projects import FITTED, SmallProject, lines, texts, write

POTENTIAL = FITTED - {"density_sketch", "density_scores", "transport_scores"}
KEY = dg.AssetCheckKey(dg.AssetKey("target_potential"), "agrees_with_exact_transport")


def compared(graph: SmallProject) -> dict[str, Any]:
    """Return the figures of the latest evaluation, which has passed."""
    (record,) = graph.instance.event_log_storage.get_latest_asset_check_execution_by_key([KEY]).values()
    evaluation = record.event.asset_check_evaluation
    assert evaluation.passed
    return {name: value.value for name, value in evaluation.metadata.items()}


def test_the_check_compares_the_whole_pool_and_stays_while_the_potential_is_kept(graph):
    write(graph.landing / "new.jsonl", lines(texts("algebra", 6, seed=50)))
    graph.make(POTENTIAL)
    first = compared(graph)
    assert first["rows"] == graph.store.count("documents")
    assert 0.9 < first["rank_agreement"] <= 1
    assert first["value"] >= first["exact_value"] > 0

    write(graph.landing / "more.jsonl", lines(texts("algebra", 1, seed=51)))
    graph.make(POTENTIAL, certified=True)
    assert compared(graph) == first
