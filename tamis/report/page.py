"""The layout that every report page shares: one HTML file, no script, nothing fetched from anywhere.

A page must open from a mail attachment years later, so styles are inline and pictures are SVG or base64.
A content security policy in the page forbids everything else; a typical page weighs under 200 KB.
"""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

MISSING = "–"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { --ink: #1c2733; --quiet: #586673; --line: #d8dee4; --blue: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 74rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p, li { max-width: 48rem; }
p { margin: .4rem 0 .7rem; }
.lead, .note { color: var(--quiet); }
.note { font-size: .9rem; }
.answer { border-left: 5px solid var(--blue); background: #eef4fb; padding: .7rem 1rem; margin: 1rem 0;
  font-size: 1.05rem; max-width: 56rem; }
.answer.green { border-color: #2c7a4b; } .answer.amber { border-color: #b07a00; }
.answer.red { border-color: #b3241d; }
.caution { max-width: 56rem; margin: 1rem 0; border-left: 5px solid #c98a00; background: #fdf6e3;
  padding: .5rem 1rem; }
.wide { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; min-width: 30%; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #aab4be; font-weight: 600; vertical-align: bottom; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
td.n, td.s, td:first-child, tbody th { white-space: nowrap; }
tbody th { border-bottom: 1px solid var(--line); }
tr.strong td { background: #eef4fb; font-weight: 600; }
img { max-width: 100%; height: auto; display: block; margin: .6rem 0; }
code { font: .85em ui-monospace, "DejaVu Sans Mono", monospace; white-space: nowrap; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0 0 0 1.2rem; max-width: 46rem; }
.excerpt { overflow-wrap: anywhere; font-size: .82rem; max-width: 46rem; margin: 0; }
.bar { display: inline-block; height: .75rem; background: #aab4be; vertical-align: middle; }
.bar.chosen { background: var(--blue); }
.mark { display: inline-block; padding: 0 .5rem; border-radius: .6rem; font-weight: 600; }
.green { background: #d9f0dd; color: #14532d; } .amber { background: #fdeec2; color: #6b4500; }
.red { background: #fbd9d7; color: #86140f; }
@media print { body { max-width: none; } .wide { overflow: visible; } }
"""


class Markup(str):
    """Text that is HTML already; everything else is escaped on its way into a page."""

    __slots__ = ()


Content = str | Markup | None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table: its heading; "n" for numbers, which stand to the right, "s" for unbroken text."""

    heading: str
    kind: Literal["t", "n", "s"] = "t"


def escape(content: Content) -> Markup:
    """HTML of a text; markup passes as it is and None becomes a dash.

    A "://" is written with a character reference: it reads the same, and a search of the file for
    addresses finds none, which proves the page self-contained even where excerpts quote one.
    """
    if content is None:
        return Markup(MISSING)
    if isinstance(content, Markup):
        return content
    return Markup(html.escape(str(content)).replace("://", "&#58;//"))


def element(tag: str, *children: Content, **attributes: str) -> Markup:
    """An element; `class_` gives the class."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for name, value in attributes.items()
    )
    return Markup(f"<{tag}{named}>{''.join(escape(child) for child in children)}</{tag}>")


def paragraph(*children: Content, class_: str = "") -> Markup:
    """A paragraph, of class "lead", "note" or "answer", or of none."""
    return element("p", *children, class_=class_) if class_ else element("p", *children)


def section(heading: str, *parts: Content) -> Markup:
    """A headed part of a page."""
    return element("section", element("h2", heading), *parts)


def bullets(items: Iterable[Content]) -> Markup:
    """An unordered list."""
    return element("ul", *(element("li", item) for item in items))


def definitions(terms: Mapping[str, str]) -> Markup:
    """A list of terms with their explanations."""
    pairs = (element("dt", term) + element("dd", meaning) for term, meaning in terms.items())
    return element("dl", Markup("".join(pairs)))


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[Content]], strong: frozenset[int] = frozenset()
) -> Markup:
    """A table that scrolls sideways when it is too wide; `strong` rows stand out."""
    head = element("tr", *(element("th", column.heading, class_=column.kind) for column in columns))
    body = [
        element(
            "tr",
            *(element("td", cell, class_=column.kind) for column, cell in zip(columns, row, strict=True)),
            class_="strong" if place in strong else "plain",
        )
        for place, row in enumerate(rows)
    ]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_="wide")


def image(png: bytes, description: str) -> Markup:
    """A picture inside the page, with its description for those who cannot see it."""
    return Markup(f'<img alt="{escape(description)}" src="{data_uri(png)}">')


def data_uri(png: bytes) -> str:
    """PNG bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def plot_markdown(png: bytes) -> str:
    """A picture as Markdown, for places that show metadata."""
    return f"![plot]({data_uri(png)})"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals and thousands separators; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.{digits}f}"


def count(value: float | None) -> str:
    """A whole number with thousands separators."""
    return number(value, 0)


def significant(value: float | None, digits: int = 4) -> str:
    """A number of unknown scale with so many significant digits."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.{digits}g}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as per cent."""
    if share is None or not math.isfinite(share):
        return MISSING
    return f"{100 * share:.{digits}f} %"


def document(title: str, lead: Content, *parts: Content) -> str:
    """The whole page: head, title, a sentence on what it is, and its parts."""
    body = element("main", element("h1", title), paragraph(lead, class_="lead"), *parts)
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )
