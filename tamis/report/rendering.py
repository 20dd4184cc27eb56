"""Pages from templates: one HTML file each, nothing fetched from anywhere.

A page must open from a mail attachment years later, so styles are inline and pictures are SVG or base64.
A content security policy in the page forbids everything else. Where a page has a script, the policy names its
digest: that one runs and no other.
"""

import base64
import hashlib
import html
import json
import math
from functools import cache
from typing import TYPE_CHECKING, Any

from tamis.base.numbers import MISSING, duration, number, percent, significant, whole
from tamis.base.progress import visible
from tamis.history.finding import short_id

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
    found.filters |= {show.__name__: show for show in (*NUMBERS, ends, short_id)}
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
    text = MISSING if value is None else visible(str(value))
    return do_mark_safe(html.escape(text).replace("://", "&#58;//"))


def script(name: str) -> str:
    """Return a script of the folder of templates as markup, to be put into a page as it is."""
    from jinja2.filters import do_mark_safe

    loader = environment().loader
    assert loader is not None
    return do_mark_safe(loader.get_source(environment(), name)[0])


def script_policy(name: str) -> str:
    """Return the source expression by which a content security policy lets this script alone run."""
    digest = hashlib.sha256(script(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def as_json(value: Any) -> str:
    """Return a value as JSON within a script element: it can neither close that nor look like an address."""
    from jinja2.filters import do_mark_safe

    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return do_mark_safe(text.replace("://", ":\\u002f/"))


def ends(text: str, characters: int) -> str:
    """Return the text, or its two ends: partitions differ at the end as often as at the beginning."""
    if len(text) <= characters:
        return text
    head = (characters - 1) // 2
    return f"{text[:head]}…{text[len(text) - (characters - 1 - head) :]}"
