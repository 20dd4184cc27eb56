"""Parts of the incremental benchmark that run in a process of their own; each prints JSON lines.

`ingest`: files into the documents table. `ticks`: the sensors' way, ticks and the runs that they request,
until nothing is left to do. `arrivals`: the same for each file whose number comes on stdin. `idle`: ticks
with nothing to do.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from benchmarks._incremental_project import DOCUMENTS_EACH, peak_megabytes
from tamis.embedding.storing import current_table

MOST_TICKS = 30
SETTLED_SECONDS = 0.6
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def ingest(folder: Path) -> dict[str, Any]:
    """Documents a second from files to the documents table, and peak memory."""
    from tamis.corpus import ShardBatch, list_shards, read_shard
    from tamis.corpus.intake import store_shards
    from tamis.project import open_project

    project = open_project(folder)
    (corpus,) = project.settings.corpus

    def batches() -> Iterator[tuple[str, Iterator[ShardBatch]]]:
        for shard in list_shards(corpus, project.root):
            yield shard.key, read_shard(shard, corpus, batch_rows=10_000)

    project.home.store.names()
    began = time.perf_counter()
    rows = sum(came.occurrences for group in store_shards(project.home.store, batches()) for came in group)
    seconds = time.perf_counter() - began
    assert rows == project.home.store.count("occurrences")
    return {
        "documents": project.home.store.count("documents"),
        "seconds": seconds,
        "documents_per_second": rows / seconds,
        "peak_megabytes": peak_megabytes(),
    }


def ticks(folder: Path) -> dict[str, Any]:
    """Seconds until the selection is current and until nothing is left, and the rows that were touched."""
    began = time.perf_counter()
    instance, store, job, sensors = _open(folder)
    ready = time.perf_counter()
    before = _rows(store)
    requested, selected, said = _until_rest(instance, store, job, sensors)
    assert selected > ready, requested
    after = _rows(store)
    return {
        "seconds_to_selection": selected - ready,
        "seconds": time.perf_counter() - ready,
        "seconds_of_loading": ready - began,
        "runs": requested,
        "rows": {name: after[name] - before.get(name, 0) for name in after},
        "ended": said,
    }


def arrivals(folder: Path) -> Iterator[float]:
    """Seconds of the sensors' work for each file of ten documents whose number comes on stdin."""
    opened = _open(folder)
    coming = pl.read_parquet(folder / "coming.parquet")
    for number in map(int, sys.stdin):
        documents = coming.slice(number * DOCUMENTS_EACH, DOCUMENTS_EACH)
        documents.write_ndjson(folder / "pool" / f"later-{number:05d}.jsonl")
        time.sleep(SETTLED_SECONDS)
        began = time.perf_counter()
        requested, selected, _said = _until_rest(*opened)
        assert selected > began, requested
        yield time.perf_counter() - began


def idle(folder: Path) -> dict[str, Any]:
    """Seconds of a tick of both sensors when nothing has changed, the second one of three."""
    instance, store, _job, sensors = _open(folder)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        found = _tick(instance, store, sensors)
        seconds.append(time.perf_counter() - began)
    assert isinstance(found, dg.SkipReason), found
    shards = len(store.scan()[0].shards)
    return {
        "shards": shards,
        "seconds": sorted(seconds)[1],
        "first": seconds[0],
        "said": str(found.skip_message),
    }


def _open(folder: Path) -> tuple[dg.DagsterInstance, Any, Any, Any]:
    from tamis.base.imports import import_well, importing
    from tamis.platform.definitions import definitions_of
    from tamis.platform.resources.store import StoreResource
    from tamis.platform.sensors.arrivals import arrivals
    from tamis.platform.sensors.reselection import reselection
    from tamis.project import open_project
    from tamis.runtime.instance import open_instance

    project = open_project(folder)
    instance = open_instance(project)
    store = StoreResource(project_file=str(project.file))
    import_well()  # as a process does that Dagster's daemon starts for a run
    with importing():
        job = definitions_of(project).resolve_implicit_global_asset_job_def()
    return instance, store, job, (arrivals, reselection)


def _until_rest(
    instance: dg.DagsterInstance, store: Any, job: Any, sensors: Any
) -> tuple[list[dict[str, Any]], float, str]:
    """Tick and run what is requested until nothing is.

    Returns the runs with their seconds, when the selection was made, and what the last tick says.
    """
    requested, selected = [], 0.0
    for _ in range(MOST_TICKS):
        found = _tick(instance, store, sensors)
        if isinstance(found, dg.SkipReason):
            break
        for request in found.run_requests or ():
            started = time.perf_counter()
            done = job.execute_in_process(
                instance=instance,
                asset_selection=list(request.asset_selection),
                partition_key=request.partition_key,
                tags=request.tags,
                run_config=QUIET,
            )
            assert done.success
            assets = [key.path[-1] for key in request.asset_selection]
            requested.append({"assets": assets, "seconds": time.perf_counter() - started})
            if "selected_subset" in assets:
                selected = time.perf_counter()
    assert isinstance(found, dg.SkipReason), f"still at work after {MOST_TICKS} ticks: {found}"
    return requested, selected, str(found.skip_message)


def _tick(instance: dg.DagsterInstance, store: Any, sensors: Any) -> Any:
    from tamis.graph.used_stages import LOADED_WITH, used_by

    for sensor in sensors:
        metadata = {LOADED_WITH: used_by(store.project).text}
        context = dg.build_sensor_context(instance, definitions=dg.Definitions(metadata=metadata))
        found = sensor(context, store)
    return found


def _rows(store: Any) -> dict[str, int]:
    tables = store.tables
    wanted = ("documents", current_table(store.project), "near_duplicate_bands", "transport_examples")
    return {name: tables.count(name) for name in wanted}


if __name__ == "__main__":
    parts = {"ingest": ingest, "ticks": ticks, "idle": idle}
    name, folder = sys.argv[1], Path(sys.argv[2])
    for line in arrivals(folder) if name == "arrivals" else [parts[name](folder)]:
        print(json.dumps(line), flush=True)
