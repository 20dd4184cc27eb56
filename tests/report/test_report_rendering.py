"""Templates: what is escaped, what is an error, that none asks for what its page does not have."""

import base64
import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError, meta, nodes

from tamis.report.address import MissingPage
from tamis.report.audit import AuditPage
from tamis.report.choices import ChoicesPage
from tamis.report.index import IndexPage
from tamis.report.mix import MixPage
from tamis.report.mixture import MixturePage
from tamis.report.rendering import LARGEST_BYTES, ends, environment, escape, new_figure, plot_markdown, png_of
from tamis.report.runs.page import RunsPage
from tamis.report.runs.recipe import RecipePage
from tamis.report.samplers import SamplerPage
from tamis.report.scaling import ScalingPage
from tamis.report.selection import SelectionPage
from tamis.report.selection_map import BrowsePage, MapPage
from tamis.report.serving import ServingPage
from tamis.report.sql_model import SqlModelPage

PAGES = {
    "mixture.html": MixturePage,
    "audit.html": AuditPage,
    "browse.html": BrowsePage,
    "choices.html": ChoicesPage,
    "index.html": IndexPage,
    "map.html": MapPage,
    "missing.html": MissingPage,
    "mix.html": MixPage,
    "recipe.html": RecipePage,
    "runs.html": RunsPage,
    "samplers.html": SamplerPage,
    "scaling.html": ScalingPage,
    "selection.html": SelectionPage,
    "serving.html": ServingPage,
    "sql_model.html": SqlModelPage,
}
PARTS = {"base.html", "browse.js", "comparison.html", "macros.html", "map.js", "seen.html"}


def wanted(template: str) -> set[str]:
    """The variables that a template, and what it extends or includes, takes from its page."""
    source, _file, _current = environment().loader.get_source(environment(), template)
    tree = environment().parse(source)
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    own |= {macro.name for macro in tree.find_all(nodes.Macro)}
    own |= {name for found in tree.find_all(nodes.FromImport) for name in found.names}
    found = meta.find_undeclared_variables(tree) - own
    for other in meta.find_referenced_templates(tree):
        found |= wanted(other)
    return found


@pytest.mark.parametrize("template", PAGES)
def test_a_template_takes_each_field_of_its_page_and_nothing_else(template):
    fields = {field.name for field in dataclasses.fields(PAGES[template])}
    assert wanted(template) - {"self"} == fields


def test_every_template_belongs_to_a_page():
    assert {*environment().list_templates()} == {*PAGES} | PARTS


@given(st.text())
def test_escaped_text_holds_no_tag_no_quote_and_no_address(text):
    escaped = escape(text)
    assert not set('<>"') & set(escaped)
    assert "://" not in escaped


def test_text_is_escaped_in_attributes_too_and_what_a_macro_gives_is_not_escaped_twice(hostile):
    calling = '{% from "macros.html" import bullets, figure %}{{ bullets([text]) }}{{ figure(text, text) }}'
    shown = str(escape(hostile))
    expected = f'<ul><li>{shown}</li></ul>\n<div class="wide"><img alt="{shown}" src="{shown}"></div>\n'
    assert environment().from_string(calling).render(text=hostile) == expected


@pytest.mark.parametrize("expression", ["{{ mistake }}", "{{ page.mistake }}", "{% if mistake %}{% endif %}"])
def test_a_name_that_does_not_exist_is_an_error(expression):
    with pytest.raises(UndefinedError, match="mistake"):
        environment().from_string(expression).render(page=object())


def test_what_is_missing_is_a_dash():
    assert environment().from_string("{{ gone }} {{ gone|percent }} {{ '' }}").render(gone=None) == "– – "


def test_templates_are_read_only_when_a_page_is_drawn():
    code = "import sys, tamis.report.scaling, tamis.report.audit; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_long_name_keeps_both_ends():
    assert ends("a" * 20, 20) == "a" * 20
    assert ends("corpus__folder__part_01", 9) == "corp…t_01"


def test_plot_markdown_holds_the_picture():
    png = b"\x89PNG\r\n\x1a\n123"
    text = plot_markdown(png)
    assert text.startswith("![")
    assert base64.b64decode(text.split("base64,")[1].rstrip(")")) == png


def test_a_busy_figure_still_fits():
    import numpy as np

    figure, (axis,) = new_figure(width=5.0, height=3.0)
    axis.imshow(np.random.default_rng(0).random((300, 500)), cmap="viridis")
    png = png_of(figure)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) <= LARGEST_BYTES
