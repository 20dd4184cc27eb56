"""Backfills, which is how the UI materializes many values: what is due is made, the rest is logged again."""

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from projects import QUIET, SmallProject, lines, texts, write

from tamis.runtime.runs import register_partitions

MADE = dg.DagsterEventType.ASSET_MATERIALIZATION
BACKFILL = {"dagster/backfill": "all"}
PAIR = ("decisions", "selected_subset")


def run(graph: SmallProject, *assets: str, **more: object) -> dg.ExecuteInProcessResult:
    """Run these assets as a backfill of the UI does."""
    register_partitions(graph.instance, graph.snapshot)
    tags = BACKFILL | dict(more.pop("tags", {}))
    keys = [dg.AssetKey(name) for name in assets]
    result = graph.job.execute_in_process(
        instance=graph.instance, asset_selection=keys, run_config=QUIET, tags=tags, **more
    )
    assert result.success
    return result


def logged(result: dg.ExecuteInProcessResult) -> list[tuple[str, str | None]]:
    events = [event for event in result.all_events if event.event_type_value == MADE.value]
    return sorted((event.asset_key.path[-1], event.partition) for event in events)


def test_what_is_current_is_logged_again_and_not_made(graph):
    graph.make()
    before = graph.current
    assert logged(run(graph, "near_duplicates", "density_sketch")) == [
        ("density_sketch", None),
        ("near_duplicates", None),
    ]
    ends = {"dagster/asset_partition_range_start": "near", "dagster/asset_partition_range_end": "thin"}
    pairs = [(name, key) for name in PAIR for key in ("near", "thin")]
    assert logged(run(graph, *PAIR, tags=ends)) == pairs
    assert logged(run(graph, *PAIR, partition_key="near")) == pairs[::2]
    assert graph.current == before
    graph.assert_sound()


def test_a_file_that_came_since_is_left_to_the_sensors(graph):
    graph.make()
    write(graph.landing / "new.jsonl", lines(texts("algebra", 6, seed=50)))
    graph.reconfigure("[density]\nrows = 20", "[density]\nrows = 30")
    made = run(graph, "near_duplicates", "density_sketch")
    assert logged(made) == [("density_sketch", None), ("near_duplicates", None)]
    assert graph.store.count("occurrences", "shard = 'web__new.jsonl'") == 0
    graph.until_rest()
    assert graph.store.count("occurrences", "shard = 'web__new.jsonl'") == 6
    graph.make()
    graph.assert_sound()


@pytest.mark.slow
def test_what_is_made_before_a_removal_is_made_again_after_it(graph):
    """Rows of a file that is gone are in the tables until the removal, which waits for the backfill."""
    graph.make()
    (graph.landing / "cooking.jsonl").unlink()
    graph.reconfigure("[density]\nrows = 20", "[density]\nrows = 30")
    run(graph, "near_duplicates", "density_sketch", "density_scores")
    ends = {"dagster/asset_partition_range_start": "near", "dagster/asset_partition_range_end": "thin"}
    run(graph, *PAIR, tags=ends)
    assert graph.arrive() == "removed"
    graph.until_rest()
    graph.make()
    graph.assert_sound()


def test_sensors_wait_for_the_whole_backfill(graph):
    graph.make()
    write(graph.landing / "new.jsonl", lines(texts("algebra", 6, seed=50)))
    (graph.landing / "cooking.jsonl").unlink()
    begun = {"from_failure": False, "tags": {}, "backfill_timestamp": 0.0}
    begun |= {"asset_selection": [dg.AssetKey("documents")]}
    backfill = PartitionBackfill(backfill_id="all", status=BulkActionStatus.REQUESTED, **begun)
    graph.instance.add_backfill(backfill)
    waits = "a backfill is in progress; the sensor continues when it ends"
    assert graph.arrive() == f"registered 1 shard; removals are waiting: {waits}"
    assert graph.tick() == ([], waits)
    graph.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert graph.arrive() == "removed"
    assert graph.tick()[0]


@pytest.mark.parametrize("asked", PAIR)
def test_of_two_assets_of_a_step_one_may_be_asked_for_and_both_are_made(graph, asked):
    graph.make()
    graph.reconfigure("budget = 5", "budget = 4")
    before = graph.versions()
    register_partitions(graph.instance, graph.snapshot)
    result = graph.job.execute_in_process(
        instance=graph.instance, asset_selection=[dg.AssetKey(asked)], partition_key="near", run_config=QUIET
    )
    assert result.success
    assert logged(result) == [("decisions", "near"), ("selected_subset", "near")]
    assert all(
        graph.versions()[name, "near"] != before[name, "near"] for name in ("selected_subset", "decisions")
    )
    key = dg.AssetCheckKey(dg.AssetKey("decisions"), "every_document_decided")
    (record,) = graph.instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).values()
    assert record.run_id == result.run_id
    assert record.event.asset_check_evaluation.passed
    graph.make()
    graph.assert_sound()
