"""Jinja: quoted relations, uses, and line numbers that survive any block."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.sql.errors import TemplateError
from tamis.sql.template import Names, render

NAMES = Names(models=frozenset({"a", "b"}), sources={"t": "lake"})
FILE = Path("m.sql")


def test_references_become_quoted_relations_and_are_recorded_once():
    sql = "{{ ref('a') }} {{ source('lake', 't') }} {{ ref('b') }} {{ ref('a') }} {{ this }}"
    rendered = render(FILE, sql, NAMES, this="m")
    assert rendered.sql == '"models"."a" "lake"."t" "models"."b" "models"."a" "models"."m"'
    assert (rendered.models, rendered.sources) == (("a", "b"), ("t",))


def test_this_means_nothing_in_a_test():
    with pytest.raises(TemplateError, match="'this' is undefined"):
        render(FILE, "select * from {{ this }}", NAMES)


@pytest.mark.parametrize("attack", ["{{ ref.__globals__ }}", "{{ ''.__class__.__mro__ }}", "{{ range(9) }}"])
def test_templates_reach_nothing_but_the_allowed_names(attack):
    with pytest.raises(TemplateError):
        render(FILE, attack, NAMES)


PIECES = st.sampled_from(
    [
        "{{ config(\n  materialized='view'\n) }}",
        "{# a remark\n over two lines #}",
        "{% if is_incremental() %}\nlost\nlost too\n{% endif %}",
        "{% if not is_incremental() -%}\n\n{% endif %}",
        "{{ ref('a') }}",
        "text",
        "\n",
        "\n\n",
    ]
)


@settings(deadline=None, max_examples=25)
@given(st.lists(PIECES, max_size=12), st.integers(1, 50))
def test_every_word_that_survives_is_traced_to_its_line(pieces, first):
    """Each `text` gets a unique number; rendered, it must map to the line where the file has it."""
    source = "".join(f"text{i} " if piece == "text" else piece for i, piece in enumerate(pieces))
    rendered = render(FILE, source, NAMES, this="m", line=first)
    for i, piece in enumerate(pieces):
        if piece == "text":
            wanted = first + source[: source.index(f"text{i} ")].count("\n")
            rendered_line = rendered.sql[: rendered.sql.index(f"text{i} ")].count("\n") + 1
            alone = rendered.sql.splitlines()[rendered_line - 1].strip().startswith(f"text{i} ")
            if alone:
                assert rendered.line(rendered_line) == wanted
    assert len(rendered.lines) == rendered.sql.count("\n") + 1
