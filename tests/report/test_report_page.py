"""Layout helpers: escaping, numbers, tables."""

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.report.figures import LARGEST_BYTES, new_figure, png_of
from tamis.report.page import (
    Column,
    Markup,
    count,
    document,
    element,
    escape,
    number,
    percent,
    plot_markdown,
    significant,
    table,
)


@given(st.text())
def test_escaped_text_holds_no_tag_no_quote_and_no_address(text):
    escaped = escape(text)
    assert not set('<>"') & set(escaped)
    assert "://" not in escaped


def test_markup_passes_and_text_does_not():
    assert element("p", Markup("<b>x</b>"), "<b>", class_='a"b') == (
        '<p class="a&quot;b"><b>x</b>&lt;b&gt;</p>'
    )


def test_hostile_text_is_shown_as_text(read_page, hostile):
    page = document(hostile, hostile, table([Column(heading=hostile)], [[hostile]]))
    assert read_page(page).count(hostile) == 5


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(1234.5678, 2), "1,234.57"),
        (number(math.inf), "–"),
        (number(None), "–"),
        (count(1638400.0), "1,638,400"),
        (percent(0.0417), "4.2 %"),
        (percent(math.nan), "–"),
        (significant(8612.4, 3), "8,612"),
        (significant(0.0123456), "0.01235"),
        (significant(3.5e11, 3), "3.5e+11"),
        (significant(-math.inf), "–"),
    ],
)
def test_numbers(shown, expected):
    assert shown == expected


def test_a_row_of_the_wrong_length_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        table([Column(heading="a"), Column(heading="b")], [["only one"]])


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
