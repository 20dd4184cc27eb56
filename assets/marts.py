"""Marts: the SQL models of dbt_like_sql/, one asset a model; its YAML tests are its asset checks.

A table replaces the one before only when its tests pass (write, audit, publish). Adding a model is
adding one SQL file.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from resources.made import Made, Rows
from resources.platform import Platform
from resources.specification import described
from tamis.lineage.stages import SOURCE_STAGES, SQL_FOLDER
from tamis.sql import Model, ModelResult, load_project, run_model
from tamis.sql.reading import column_lineage_of, read_source
from tamis.store.digests import hashed_columns, row_records, rows_digest

PROJECT = load_project(SQL_FOLDER)


def _asset_of(model: Model) -> dg.AssetsDefinition:
    checks = [(test.name, test.description, test.severity == "error") for test in model.tests]

    @dg.asset(**described(model.name, ["duckdb", "sql"], checks), description=model.description)
    def build(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
        with platform.work(context) as work:
            result = run_model(
                PROJECT, model.name, lambda name, columns: read_source(work.store, name, columns)
            )
            stored = model.materialized != "view"
            if stored and result.passed:
                work.store.overwrite(model.name, result.table)
            lineage = {
                column: [
                    dg.TableColumnDep(asset_key=SOURCE_STAGES[source][0], column_name=name)
                    for source, name in sources
                ]
                for column, sources in column_lineage_of(PROJECT, model.name, work.store).items()
            }
            records = row_records(result.table, hashed_columns(result.table.schema.names))
            yield from work.record(
                Made(
                    rows=[Rows(table=model.name)] if stored and work.store.exists(model.name) else [],
                    row_count=result.rows,
                    data_version=rows_digest([records])[0],
                    metadata={
                        "dagster/column_lineage": dg.TableColumnLineage(deps_by_column=lineage),
                        "preview": dg.MetadataValue.md(_preview(result)),
                        "published": result.passed,
                    },
                    checks=[_check(model.name, test) for test in result.tests],
                )
            )

    return build


def _check(model: str, test: Any) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if test.severity == "error" else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        asset_key=model,
        check_name=test.name,
        passed=test.passed,
        severity=severity,
        metadata={"failures": test.failures, "sample": dg.MetadataValue.json(test.sample)},
    )


def _preview(result: ModelResult) -> str:
    """The first rows as a Markdown table."""
    names = result.table.schema.names
    rows = result.table.slice(0, 12).to_pylist()
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return shown.replace("|", "\\|").replace("\n", " ")[:80]


mart_assets = [_asset_of(model) for model in PROJECT.ordered()]
