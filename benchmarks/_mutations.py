"""Small mistakes in a module, found in its syntax: what each replaces, and what it is called in any checkout.

Only bodies of functions are changed: what runs at import belongs to no test. Messages (raise, f-strings, log,
progress) and annotations stay as they are.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
SAID = {"advance", "debug", "echo", "exception", "info", "log", "print", "progress", "say", "warn", "warning"}
LEFT_AS_IT_IS = (ast.JoinedStr, ast.Raise, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One mistake; `key` is the same in each checkout where the function has this statement."""

    key: tuple[str, ...]
    what: str
    lines: tuple[int, ...]
    start: tuple[int, int]
    end: tuple[int, int]
    new: str

    def made(self, text: str) -> str:
        """Return the text of the module with the mistake."""
        rows = text.encode().splitlines(keepends=True)
        (first, left), (last, right) = self.start, self.end
        rows[first - 1 : last] = [rows[first - 1][:left] + self.new.encode() + rows[last - 1][right:]]
        return b"".join(rows).decode()


def mutations(module: str, text: str) -> list[Mutation]:
    """Return all small mistakes of a module, in the order of its lines."""
    found: list[Mutation] = []
    count: Counter[tuple[str, ...]] = Counter()
    for function, statement in _statements(ast.parse(text).body, ""):
        header = ast.unparse(statement).partition("\n")[0]
        body = getattr(statement, "body", None)
        end = max(body[0].lineno - 1, statement.lineno) if body else statement.end_lineno or statement.lineno
        for node, new, what in _replacements(statement):
            key = (module, function, header, what, new)
            count[key] += 1
            found.append(
                Mutation(
                    key=(*key, str(count[key])),
                    what=f"{what}: {ast.unparse(node).partition(chr(10))[0][:70]} -> {new[:70]}",
                    lines=tuple(range(statement.lineno, end + 1)),
                    start=(node.lineno, node.col_offset),
                    end=(node.end_lineno or node.lineno, node.end_col_offset or 0),
                    new=new,
                )
            )
    return found


def _statements(body: list[ast.stmt], name: str, inside: bool = False) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the statements inside functions, each with the name of its function or class."""
    for statement in body:
        named = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        below = f"{name}.{statement.name}" if named else name  # type: ignore[attr-defined]
        if inside:
            yield name, statement
        within = inside or (named and not isinstance(statement, ast.ClassDef))
        parts = [statement, *getattr(statement, "handlers", []), *getattr(statement, "cases", [])]
        for block in (
            getattr(part, field, []) for part in parts for field in ("body", "orelse", "finalbody")
        ):
            yield from _statements(block, below, within)


def _replacements(statement: ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    """Yield nodes of a statement, without those of its blocks, with what takes their place and its kind."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        if _name(statement.value.func) not in SAID:
            yield statement, "pass", "call left out"
        else:
            return
    if isinstance(statement, ast.Return) and ast.unparse(statement) not in ("return", "return None"):
        yield statement, "return None", "returns None"
    if isinstance(statement, ast.If | ast.While):
        yield statement.test, f"(not ({ast.unparse(statement.test)}))", "not added"
    for node in _expressions(statement):
        if isinstance(node, ast.IfExp):
            yield node.test, f"(not ({ast.unparse(node.test)}))", "not added"
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            other = ast.Compare(node.left, [COMPARISONS[type(node.ops[0])]()], node.comparators)
            yield node, f"({ast.unparse(other)})", "comparison"
        elif isinstance(node, ast.BoolOp):
            turned = ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
            yield node, f"({ast.unparse(turned)})", "and/or"
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            computed = ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
            yield node, f"({ast.unparse(computed)})", "operator"
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            yield node, str(node.value + 1), "constant"


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions below a node that may be changed."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST) and not isinstance(
                one, (ast.stmt, ast.excepthandler, *LEFT_AS_IT_IS)
            ):
                yield one
                yield from _expressions(one)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
