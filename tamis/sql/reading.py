"""Sources of the SQL models, as Arrow tables read from the store under their logical names."""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from tamis.sql.project import Project
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

_TABLES = {
    "density_scores": "scores_density",
    "quality_scores": "scores_quality",
    "perplexity_scores": "scores_perplexity",
    "judge_scores": "scores_judge",
}


def read_source(store: Store, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A source, or a model that was materialized before; columns as in the store's schemas."""
    if name == "transport_scores":
        return _transport(store, columns)
    return store.read_arrow(_TABLES.get(name, name), columns)


def _transport(store: Store, columns: Sequence[str] | None) -> pa.Table:
    """Scores of all targets in one table."""
    wanted = list(columns or schema_of("transport").names)
    tables = [name for name in store.names() if name.startswith("transport_")]
    frames = [store.read(name, wanted) for name in tables]
    if not frames:
        return pa.schema([schema_of("transport").field(name) for name in wanted]).empty_table()
    return pl.concat(frames).to_arrow()


def source_schemas(store: Store, project: Project) -> dict[str, pa.Schema]:
    """Arrow schema of each source by its logical name."""
    return {
        name: schema_of("transport") if name == "transport_scores" else store.schema(_TABLES.get(name, name))
        for name in project.sources
    }


def column_lineage_of(project: Project, model: str, store: Store) -> dict[str, list[tuple[str, str]]]:
    """For each column of a model, the source columns it is computed from."""
    return project.model(model).column_lineage(project, source_schemas(store, project))
