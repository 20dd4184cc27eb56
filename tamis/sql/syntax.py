"""Findings that take sqlglot long, kept in the user's cache for the next process.

The folder of models takes it a second to read, and each model a quarter of one for its plan and its lineage:
more than DuckDB needs to run it. A cache that cannot be read or written costs the time that it would have
saved.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from tamis.base.files import user_cache, write_atomically
from tamis.sql.errors import ProjectFileError, SqlSyntaxError, UnknownColumnError, UnorderedModelError, hint
from tamis.sql.project import Project
from tamis.sql.template import MODEL_SCHEMA, Rendered

if TYPE_CHECKING:
    from sqlglot import Schema, exp
    from sqlglot.schema import MappingSchema

PARSERS = ("sqlglot", "jinja2", "pyyaml")
MOST_KEPT = 8
"""Versions of folders in the user's cache; each takes 150 kB."""
DIALECT = "duckdb"
EXPECTED = "expected one SELECT statement"
TOO_DEEP = "expressions are nested too deeply to be read; take some of them apart, for example by WITH"
SchemaTree = dict[str, list[str]]
"""Columns of each relation."""


def code_and_parsers() -> list[str]:
    """Return what decides an answer besides the files: this code, and what parses them."""
    code = sorted(Path(__file__).parent.glob("*.py"))
    return [*map(metadata.version, PARSERS), *(f"{path}:{digest_of(path)}" for path in code)]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_kept(path: Path, content: bytes) -> None:
    """Write a file of the cache; those of its folder that were written longest ago make room."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        for old in sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)[:-MOST_KEPT]:
            old.unlink(missing_ok=True)


class Answers:
    """Answers about the models of one project, each JSON, by question."""

    def __init__(self, identity: str) -> None:
        self._path = user_cache() / "sql" / "answers" / f"{identity}.json"
        self._known: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            self._known = dict(json.loads(self._path.read_bytes()))

    def of(self, question: str, find: Callable[[], Any]) -> Any:
        """Return the answer that is known, else the one that is found now, which is kept."""
        if question not in self._known:
            self._known[question] = find()
            write_kept(self._path, json.dumps(self._known).encode())
        return self._known[question]


_answers: dict[int, tuple[Project, Answers]] = {}


def answers_about(project: Project) -> Answers:
    """Return the answers about a project: of all that it was loaded with, and the code that answers."""
    found = _answers.get(id(project))
    if found is None:
        stated = [TypeAdapter(Project).dump_json(project).decode(), *code_and_parsers()]
        identity = hashlib.sha256(json.dumps(stated).encode()).hexdigest()
        _answers.clear()
        found = _answers[id(project)] = project, Answers(identity)
    return found[1]


@dataclass(frozen=True, kw_only=True)
class Binding:
    """Output columns of a query in order, and the columns it reads of each relation."""

    columns: tuple[str, ...]
    reads: Mapping[str, tuple[str, ...]]


def parse(rendered: Rendered) -> "exp.Query":
    """The syntax tree of one SELECT; raises `SqlSyntaxError` with the line in the file."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, TokenError

    try:
        parsed = sqlglot.parse(rendered.sql, dialect=DIALECT)
    except RecursionError:
        raise SqlSyntaxError(rendered.file, rendered.line(1), TOO_DEEP) from None
    except ParseError as error:
        first = error.errors[0]
        near = str(first.get("highlight") or "end of file")
        line = rendered.line(int(first.get("line") or 1))
        raise SqlSyntaxError(rendered.file, line, f"SQL syntax error near {near!r}") from error
    except TokenError as error:
        # sqlglot says "Missing ' from LINE:OFFSET": the line where it gave up, the offset of the open quote.
        opened = re.search(r"(Missing \S+) from \d+:(\d+)", str(error.__cause__ or ""))
        line = rendered.line(rendered.sql.count("\n", 0, int(opened[2])) + 1 if opened else 1)
        problem = opened[1] if opened else str(error.__cause__ or error)
        raise SqlSyntaxError(rendered.file, line, f"SQL syntax error: {problem}") from error
    # A remark after the closing semicolon is a statement of its own to sqlglot.
    statements = [statement for statement in parsed if statement and not isinstance(statement, exp.Semicolon)]
    if not statements:
        raise SqlSyntaxError(rendered.file, rendered.line(1), f"no SQL was found; {EXPECTED}")
    if len(statements) > 1:
        line, count = rendered.line(_position(statements[1]) or 1), len(statements)
        raise SqlSyntaxError(
            rendered.file, line, f"{count} statements were found, and this one is the second; {EXPECTED}"
        )
    if not isinstance(statements[0], exp.Query):
        raise SqlSyntaxError(rendered.file, rendered.line(1), EXPECTED)
    return statements[0]


def new_schema(columns: SchemaTree) -> "Schema":
    """A sqlglot schema of relations by their quoted names; types play no part in binding."""
    from sqlglot.schema import MappingSchema

    schema = MappingSchema(dialect=DIALECT)
    for table, names in columns.items():
        schema.add_table(table, dict.fromkeys(names, "text"), dialect=DIALECT)
    return schema


def bind(query: "exp.Query", rendered: Rendered, schema: "Schema") -> Binding:
    """Resolve every column against the schema.

    Raises `UnknownColumnError` for a column that no relation has, `ProjectFileError` for a relation that is
    named without ref() or source(), or for two output columns of one name.
    """
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify

    _check_relations(query, rendered, schema)
    try:
        qualified = qualify(query.copy(), schema=schema, dialect=DIALECT)
    except RecursionError:
        raise SqlSyntaxError(rendered.file, rendered.line(1), TOO_DEEP) from None
    except SqlglotError as error:
        raise _column_error(error, query, rendered, schema) from error
    except AssertionError as error:  # sqlglot's own, when a star covers columns that nothing declares
        raise SqlSyntaxError(
            rendered.file,
            rendered.line(1),
            "`*` cannot be used here, because the columns of this table function depend on the data; name "
            "the columns that you need",
        ) from error
    columns = tuple(qualified.named_selects)
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise ProjectFileError(
            rendered.file,
            rendered.line(1),
            f"output columns with the same name: {', '.join(repeated)}; rename with AS",
        )
    return Binding(columns=columns, reads=columns_read(qualified, schema))


def columns_read(qualified: "exp.Expr", schema: "Schema") -> dict[str, tuple[str, ...]]:
    """Columns that a qualified query reads of each relation, at least one of each."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    reads: dict[str, dict[str, None]] = {}
    for scope in traverse_scope(qualified):
        for alias, source in scope.sources.items():
            if isinstance(source, exp.Table) and source.db:
                columns = reads.setdefault(source.name, {})
                columns.update(dict.fromkeys(column.name for column in scope.source_columns(alias)))
                # count(*) reads no column, yet a table needs one to have rows.
                if not columns:
                    columns[schema.column_names(source)[0]] = None
    return {name: tuple(sorted(columns)) for name, columns in sorted(reads.items())}


def order_terms(query: "exp.Query", rendered: Rendered, columns: tuple[str, ...]) -> tuple[str, ...]:
    """ORDER BY terms of the outermost SELECT as SQL; empty when it has none.

    Raises `UnorderedModelError` for a term that is no output column: the result could not be sorted by it.
    """
    order = query.args.get("order")
    if order is None:
        return ()
    for term in order.expressions:
        if term.this.name.lower() not in columns or term.this.args.get("table"):
            raise UnorderedModelError(
                rendered.file,
                rendered.line(_position(term) or 1),
                f"ORDER BY {term.this.sql(DIALECT)} must be the plain name of a column of the result, "
                "without a table name or an expression",
            )
    return tuple(term.sql(DIALECT, comments=False) for term in order.expressions)


def canonical_sql(query: "exp.Query") -> str:
    """SQL of the syntax tree without comments, identifiers and functions in one letter case."""
    from sqlglot import exp
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    tree = normalize_identifiers(query.copy(), dialect=DIALECT)
    for term in tree.find_all(exp.Ordered):
        term.set("desc", bool(term.args.get("desc")))  # ASC may be written or left out
    return tree.sql(dialect=DIALECT, comments=False, normalize_functions="upper", identify=True)


def digest(parts: Iterable[str]) -> str:
    """First 16 hex digits of the SHA-256 over length-prefixed parts."""
    prefixed = b"".join(len(part).to_bytes(8, "big") + part for part in map(str.encode, parts))
    return hashlib.sha256(prefixed).hexdigest()[:16]


def _check_relations(query: "exp.Query", rendered: Rendered, schema: "Schema") -> None:
    """Raise `ProjectFileError` for a relation that neither ref() nor source() gave: no input is known by it.

    Table functions, VALUES and the names that WITH gives within its query are no relations.
    """
    from sqlglot import exp

    for table in query.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier | exp.Dot) or _is_common(table):
            continue
        parts = [part.name for part in table.parts]
        if len(parts) == 2 and (parts[0], parts[1]) in rendered.relations:
            continue
        if len(parts) == 1:
            problem = f"{parts[0]!r} is read by its plain name; use ref() for a model or source() for a table"
        else:
            problem = f"{'.'.join(parts)!r} {_instead(parts, schema)}"
        raise ProjectFileError(rendered.file, rendered.line(_position(table) or 1), problem)


def _instead(parts: list[str], schema: "Schema") -> str:
    """Return why a relation that is written out is wrong, and what would be right."""
    tables = cast("dict[str, dict[str, object]]", cast("MappingSchema", schema).mapping)
    group, name = parts[-2:]
    if group == MODEL_SCHEMA or name in tables.get(group, ()):
        given = f"ref({name!r})" if group == MODEL_SCHEMA else f"source({group!r}, {name!r})"
        return f"is not known as an input, since it is written out; write {{{{ {given} }}}}"
    declared = sorted(f"{one}.{known}" for one in tables for known in tables[one] if one != MODEL_SCHEMA)
    meant = hint(f"{group}.{name}", declared)
    return f"is no table of this project; declare it as a source and read it by source(){meant}"


def _is_common(table: "exp.Table") -> bool:
    """Return whether a table is what a WITH around it names: one before it or, if recursive, itself."""
    from sqlglot import exp

    if len(table.parts) > 1:
        return False
    name = table.name.lower()
    node, inner = table.parent, None
    while node is not None:
        inner = node if isinstance(node, exp.CTE) else inner
        within = node.args.get("with_")
        if within is not None:
            common, recursive = within.expressions, bool(within.args.get("recursive"))
            if inner is not None and inner.parent is within:
                place = next(at for at, one in enumerate(common) if one is inner)
                common = common[: place + recursive]
            if any(one.alias_or_name.lower() == name for one in common):
                return True
        node = node.parent
    return False


def _column_error(
    error: Exception, query: "exp.Query", rendered: Rendered, schema: "Schema"
) -> UnknownColumnError | SqlSyntaxError:
    from sqlglot import exp

    named = re.search(r"(?:Column '|Unknown column: )\"?([^'\"]+)", str(error))
    if named is None:
        return SqlSyntaxError(rendered.file, rendered.line(1), str(error))
    name = named[1].split(".")[-1]
    tables = [table for table in query.find_all(exp.Table) if table.db]
    valid = {column for table in tables for column in schema.column_names(table)}
    sites = [column for column in query.find_all(exp.Column) if column.name.lower() == name.lower()]
    line = next((position for site in sites if (position := _position(site))), 1)
    return UnknownColumnError(rendered.file, rendered.line(line), name, valid)


def _position(node: "exp.Expr") -> int | None:
    from sqlglot import exp

    lines = [identifier.meta.get("line") for identifier in node.find_all(exp.Identifier)]
    return next((line for line in lines if line), None)
