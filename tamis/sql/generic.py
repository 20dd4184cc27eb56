"""Generic tests of YAML as SQL: each becomes a SELECT of the rows that break it, with the verdicts of dbt."""

from tamis.sql.properties import Node, TestEntry
from tamis.sql.template import Names, Rendered, render


def render_test(entry: TestEntry, model: str, names: Names) -> Rendered:
    """SQL of a generic test of a model; raises `UnknownReferenceError` for a model or source it names."""
    table = "{{ ref('" + model + "') }}"
    tested = f"(select * from {table} where {entry.where})" if entry.where else table
    return render(entry.node.file, _BODIES[entry.kind](entry, tested), names, line=entry.node.line)


def name_of(entry: TestEntry, model: str) -> str:
    """Name of a generic test: the one given, or kind, model and column."""
    return entry.name or f"{entry.kind}_{model}_{entry.column}"


def describe(entry: TestEntry) -> str:
    """Return what the test claims, in a sentence."""
    arguments = entry.arguments
    claim = {"unique": "has no duplicate values", "not_null": "is never null"}.get(entry.kind, "")
    if entry.kind == "accepted_values":
        claim = "is one of: " + ", ".join(str(value.value) for value in arguments["values"].items())
    if entry.kind == "relationships":
        claim = f"also occurs in column {arguments['field'].text()} of {arguments['to'].text()}"
    return f"{entry.column} {claim}" + (f", where {entry.where}" if entry.where else "")


def _unique(entry: TestEntry, table: str) -> str:
    column = _quoted(entry.column)
    return (
        f"select {column}, count(*) as occurrences from {table} as tested "
        f"where {column} is not null group by {column} having count(*) > 1"
    )


def _not_null(entry: TestEntry, table: str) -> str:
    return f"select * from {table} as tested where {_quoted(entry.column)} is null"


def _accepted_values(entry: TestEntry, table: str) -> str:
    column = _quoted(entry.column)
    quoted = "quote" not in entry.arguments or entry.arguments["quote"].value is not False
    values = ", ".join(_literal(value, quoted) for value in entry.arguments["values"].items())
    return (
        f"select {column}, count(*) as occurrences from {table} as tested "
        f"where {column} not in ({values}) group by {column}"
    )


def _relationships(entry: TestEntry, table: str) -> str:
    column, field = _quoted(entry.column), _quoted(entry.arguments["field"].text())
    parent = "{{ " + entry.arguments["to"].text() + " }}"
    return (
        f"select child.{column} from {table} as child left join {parent} as parent "
        f"on child.{column} = parent.{field} where child.{column} is not null and parent.{field} is null"
    )


_BODIES = {
    "unique": _unique,
    "not_null": _not_null,
    "accepted_values": _accepted_values,
    "relationships": _relationships,
}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Node, quoted: bool) -> str:
    return "'" + value.text().replace("'", "''") + "'" if quoted else str(value.value)
