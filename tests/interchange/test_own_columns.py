"""Columns of the user's rows: as JSON, and as Arrow of types that others read."""

import json

from long_stack import below

from tamis.interchange.own_columns import json_lines


def test_rows_nested_deeply_are_printed_as_they_are():
    nested = json.loads("[" * 900 + "1" + "]" * 900)
    (plain, with_infinity) = below(
        200, lambda: list(json_lines([{"deep": nested}, {"deep": nested, "n": [float("inf"), 2.5]}]))
    )
    assert plain == f'{{"deep": {"[" * 900}1{"]" * 900}}}'
    assert with_infinity == f'{{"deep": {"[" * 900}1{"]" * 900}, "n": [null, 2.5]}}'
