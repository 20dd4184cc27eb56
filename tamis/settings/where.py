"""Conditions on documents, as `where` of a [[selection]] states them: an expression of SQL, for polars.

sqlglot parses them. Of its tree only what is listed here becomes an expression of polars, so no text of a
tamis.toml is ever run: names, literals, comparisons, AND, OR, NOT, IN, BETWEEN, IS NULL, LIKE and arithmetic.
As in SQL, a comparison with null is null, and so is a division by zero.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import polars as pl

from tamis.base.errors import PermanentError, did_you_mean

Kind = Literal["number", "text"]
FACTS: Mapping[str, Kind] = MappingProxyType(
    {
        "n_tokens": "number",
        "n_chars": "number",
        "n_bytes": "number",
        "language": "text",
        "source": "text",
        "corpus": "text",
    }
)
"""Names that conditions may use besides the scores of a project, with the kind of their values."""
DIALECT = "duckdb"
FORMS = (
    "a condition such as \"edu >= 3 AND language = 'en'\", of names, numbers, texts in single quotes, "
    "comparisons, AND, OR, NOT, IN, BETWEEN, IS NULL, LIKE, +, -, * and /"
)
NO_VALUE = " (no value)"
"""End of the text of a comparison that is null for a document, rather than false."""
_NOT_FINITE = (math.inf, -math.inf, math.nan)
_SPECIAL = frozenset(r"\.+*?()|[]{}^$#&-~")
Node: TypeAlias = Any
"""A part of the tree: an `Expression` of sqlglot, which is imported where a condition is."""
_OPERANDS = frozenset({"this", "expression", "expressions", "low", "high", "negate", "is_string", "quoted"})
"""Arguments that nodes of the tree may have: of any other one the meaning would be lost."""
Value: TypeAlias = tuple[Kind, pl.Expr]


class BadConditionError(PermanentError, ValueError):
    """A condition that cannot be used; `expected` says why, and what would be right."""

    def __init__(self, condition: str, expected: str) -> None:
        self.condition, self.expected = condition, expected
        super().__init__(f"where = {condition!r} is not valid; expected {expected}")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One operand of the outermost AND: its text, the names in it, and its expression (true, false, null)."""

    text: str
    names: tuple[str, ...]
    expression: pl.Expr


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition, as the comparisons that all have to be true of a document."""

    comparisons: tuple[Comparison, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it uses, each once, sorted."""
        return tuple(sorted({name for one in self.comparisons for name in one.names}))

    def unmet(self) -> pl.Expr:
        """Return the text of the first comparison that is not true, with `NO_VALUE` where it is null."""
        return pl.coalesce(
            pl.when(one.expression.is_null())
            .then(pl.lit(one.text + NO_VALUE))
            .when(~one.expression)
            .then(pl.lit(one.text))
            for one in self.comparisons
        )


def parse_condition(text: str, scores: tuple[str, ...]) -> Condition:
    """Return a condition on documents; names are those of `FACTS` and of these scores, which are numbers.

    The expressions read a column of each name: numbers as floats. Raises `BadConditionError`.
    """
    return _parsed(text, tuple(scores))


def names_in(text: str) -> tuple[str, ...]:
    """Return the names in a condition, or in a comparison of one, whatever they mean, sorted.

    Raises `BadConditionError` where it cannot be parsed.
    """
    from sqlglot import exp

    return tuple(sorted({one.name for one in _tree(text).find_all(exp.Column)}))


def is_name(name: str) -> bool:
    """Return whether conditions can use a name: SQL has no other meaning for it."""
    from sqlglot import exp

    try:
        tree = _tree(name)
    except BadConditionError:
        return False
    return isinstance(tree, exp.Column) and tree.sql(dialect=DIALECT) == name


@lru_cache
def _parsed(text: str, scores: tuple[str, ...]) -> Condition:
    kinds: dict[str, Kind] = {**FACTS, **dict.fromkeys(scores, "number")}
    compiler = _Compiler(text, kinds)
    try:
        return Condition(
            comparisons=tuple(
                Comparison(
                    text=compiler.shown(part),
                    names=names_in(compiler.shown(part)),
                    expression=compiler.truth(part),
                )
                for part in compiler.conjuncts(_tree(text))
            )
        )
    except RecursionError:
        raise BadConditionError(text, "a condition with fewer levels of brackets and operators") from None


@lru_cache
def _tree(text: str) -> Node:
    """Return the tree of one expression; sqlglot takes .1 s to import, which most projects do not need."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        trees = [tree for tree in sqlglot.parse(text, dialect=DIALECT) if tree is not None]
    except SqlglotError as error:
        first = str(error).partition("\n")[0].partition(" Line ")[0].rstrip(".")
        if first.startswith("Required keyword"):  # and names a class of sqlglot
            first = "an operand is missing"
        raise BadConditionError(text, f"{FORMS}; it cannot be parsed: {first}") from None
    except RecursionError:
        raise BadConditionError(text, "a condition with fewer levels of brackets and operators") from None
    if len(trees) != 1:
        raise BadConditionError(text, f"{FORMS}; it has {len(trees)} expressions")
    return trees[0]


class _Compiler:
    """The tree of a condition as expressions of polars; `kinds`: the names that it may use."""

    def __init__(self, text: str, kinds: Mapping[str, Kind]) -> None:
        from sqlglot import exp

        self.exp, self.text, self.kinds = exp, text, kinds
        self.compared = {
            exp.EQ: pl.Expr.eq,
            exp.NEQ: pl.Expr.ne,
            exp.GT: pl.Expr.gt,
            exp.GTE: pl.Expr.ge,
            exp.LT: pl.Expr.lt,
            exp.LTE: pl.Expr.le,
        }
        self.computed = {
            exp.Add: pl.Expr.add,
            exp.Sub: pl.Expr.sub,
            exp.Mul: pl.Expr.mul,
            # Replaced rather than compared: a `when` would double the expression at each level.
            exp.Div: lambda left, right: left / right.replace(0.0, None),
        }

    def shown(self, node: Node) -> str:
        """Return a part of the condition as SQL."""
        return node.sql(dialect=DIALECT, comments=False)

    def conjuncts(self, tree: Node) -> list[Node]:
        """Return the operands of the outermost AND, in order, without their brackets."""
        tree = tree.unnest()
        if not isinstance(tree, self.exp.And):
            return [tree]
        return [part for one in tree.flatten() for part in self.conjuncts(one)]

    def truth(self, node: Node) -> pl.Expr:
        """Return the expression of what is true, false or null."""
        exp, node = self.exp, node.unnest()
        if {name for name, argument in node.args.items() if argument} - _OPERANDS:
            raise self.refusal(node)
        if isinstance(node, exp.And | exp.Or):
            together = pl.all_horizontal if isinstance(node, exp.And) else pl.any_horizontal
            return together(map(self.truth, node.flatten()))
        if isinstance(node, exp.Not):
            return ~self.truth(node.this)
        if (compare := self.compared.get(type(node))) is not None:
            return compare(*self.alike(node, node.left, node.right))
        if isinstance(node, exp.Between):
            value, low, high = self.alike(node, node.this, node.args["low"], node.args["high"])
            return (value >= low) & (value <= high)
        if isinstance(node, exp.In) and node.expressions:
            value, *listed = self.alike(node, node.this, *node.expressions)
            return pl.any_horizontal(value == one for one in listed)
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            return self.value(node.this)[1].is_null()
        if isinstance(node, exp.Like) and self.is_text(node.expression):
            kind, value = self.value(node.this)
            if kind != "text":
                raise self.refusal(node, "LIKE compares texts, and this is a number")
            matches = value.str.contains(_pattern(node.expression.name))
            return ~matches if node.args.get("negate") else matches
        if isinstance(node, exp.Column | exp.Literal):
            raise self.refusal(node, "it is compared with nothing")
        raise self.refusal(node)

    def alike(self, node: Node, *parts: Node) -> list[pl.Expr]:
        """Return the values of parts that are compared, which are all numbers or all texts."""
        values = [self.value(part) for part in parts]
        if len({kind for kind, _value in values}) > 1:
            raise self.refusal(node, "it compares a number with a text")
        return [value for _kind, value in values]

    def value(self, node: Node) -> Value:
        """Return the kind and the expression of a number or text."""
        exp, node = self.exp, node.unnest()
        if isinstance(node, exp.Column):
            return self.named(node)
        if isinstance(node, exp.Literal):
            return ("text", pl.lit(node.name)) if node.is_string else ("number", self.number(node))
        if isinstance(node, exp.Neg):
            return "number", -self.numbers(node.this)[0]
        if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div):
            left, right = self.numbers(node.left, node.right)
            return "number", self.computed[type(node)](left, right).replace(_NOT_FINITE, None)
        if isinstance(node, exp.Null):
            raise self.refusal(node, "a comparison with NULL is never true; write IS NULL or IS NOT NULL")
        raise self.refusal(node)

    def numbers(self, *parts: Node) -> list[pl.Expr]:
        """Return the values of parts that are to be numbers."""
        values = [self.value(part) for part in parts]
        for part, (kind, _value) in zip(parts, values, strict=True):
            if kind != "number":
                raise self.refusal(part, "arithmetic is of numbers, and this is a text")
        return [value for _kind, value in values]

    def number(self, node: Node) -> pl.Expr:
        """Return a number as it is written."""
        number = float(node.name)
        if not math.isfinite(number):
            raise self.refusal(node, "it is too large for a number")
        return pl.lit(number)

    def named(self, node: Node) -> Value:
        """Return the column of a name; refuse names that nothing has."""
        name = node.name
        if len(node.parts) == 1 and name in self.kinds:
            return self.kinds[name], pl.col(name)
        quoted = "; texts are in single quotes" if node.parts[-1].quoted else ""
        known = ", ".join(sorted(self.kinds))
        wrong = f"({self.shown(node)!r} is none{quoted})"
        meant = did_you_mean(name, self.kinds)
        if not meant and not quoted:
            meant = "; a column of the rows counts by the name of a score that reads it"
        raise BadConditionError(self.text, f"names that are one of: {known} {wrong}{meant}")

    def is_text(self, node: Node) -> bool:
        """Return whether a part is a text as it is written."""
        return isinstance(node, self.exp.Literal) and node.is_string

    def refusal(self, node: Node, why: str = "") -> BadConditionError:
        """Return the error that names a part which conditions cannot have, and why."""
        exp = self.exp
        if not why and isinstance(node, exp.Query | exp.Subquery | exp.Exists):
            why = "a query"
        elif not why and isinstance(node, exp.Func):
            why = "a call of a function"
        elif not why:
            why = "of none of these forms"
        return BadConditionError(self.text, f"{FORMS}; `{self.shown(node)}` cannot be used: {why}")


def _pattern(like: str) -> str:
    """Return the regular expression of a pattern of LIKE: % is any text, _ any character."""
    signs = {"%": ".*", "_": "."}
    return rf"(?s)\A{''.join(signs.get(sign) or _escaped(sign) for sign in like)}\z"


def _escaped(sign: str) -> str:
    return f"\\{sign}" if sign in _SPECIAL else sign
