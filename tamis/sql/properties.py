"""YAML with line numbers: every node of the tree knows its line, so that errors can name it.

`yaml.safe_load` forgets positions and lets the second of two equal keys win in silence; here it is an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.sql.errors import ProjectFileError
from tamis.sql.project import Column, Source

LAYERS = ("staging", "views", "marts")
MATERIALIZATIONS = ("view", "table", "incremental")
SEVERITIES = ("error", "warn")
GENERIC_TESTS = {
    "unique": ((), ()),
    "not_null": ((), ()),
    "accepted_values": (("values",), ("quote",)),
    "relationships": (("to", "field"), ()),
}
"""Required and optional arguments of each generic test."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A scalar, a list of nodes or a mapping of nodes, with the file and line where it begins."""

    file: Path
    line: int
    value: Any

    def fail(self, problem: str) -> ProjectFileError:
        """The error to raise for a problem at this node."""
        return ProjectFileError(self.file, self.line, problem)

    def fields(self, required: Iterable[str] = (), optional: Iterable[str] = ()) -> "dict[str, Node]":
        """The mapping, with its keys checked; raises `ProjectFileError`."""
        valid = [*required, *optional]
        fields = self.mapping()
        for key, node in fields.items():
            if key not in valid:
                raise node.fail(f"unknown key {key!r}; valid: {', '.join(valid)}")
        for key in required:
            if key not in fields:
                raise self.fail(f"the key {key!r} is missing")
        return fields

    def mapping(self) -> "dict[str, Node]":
        """The mapping with any keys; empty when the value is null; raises `ProjectFileError`."""
        if self.value is not None and not isinstance(self.value, dict):
            raise self.fail("expected a mapping (key: value)")
        return self.value or {}

    def items(self) -> "list[Node]":
        """The list; empty when the value is null; raises `ProjectFileError`."""
        if self.value is not None and not isinstance(self.value, list):
            raise self.fail("expected a list")
        return self.value or []

    def text(self) -> str:
        """The scalar as a stripped string; raises `ProjectFileError`."""
        if isinstance(self.value, dict | list) or self.value is None:
            raise self.fail("expected text")
        if isinstance(self.value, bool):
            raise self.fail(
                "expected text, but found a boolean; put yes, no, on, off, true and false in quotes"
            )
        return str(self.value).strip()

    def choice(self, valid: Iterable[str]) -> str:
        """The scalar, one of the valid ones; raises `ProjectFileError`."""
        if (found := self.text()) not in valid:
            raise self.fail(f"{found!r} is not valid; valid: {', '.join(valid)}")
        return found


def read_yaml(file: Path) -> Node:
    """Read a YAML file as a tree of nodes; raises `ProjectFileError` with the line of the mistake."""
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(file.read_text(encoding="utf-8-sig"))
        root = loader.get_single_node()
        return _convert(loader, root, file) if root else Node(file=file, line=1, value=None)
    except RecursionError as error:
        raise ProjectFileError(
            file, 1, "the YAML is nested too deeply, or an alias contains itself"
        ) from error
    except OSError as error:
        raise ProjectFileError(file, 1, f"the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProjectFileError(file, 1, f"the file is not UTF-8: {error.reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise ProjectFileError(file, mark.line + 1 if mark else 1, f"not valid YAML: {problem}") from error


def _convert(loader: Any, node: Any, file: Path) -> Node:
    line = node.start_mark.line + 1
    if node.id == "sequence":
        value: Any = [_convert(loader, item, file) for item in node.value]
    elif node.id == "mapping":
        value = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in value:
                raise ProjectFileError(file, key_node.start_mark.line + 1, f"the key {key!r} occurs twice")
            # The line of the key, not of the value: a nested value begins a line later.
            value[key] = Node(
                file=file, line=key_node.start_mark.line + 1, value=_convert(loader, value_node, file).value
            )
    else:
        value = loader.construct_object(node)
    return Node(file=file, line=line, value=value)


@dataclass(frozen=True, kw_only=True)
class ProjectSettings:
    """Settings of dbt_project.yml."""

    name: str
    layers: tuple[str, ...]
    test_folders: tuple[str, ...]
    materialized: str


@dataclass(frozen=True, kw_only=True)
class TestEntry:
    """A generic test as written in YAML."""

    __test__ = False

    kind: str
    column: str
    name: str | None
    description: str
    severity: str
    where: str | None
    arguments: dict[str, Node]
    node: Node


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model as described in YAML."""

    name: str
    description: str
    columns: tuple[Column, ...]
    column_nodes: tuple[Node, ...]
    tests: tuple[TestEntry, ...]
    node: Node


def read_settings(folder: Path) -> ProjectSettings:
    """Read dbt_project.yml; raises `ProjectFileError`."""
    root = read_yaml(folder / "dbt_project.yml")
    fields = root.mapping()
    if "name" not in fields:
        raise root.fail("the key 'name' is missing")
    name = fields["name"].text()
    layers = fields["model-paths"].items() if "model-paths" in fields else []
    tests = fields["test-paths"].items() if "test-paths" in fields else []
    defaults = fields["models"].mapping().get(name) if "models" in fields else None
    materialized = defaults.mapping().get("+materialized") if defaults else None
    return ProjectSettings(
        name=name,
        layers=tuple(layer.choice(LAYERS) for layer in layers) or LAYERS,
        test_folders=tuple(test.text() for test in tests) or ("tests",),
        materialized=materialized.choice(MATERIALIZATIONS) if materialized else "view",
    )


def read_properties(files: Iterable[Path]) -> tuple[dict[str, ModelEntry], dict[str, Source]]:
    """Models and sources described in YAML files, by name; raises `ProjectFileError`."""
    models: dict[str, ModelEntry] = {}
    sources: dict[str, Source] = {}
    for file in files:
        fields = read_yaml(file).fields(optional=("version", "models", "sources"))
        for node in fields["models"].items() if "models" in fields else ():
            entry = _model(node)
            if entry.name in models:
                raise node.fail(f"model {entry.name!r} is described twice; remove one of the descriptions")
            models[entry.name] = entry
        for node in fields["sources"].items() if "sources" in fields else ():
            for source in _sources(node):
                if source.name in sources:
                    raise ProjectFileError(
                        source.file,
                        source.line,
                        f"source table {source.name!r} is declared twice; remove one of the declarations",
                    )
                sources[source.name] = source
    return models, sources


def _model(node: Node) -> ModelEntry:
    fields = node.fields(("name",), ("description", "columns"))
    column_nodes = fields["columns"].items() if "columns" in fields else []
    return ModelEntry(
        name=fields["name"].text(),
        description=_description(fields),
        columns=tuple(_column(column, tested=True) for column in column_nodes),
        column_nodes=tuple(column_nodes),
        tests=tuple(test for column in column_nodes for test in _tests(column)),
        node=node,
    )


def _sources(node: Node) -> list[Source]:
    fields = node.fields(("name", "tables"), ("description",))
    sources = []
    for table in fields["tables"].items():
        inner = table.fields(("name", "columns"), ("description",))
        columns = tuple(_column(column, tested=False) for column in inner["columns"].items())
        if not columns:
            raise inner["columns"].fail(
                "a source table must list its columns, because only listed columns can be read"
            )
        sources.append(
            Source(
                name=inner["name"].text(),
                group=fields["name"].text(),
                description=_description(inner),
                columns=columns,
                file=table.file,
                line=table.line,
            )
        )
    return sources


def _column(node: Node, *, tested: bool) -> Column:
    fields = node.fields(
        ("name",), ("description", "data_type", "data_tests") if tested else ("description", "data_type")
    )
    return Column(
        name=fields["name"].text(),
        description=_description(fields),
        data_type=fields["data_type"].text() if "data_type" in fields else None,
    )


def _tests(column: Node) -> list[TestEntry]:
    fields = column.mapping()
    entries = fields["data_tests"].items() if "data_tests" in fields else []
    return [_test(fields["name"].text(), entry) for entry in entries]


def _test(column: str, node: Node) -> TestEntry:
    if isinstance(node.value, dict) and len(node.value) != 1:
        raise node.fail("expected one test, such as `- unique` or `- accepted_values: {arguments: ...}`")
    kind, body = next(iter(node.value.items())) if isinstance(node.value, dict) else (node.text(), None)
    if kind not in GENERIC_TESTS:
        raise node.fail(f"unknown test {kind!r}; valid: {', '.join(GENERIC_TESTS)}")
    fields = body.fields(optional=("arguments", "config", "name", "description")) if body else {}
    config = fields["config"].fields(optional=("severity", "where")) if "config" in fields else {}
    required, optional = GENERIC_TESTS[kind]
    arguments = (
        fields["arguments"] if "arguments" in fields else Node(file=node.file, line=node.line, value={})
    )
    return TestEntry(
        kind=kind,
        column=column,
        name=fields["name"].text() if "name" in fields else None,
        description=_description(fields),
        severity=config["severity"].choice(SEVERITIES) if "severity" in config else "error",
        where=config["where"].text() if "where" in config else None,
        arguments=arguments.fields(required, optional),
        node=node,
    )


def _description(fields: dict[str, Node]) -> str:
    return " ".join(fields["description"].text().split()) if "description" in fields else ""
