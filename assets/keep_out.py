"""Benchmarks to keep out of training, and the documents that give their rows away."""

from collections.abc import Iterator
from typing import Any

from tamis.base.progress import complain, say
from tamis.platform.assets.specification import asset
from tamis.runtime.record import Output, Rows
from tamis.runtime.step import Work
from tamis.selection.benchmarks import read_benchmark
from tamis.selection.keep_out import (
    COUNTS,
    EXAMPLES,
    RUNS,
    TABLE,
    benchmark_lines,
    benchmark_warnings,
    update_kept_out,
)
from tamis.store.rows_files import stored_rows


@asset("kept_out", ["polars"])
def kept_out(work: Work) -> Iterator[Any]:
    """Documents of the pool that repeat rows of the benchmarks of [[keep_out]]; no selection chooses them.

    Documents that stay are not read again while the benchmarks stay the same.
    """
    settings = work.project.settings
    read = [read_benchmark(section, work.project.root) for section in settings.keep_out]
    changed = work.changed_only("", "documents", {"target_examples"}) if work.store.exists(RUNS) else None
    with work.progress("benchmarks") as progress:
        found = update_kept_out(
            work.store, read, settings.decontamination.maximum_share, changed, progress.advance
        )
    for line in benchmark_lines(work.store):
        say(line)
    for line in benchmark_warnings(work.store):
        complain(line)
    records = stored_rows(work.store, TABLE, "")
    counts = work.store.read(COUNTS).sort("benchmark").iter_rows(named=True)
    yield from work.record(
        Output(
            rows=[
                Rows(table=TABLE, records=records),
                *(Rows(table=name) for name in (RUNS, EXAMPLES, COUNTS)),
            ],
            row_count=found.documents,
            data_version=records[0],
            metadata={"documents_read": found.read}
            | {f"documents_with_{row['benchmark']}": row["documents"] for row in counts},
        )
    )
