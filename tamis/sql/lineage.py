"""Column lineage: which source columns the values of each output column come from.

Views (and, on request, tables) are replaced by their syntax trees, the whole is qualified once, and each
output column is followed to the tables at the bottom (sqlglot.lineage, as in dagster-dbt); 20-100 ms a model.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from tamis.sql.plan import expand, project_schema
from tamis.sql.project import Leaves, Model, Project
from tamis.sql.syntax import DIALECT, answers_about, parse

if TYPE_CHECKING:
    from sqlglot.lineage import Node


def column_lineage(
    project: Project,
    model: Model,
    schemas: Mapping[str, pa.Schema | Iterable[str]] | None = None,
    until: Literal["sources", "tables"] = "sources",
) -> Leaves:
    """Return where each column of a model comes from, through the chain of models.

    `schemas` adds columns to sources that declare fewer; `until` = "tables" stops at the nearest materialized
    models, which is what an asset depends on. Columns made of counts or constants have no leaves. Joins and
    filters are not leaves. What follows from the project alone is kept for the next process.
    """
    if schemas:
        return _found(project, model, schemas, until)
    found = answers_about(project).of(f"{until} of {model.name}", lambda: _found(project, model, {}, until))
    return {column: [(relation, name) for relation, name in pairs] for column, pairs in found.items()}


def _found(
    project: Project, model: Model, schemas: Mapping[str, pa.Schema | Iterable[str]], until: str
) -> Leaves:
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    def inline(upstream: Model) -> bool:
        return until == "sources" or upstream.materialized == "view"

    extra = {
        name: list(columns.names if isinstance(columns, pa.Schema) else columns)
        for name, columns in schemas.items()
    }
    schema = project_schema(project, extra)
    qualified = qualify(expand(project, parse(model.rendered), inline), schema=schema, dialect=DIALECT)
    scope = build_scope(qualified)
    leaves: Leaves = {}
    for column in qualified.named_selects:
        leaves[column] = _leaves(
            lineage(column, qualified, schema=schema, scope=scope, dialect=DIALECT, trim_selects=False).walk()
        )
    return leaves


def _leaves(nodes: "Iterable[Node]") -> list[tuple[str, str]]:
    from sqlglot import exp

    found = {
        (node.expression.name, node.name.rpartition(".")[2].strip('"'))
        for node in nodes
        if isinstance(node.expression, exp.Table)
    }
    return sorted(leaf for leaf in found if leaf[1] != "*")
