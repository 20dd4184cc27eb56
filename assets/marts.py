"""Marts: the SQL models of dbt_like_sql/, one asset a model; its YAML tests are its asset checks.

A table replaces the one before only when its tests pass (write, audit, publish). Adding a model is
adding one SQL file.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa

from tamis.base.files import write_atomically
from tamis.graph.plan import only_grew
from tamis.graph.stages import SQL_FOLDER, source_edges, stages
from tamis.platform.assets.specification import asset
from tamis.records.published import measured_on, published_sources
from tamis.report.sql_model import sql_model_page
from tamis.runtime.record import Output, Rows
from tamis.runtime.step import Work
from tamis.sql import Leaves, Model, ModelResult, column_lineage, load_project, run_model
from tamis.sql.plan import PinnedTables, pin_tables
from tamis.stage import all_made
from tamis.store.digests import hashed_columns, row_records, rows_digest
from tamis.training.stage import TRIALS_STAGE

PROJECT = load_project(SQL_FOLDER)
SHOWN_ROWS = 12
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def _asset_of(model: Model) -> dg.AssetsDefinition:
    checks = [(test.name, test.description, test.severity == "error") for test in model.tests]

    @asset(model.name, ["duckdb", "sql"], checks, description=model.description)
    def build(work: Work) -> Iterator[Any]:
        choices = published_sources(work.store, work.manifests, work.current)
        trials = all_made(TRIALS_STAGE)(work.snapshot, "")
        targets = measured_on(work.current, work.manifests)
        tables = pin_tables(work.store, PROJECT, model.name, trials, choices, targets)
        view = model.materialized == "view"
        previous = None if view else _previous(work, model)
        result = run_model(
            PROJECT, model.name, tables.read, previous=previous, first=SHOWN_ROWS if view else None
        )
        if result.passed and not view:
            work.store.overwrite(model.name, result.table)
        yield from work.record(_made(work, model, result, tables))

    return build


def _previous(work: Work, model: Model) -> pa.Table | None:
    """The table to add to: of a run that may keep what there is, and where all that it reads only grew."""
    value = work.current.get((model.name, ""))
    if not model.increment or work.refits or value is None or not value.usable:
        return None
    before = work.manifests.read(value.manifest)
    views = {name for name in PROJECT.asset_models(model) if PROJECT.models[name].materialized == "view"}
    grown = only_grew(before, work.stage, work.snapshot, work.current, views)
    return work.store.read_arrow(model.name) if grown and work.store.exists(model.name) else None


def _made(work: Work, model: Model, result: ModelResult, tables: PinnedTables) -> Output:
    """What is recorded of a model: its rows where they were published, and the page about it."""
    page = work.project.home.reports / f"sql_{model.name}.html"
    lineage = column_lineage(PROJECT, model)  # 70 ms: once for the page and the metadata
    write_atomically(page, sql_model_page(PROJECT, model, result, lineage).encode())
    stored = model.materialized != "view"
    content = row_records(result.table, hashed_columns(result.table.schema.names))
    return Output(
        rows=[Rows(table=model.name)] if stored and work.store.exists(model.name) else [],
        files=[page],
        row_count=result.rows,
        data_version=rows_digest([content])[0] if stored else None,
        metadata={
            "dagster/column_lineage": _column_lineage(lineage),
            "published": result.passed,
            "increment": "all rows" if result.increment is None else f"{result.increment} rows",
            "source_versions": dict(tables.versions),
            "report": work.link(page),
        },
        checks=[
            dg.AssetCheckResult(
                asset_key=model.name,
                check_name=test.name,
                passed=test.passed,
                severity=ERROR if test.severity == "error" else WARN,
                metadata={"failures": test.failures},
            )
            for test in result.tests
        ],
        settled=result.increment is None,
    )


def _column_lineage(lineage: Leaves) -> dg.TableColumnLineage:
    """Of each column the columns of assets that its values come from; an asset may write several sources."""
    written = source_edges(stages().values())
    found = {
        column: sorted({(edge.asset, name) for source, name in leaves for edge in written[source]})
        for column, leaves in lineage.items()
    }
    return dg.TableColumnLineage(
        deps_by_column={
            column: [dg.TableColumnDep(asset_key=asset, column_name=name) for asset, name in pairs]
            for column, pairs in found.items()
        }
    )


mart_assets = [_asset_of(model) for model in PROJECT.ordered() if model.is_asset]
