"""SQL models over the store's tables: a folder of dbt syntax, run by DuckDB in process.

Jinja `ref()` and `source()`, dependencies and column lineage by sqlglot, tests from YAML, and
write-audit-publish. sqlglot, Jinja2 and DuckDB (0.3 s together) are imported by the functions that use them.
"""

from tamis.sql.errors import (
    CycleError,
    MissingColumnsError,
    ModelRunError,
    ProjectFileError,
    SqlProjectError,
    SqlSyntaxError,
    TemplateError,
    UnknownColumnError,
    UnknownReferenceError,
    UnorderedModelError,
)
from tamis.sql.lineage import column_lineage
from tamis.sql.load import load_project
from tamis.sql.plan import tables_read
from tamis.sql.project import CODE_VERSION, Column, DataTest, Leaves, Model, Project, Source
from tamis.sql.run import ModelResult, Read, TestResult, run_model

__all__ = [
    "CODE_VERSION",
    "Column",
    "CycleError",
    "DataTest",
    "Leaves",
    "MissingColumnsError",
    "Model",
    "ModelResult",
    "ModelRunError",
    "Project",
    "ProjectFileError",
    "Read",
    "Source",
    "SqlProjectError",
    "SqlSyntaxError",
    "TemplateError",
    "TestResult",
    "UnknownColumnError",
    "UnknownReferenceError",
    "UnorderedModelError",
    "column_lineage",
    "load_project",
    "run_model",
    "tables_read",
]
