"""Pages from templates: one HTML file each, no script, nothing fetched from anywhere.

A page must open from a mail attachment years later, so styles are inline and pictures are SVG or base64.
A content security policy in the page forbids everything else; a typical page weighs under 200 KB.
"""

import html
import math
from functools import cache
from typing import TYPE_CHECKING

from tamis.base.numbers import MISSING, duration, number, percent, significant, whole

if TYPE_CHECKING:
    from jinja2 import Environment

NUMBERS = (duration, number, percent, significant, whole)


def render(template: str, page: object) -> str:
    """Return the page that a template makes of the fields of a dataclass."""
    return environment().get_template(template).render(vars(page))


@cache
def environment() -> "Environment":
    """Return what knows the templates; a name that a template misspells is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("tamis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {show.__name__: show for show in (*NUMBERS, ends)}
    found.tests["finite"] = math.isfinite
    return found


def escape(value: object) -> object:
    """Return a value as HTML; markup passes as it is and None becomes a dash.

    A "://" is written with a character reference: it reads the same, and a search of the file for
    addresses finds none, which proves the page self-contained even where excerpts quote one.
    """
    from jinja2.filters import do_mark_safe

    if hasattr(value, "__html__"):
        return value
    text = MISSING if value is None else str(value)
    return do_mark_safe(html.escape(text).replace("://", "&#58;//"))


def ends(text: str, characters: int) -> str:
    """Return the text, or its two ends: partitions differ at the end as often as at the beginning."""
    if len(text) <= characters:
        return text
    head = (characters - 1) // 2
    return f"{text[:head]}…{text[len(text) - (characters - 1 - head) :]}"
