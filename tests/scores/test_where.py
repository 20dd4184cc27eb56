"""Conditions: DuckDB is the oracle of their truth; everything that is not listed is refused by name."""

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.settings.where import FACTS, NO_VALUE, BadConditionError, is_name, names_in, parse_condition

NUMBERS = st.one_of(st.none(), st.sampled_from([-2.0, -0.5, 0.0, 1.0, 2.0, 3.0, 2.5]))
TEXTS = st.one_of(st.none(), st.sampled_from(["", "en", "de", "e.", "eN", "a\nb", "50%", "e_", "(x"]))
FRAMES = st.lists(st.tuples(NUMBERS, NUMBERS, TEXTS), min_size=1, max_size=8)

Pair = tuple[str, str]
"""A part of a condition, and the same for DuckDB."""


def parts_of(form: str, *parts: st.SearchStrategy, oracle: str = "") -> st.SearchStrategy[Pair]:
    """Fill a form with drawn texts or pairs; `oracle`: the form for DuckDB, where it differs."""

    def filled(*drawn: str | Pair) -> Pair:
        pairs = [(one, one) if isinstance(one, str) else one for one in drawn]
        return form.format(*(one for one, _ in pairs)), (oracle or form).format(*(one for _, one in pairs))

    return st.builds(filled, *parts)


value = st.recursive(
    parts_of("{}", st.sampled_from(["edu", "fun", "1", "2.5", "0", "-1"])),
    lambda inner: st.one_of(
        parts_of("({} {} {})", inner, st.sampled_from(["+", "-", "*"]), inner),
        # By its version and settings DuckDB gives infinity or null.
        parts_of("({} / {})", inner, inner, oracle="({} / nullif({}, 0))"),
        parts_of("-({})", inner),
    ),
    max_leaves=4,
)
literal = st.sampled_from(["'en'", "''", "'e%'", "'a_b'", "'it''s'"])
pattern = st.sampled_from(["'e%'", "'_'", "'e_'", "'%'", "'e.'", "'a_b'", "'50%'", "'(x'", "''", "'%n'"])
compare = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])
negated = st.sampled_from(["", "NOT "])
leaf = st.one_of(
    parts_of("{} {} {}", value, compare, value),
    parts_of("{} {}BETWEEN {} AND {}", value, negated, value, value),
    parts_of("{} {}IN ({}, {})", value, negated, value, value),
    parts_of("{} IS {}NULL", st.sampled_from(["edu", "language", "edu + fun"]), negated),
    parts_of("language {} {}", compare, literal),
    parts_of("language {}LIKE {}", negated, pattern),
    parts_of("language IN ({}, {})", literal, literal),
)
condition = st.recursive(
    leaf,
    lambda inner: st.one_of(
        parts_of("({} AND {})", inner, inner),
        parts_of("({} OR {})", inner, inner),
        parts_of("NOT ({})", inner),
    ),
    max_leaves=6,
)


def frame_of(rows: list[tuple]) -> pl.DataFrame:
    kinds = {"edu": pl.Float64, "fun": pl.Float64, "language": pl.String}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def by_duckdb(rows: list[tuple], *texts: str) -> list[tuple]:
    """The truth of conditions for each row."""
    with duckdb.connect() as connection:
        connection.register("rows", frame_of(rows).to_arrow())
        return connection.execute(f"SELECT {', '.join(f'({text})' for text in texts)} FROM rows").fetchall()


@settings(max_examples=60)
@given(FRAMES, st.lists(condition, min_size=1, max_size=3))
def test_a_condition_is_true_false_or_null_as_duckdb_says(rows, parts):
    ours, theirs = (" AND ".join(f"({part[side]})" for part in parts) for side in (0, 1))
    found = parse_condition(ours, ("edu", "fun"))
    truth = frame_of(rows).with_columns(t=pl.all_horizontal(one.expression for one in found.comparisons))["t"]
    assert truth.to_list() == [row for (row,) in by_duckdb(rows, theirs)]


@settings(max_examples=60)
@given(FRAMES, st.lists(leaf, min_size=1, max_size=3))
def test_the_first_comparison_that_is_not_true_is_named_and_marked_where_it_is_null(rows, parts):
    found = parse_condition(" AND ".join(ours for ours, _ in parts), ("edu", "fun"))
    assert len(found.comparisons) == len(parts)
    answers = by_duckdb(rows, *(theirs for _, theirs in parts))
    for text, answer in zip(frame_of(rows).with_columns(t=found.unmet())["t"], answers, strict=True):
        first = next((at for at, one in enumerate(answer) if one is not True), None)
        if first is None:
            assert text is None
        else:
            mark = NO_VALUE if answer[first] is None else ""
            assert text == found.comparisons[first].text + mark
            assert names_in(text.removesuffix(NO_VALUE)) == found.comparisons[first].names


def test_a_division_by_zero_and_what_is_not_finite_are_null():
    frame = frame_of([(1.0, 0.0, None)])
    for text in (
        "edu / fun > 0",
        "1 / (edu / fun) = 0",
        "edu / fun IN (1)",
        "1e308 * 10 > 0",
        "1e308 * 10 * 0 = 0",
    ):
        (one,) = parse_condition(text, ("edu", "fun")).comparisons
        assert frame.select(one.expression).item() is None, text


REFUSED = {
    "abs(edu) > 1": "`ABS(edu)` cannot be used: a call of a function",
    "edu IN (SELECT 1)": "cannot be used",
    "edu > (SELECT 1)": "`SELECT 1` cannot be used: a query",
    "EXISTS (SELECT 1)": "cannot be used: a query",
    "edu": "`edu` cannot be used: it is compared with nothing",
    "edu > 1 OR 1": "`1` cannot be used: it is compared with nothing",
    "edu = 'x'": "`edu = 'x'` cannot be used: it compares a number with a text",
    "edu + language > 1": "`language` cannot be used: arithmetic is of numbers, and this is a text",
    "edu = NULL": "write IS NULL or IS NOT NULL",
    "edu IS TRUE": "`edu IS TRUE` cannot be used",
    "edu::INT > 1": "`CAST(edu AS INT)` cannot be used: a call of a function",
    "CASE WHEN edu > 1 THEN 1 END > 0": "cannot be used",
    "edu % 2 = 0": "`edu % 2` cannot be used",
    "language ILIKE 'e%'": "cannot be used",
    "language LIKE language": "cannot be used",
    "edu LIKE '3'": "LIKE compares texts, and this is a number",
    "edu > 1; DROP TABLE x": "it has 2 expressions",
    "": "it has 0 expressions",
    "edu >= ": "it cannot be parsed",
    "edu >= 1 AND": "it cannot be parsed: an operand is missing",
    "OR edu >= 1": "it cannot be parsed: an operand is missing",
    "edu > 'x": "it cannot be parsed",
    "1e999 > edu": "`1e999` cannot be used: it is too large for a number",
    "edo > 1": "('edo' is none); did you mean 'edu'?",
    "Edu > 1": "('Edu' is none); did you mean 'edu'?",
    "meta.votes > 1": "('meta.votes' is none); a column of the rows counts by the name of a score",
    "edu BETWEEN SYMMETRIC 3 AND 1": "cannot be used",
    "language LIKE 'e!%' ESCAPE '!'": "cannot be used",
    "rows.edu > 1": "('rows.edu' is none)",
    'language = "en"': "('\"en\"' is none; texts are in single quotes)",
    "(" * 3000 + "edu > 1" + ")" * 3000: "fewer levels of brackets",
    "edu > " + " + ".join(["1"] * 3000): "fewer levels of brackets",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:30] or "empty")
def test_what_is_not_listed_is_refused_and_named(text):
    with pytest.raises(BadConditionError) as error:
        parse_condition(text, ("edu",))
    assert REFUSED[text] in str(error.value)


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(BadConditionError, match=f"one of: {', '.join(sorted([*FACTS, 'edu']))}"):
        parse_condition("quality > 1", ("edu",))


def test_many_alternatives_take_no_time():
    text = " OR ".join(f"edu = {number}" for number in range(1_000))
    frame = frame_of([(999.0, None, None), (1000.0, None, None)])
    (one,) = parse_condition(text, ("edu",)).comparisons
    assert frame.select(one.expression).to_series().to_list() == [True, False]


def test_words_of_sql_are_no_names():
    assert [
        name for name in ("edu", "order", "my_score", "end", "current_date", "user", "x1") if is_name(name)
    ] == [
        "edu",
        "my_score",
        "x1",
    ]
