"""Parts of a SQL project: sources, models, tests; plain values, loaded by `tamis.sql.load`.

Names of models and source tables are unique across the project, so a bare name always says which is meant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tamis.base.errors import UnknownNameError
from tamis.sql.template import Rendered

CODE_VERSION = "1"

Layer = Literal["staging", "views", "marts"]
Materialization = Literal["view", "table", "incremental"]
Severity = Literal["error", "warn"]
TestKind = Literal["unique", "not_null", "accepted_values", "relationships", "singular"]
Leaves = dict[str, list[tuple[str, str]]]
"""Of each column: the (source or model, column) pairs that its values come from."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A documented column."""

    name: str
    description: str = ""
    data_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table from outside: only its declared columns can be read."""

    name: str
    group: str
    description: str
    columns: tuple[Column, ...]
    file: Path
    line: int


@dataclass(frozen=True, kw_only=True)
class DataTest:
    """A test as SQL that returns the rows that break it; `reads`: columns needed of each relation."""

    name: str
    kind: TestKind
    column: str | None
    severity: Severity
    description: str
    rendered: Rendered
    reads: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Increment:
    """An incremental model as it is rendered where its table is there: the rows to add to it.

    Rows of the table that share the `unique_key` with an added one are replaced; without a key rows are only
    added. `reads`: columns needed of each relation, the table itself left out.
    """

    rendered: Rendered
    reads: Mapping[str, tuple[str, ...]]
    unique_key: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """One SELECT of the project.

    `models` and `sources`: what it reads by ref() and source(); `reads`: which columns of each. `order`:
    ORDER BY terms of the result. `code_version`: hash of the syntax trees of the model, of the views that it
    inlines and of its tests; comments, line breaks and letter case of keywords do not change it. `increment`:
    of an incremental model, how it is brought up to date.
    """

    name: str
    path: Path
    layer: Layer
    description: str
    columns: tuple[Column, ...]
    materialized: Materialization
    models: tuple[str, ...]
    sources: tuple[str, ...]
    rendered: Rendered
    reads: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...]
    tests: tuple[DataTest, ...]
    code_version: str
    increment: Increment | None = None

    @property
    def is_asset(self) -> bool:
        """Return whether the model is an asset; a model of `views/` is inlined into those that read it."""
        return self.layer != "views"


@dataclass(frozen=True, kw_only=True)
class Project:
    """A loaded SQL project."""

    name: str
    folder: Path
    models: Mapping[str, Model]
    sources: Mapping[str, Source]

    def ordered(self) -> list[Model]:
        """Models, each after what it and its tests read: run them in this order."""
        return list(self.models.values())

    def model(self, name: str) -> Model:
        """The model of that name; raises `UnknownNameError`."""
        if name not in self.models:
            raise UnknownNameError("model", name, self.models)
        return self.models[name]

    def asset_models(self, model: Model) -> set[str]:
        """Return the models that are assets and that a model reads, through models that are none."""
        read: set[str] = set()
        for parent in (self.models[name] for name in model.models):
            read |= {parent.name} if parent.is_asset else self.asset_models(parent)
        return read
