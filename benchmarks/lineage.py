"""What lineage and its reports cost: JSON lines on stdout.

    python -m benchmarks.lineage [--part audit|explain|marts|all] [--documents 1000000]

`audit`: 1,000 shards of real texts, materialized whole; the command with and without --quick, and how fast
files are hashed again. `explain`: a document among the decisions of one selection, query and command.
`marts`: every SQL model of dbt_like_sql/ over synthetic tables in a real store, one after the other as the
graph runs them: tables pinned and read, computed, tested, published. The figure with a limit is that of the
marts; the staging views, which are computed for their tests alone, are printed next to it. Exits 1 when a
figure misses its limit. Most of the time is spent building what is measured.
"""

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks._coverage_data import Report, Stopwatch
from benchmarks._flags import begin
from benchmarks._lineage_parts import audit, explain
from benchmarks._lineage_tables import write_tables
from benchmarks._yardstick import most_seconds
from tamis.graph.stages import SQL_FOLDER
from tamis.sql import Model, Project, load_project, run_model
from tamis.sql.plan import pin_tables
from tamis.sql.properties import LAYERS
from tamis.store.tables import Store

MARTS_SECONDS, AT_DOCUMENTS = 20.0, 1_000_000
FIRST_ROWS = 12


def marts(folder: Path, documents: int, seed: int, report: Report) -> None:
    """Seconds of every model, and of each layer together."""
    store = Store(folder / "lance")
    rows = write_tables(store, documents, seed)
    report.line("tables", documents=documents, rows=rows)
    project = load_project(SQL_FOLDER)
    layers = {name: Stopwatch() for name in LAYERS}
    for model in project.ordered():
        watch, result = _run(store, project, model)
        layers[model.layer].wall += watch.wall
        layers[model.layer].processor += watch.processor
        report.line("model", model=model.name, seconds=watch.wall, processor=watch.processor, **result)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    most = most_seconds(MARTS_SECONDS, "core")
    judged = documents == AT_DOCUMENTS
    report.line(
        "marts",
        holds=layers["marts"].wall < most.here if judged else None,
        documents=documents,
        seconds=layers["marts"].wall,
        processor_seconds=layers["marts"].processor,
        staging_seconds=layers["staging"].wall,
        peak_megabytes=peak,
        **(most.figures() if judged else {}),
    )


def _run(store: Store, project: Project, model: Model) -> tuple[Stopwatch, dict[str, object]]:
    """As assets/marts.py runs a model; raises `RuntimeError` when its tests fail."""
    stored = model.materialized != "view"
    with Stopwatch() as watch:
        tables = pin_tables(store, project, model.name)
        result = run_model(project, model.name, tables.read, first=None if stored else FIRST_ROWS)
        if stored and result.passed:
            store.overwrite(model.name, result.table)
    if not result.passed:
        raise RuntimeError(f"{model.name}: {[test for test in result.tests if not test.passed]}")
    return watch, {"rows": result.rows, "tests": len(result.tests)}


PARTS: dict[str, Callable[[Path, int, int, Report], None]] = {
    "audit": audit,
    "explain": explain,
    "marts": marts,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--documents", type=int, default=AT_DOCUMENTS)
    parser.add_argument("--seed", type=int, default=0)
    options = begin(parser)
    report = Report()
    for part in PARTS if options.part == "all" else [options.part]:
        with tempfile.TemporaryDirectory() as scratch:
            PARTS[part](Path(scratch), options.documents, options.seed, report)
    sys.exit(f"missed: {', '.join(report.failed)}" if report.failed else 0)


if __name__ == "__main__":
    main()
