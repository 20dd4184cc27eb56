"""Jinja in SQL files: the five names of dbt that the project allows, rendered with line numbers kept.

Allowed are `ref`, `source`, `config`, `is_incremental` and `this`, so that dbt-core reads the same files. An
incremental model is rendered twice: whole, and as the increment that is added to `this`, the table before.
"""

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tamis.base.errors import UnknownNameError
from tamis.sql.errors import TemplateError, UnknownReferenceError

MODEL_SCHEMA = "models"
ALLOWED_NAMES = ("ref", "source", "config", "is_incremental", "this")
CONFIG_KEYS = ("materialized", "severity", "tags", "unique_key")
_MARK = re.compile("\x00(\\d+)\x00")


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names that can be referred to: the models, and the source group of each source table."""

    models: frozenset[str]
    sources: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """SQL after Jinja: `lines[i]` is the line of the file that rendered line i + 1 came from.

    `relations`: schema and name of each relation that ref(), source() and `this` gave.
    """

    file: Path
    sql: str
    lines: tuple[int, ...]
    models: tuple[str, ...]
    sources: tuple[str, ...]
    config: Mapping[str, Any]
    relations: tuple[tuple[str, str], ...] = ()

    def line(self, rendered_line: int) -> int:
        """Line of the file for a line of the rendered SQL, both from 1."""
        return self.lines[min(max(rendered_line, 1), len(self.lines)) - 1]


@dataclass
class _Uses:
    """Names and settings that a file asked for while it was rendered."""

    models: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    relations: list[tuple[str, str]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)


def relation(schema: str, name: str) -> str:
    """Quoted `"schema"."name"`; the schema keeps a CTE of the same name from hiding the relation."""
    return f'"{schema}"."{name}"'


def render(
    file: Path, text: str, names: Names, *, this: str | None = None, incremental: bool = False, line: int = 1
) -> Rendered:
    """Render the Jinja of a SQL text that begins at `line` of `file`.

    `incremental` is what is_incremental() says. Raises `UnknownReferenceError` for a ref() or source() that
    does not exist, `TemplateError` otherwise.
    """
    from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals.clear()
    uses = _Uses()
    try:
        tree = environment.parse(text, filename=str(file))
        _check_names(tree, file, line)
        for data in tree.find_all(nodes.TemplateData):
            data.data = f"\x00{data.lineno}\x00{data.data}"
        code = environment.compile(tree, filename=str(file))
        functions = _functions(names, uses, this, incremental)
        marked = environment.template_class.from_code(environment, code, functions).render()
    except TemplateSyntaxError as error:
        raise TemplateError(file, line + error.lineno - 1, error.message or "not valid Jinja") from error
    except UnknownNameError as error:
        raise UnknownReferenceError(
            file, _line_of(error, file, line), error.kind, error.name, error.valid
        ) from error
    except TemplateError:
        raise
    except Exception as error:
        raise TemplateError(file, _line_of(error, file, line), str(error)) from error
    sql, lines = _unmark(marked, line)
    return Rendered(
        file=file,
        sql=sql,
        lines=lines,
        models=tuple(dict.fromkeys(uses.models)),
        sources=tuple(dict.fromkeys(uses.sources)),
        config=uses.config,
        relations=tuple(dict.fromkeys(uses.relations)),
    )


def _functions(names: Names, uses: _Uses, this: str | None, incremental: bool) -> dict[str, Any]:
    def ref(*given: object) -> str:
        (model,) = _texts("ref", given, "the name of a model")
        if model not in names.models:
            raise UnknownNameError("model", model, names.models)
        uses.models.append(model)
        return _used(uses, MODEL_SCHEMA, model)

    def source(*given: object) -> str:
        group, table = _texts("source", given, "the name of a source", "the name of a table")
        if names.sources.get(table) != group:
            raise UnknownNameError(
                "source", f"{group}.{table}", [f"{known}.{name}" for name, known in names.sources.items()]
            )
        uses.sources.append(table)
        return _used(uses, group, table)

    def config(*unnamed: object, **values: Any) -> str:
        if unnamed:
            raise ValueError("config() takes key=value arguments, such as config(materialized='table')")
        for key in values:
            if key not in CONFIG_KEYS:
                raise ValueError(f"unknown config key {key!r}; valid: {', '.join(CONFIG_KEYS)}")
        uses.config.update(values)
        return ""

    functions: dict[str, Any] = {
        "ref": ref,
        "source": source,
        "config": config,
        "is_incremental": lambda: incremental,
    }
    if this is not None:
        functions["this"] = _used(uses, MODEL_SCHEMA, this)
    return functions


def _used(uses: _Uses, schema: str, name: str) -> str:
    uses.relations.append((schema, name))
    return relation(schema, name)


def _texts(function: str, given: tuple[object, ...], *wanted: str) -> list[str]:
    if len(given) != len(wanted) or not all(isinstance(one, str) for one in given):
        raise ValueError(f"{function}() takes {' and '.join(wanted)}, in quotes")
    return [str(one) for one in given]


def _check_names(tree: Any, file: Path, line: int) -> None:
    from jinja2 import meta, nodes

    unknown = meta.find_undeclared_variables(tree) - set(ALLOWED_NAMES)
    for name in tree.find_all(nodes.Name):
        if name.name in unknown:
            raise TemplateError(
                file, line + name.lineno - 1, f"unknown name {name.name!r}; valid: {', '.join(ALLOWED_NAMES)}"
            )


def _unmark(marked: str, first_line: int) -> tuple[str, tuple[int, ...]]:
    head, *parts = _MARK.split(marked)
    sql, lines = head, [first_line]
    for origin, text in zip(parts[::2], parts[1::2], strict=True):
        start = first_line + int(origin) - 1
        if not sql.rpartition("\n")[2].strip():
            lines[-1] = start
        lines.extend(start + offset for offset in range(1, text.count("\n") + 1))
        sql += text
    return sql, tuple(lines)


def _line_of(error: Exception, file: Path, first_line: int) -> int:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return first_line + (frames[-1].lineno or 1) - 1 if frames else first_line
