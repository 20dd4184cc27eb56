"""Pages from templates: one HTML file each, nothing fetched from anywhere.

A page must open from a mail attachment years later, so styles are inline and pictures are SVG or base64.
A content security policy in the page forbids everything else. Where a page has a script, the policy names its
digest: that one runs and no other.
"""

import base64
import hashlib
import html
import io
import json
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.base.numbers import MISSING, duration, number, percent, significant, whole
from tamis.base.progress import visible
from tamis.history.finding import short_id

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

NUMBERS = (duration, number, percent, significant, whole)
LARGEST_BYTES = 60_000
RESOLUTIONS = (120, 100, 80, 60, 45)  # dots per inch
BLUE, GREY, INK, AMBER = "#1f5fa8", "#aab4be", "#1c2733", "#c25700"
FONT_POINTS = 9.5


def render(template: str, page: object) -> str:
    """Return the page that a template makes of the fields of a dataclass."""
    return environment().get_template(template).render(vars(page))


def written_state(file: Path) -> str:
    """Return the state that a page was written for, as its template notes it; "" without a page."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return ""
    return text.partition('<p hidden id="state">')[2].partition("<")[0]


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
    return do_mark_safe(
        html.escape(MISSING if value is None else visible(str(value))).replace("://", "&#58;//")
    )


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


def new_figure(panels: int = 1, width: float = 9.0, height: float = 4.4) -> "tuple[Figure, list[Any]]":
    """A figure of so many panels side by side, sizes in inches, with its axes."""
    from matplotlib import matplotlib_fname, rcdefaults
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A matplotlibrc of the working directory may have come with a project, and can have TeX run.
    if Path(matplotlib_fname()).resolve().parent == Path.cwd():
        rcdefaults()
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, place + 1) for place in range(panels)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=FONT_POINTS, colors=INK)
    return figure, axes


def png_of(figure: "Figure") -> bytes:
    """The figure as PNG of at most `LARGEST_BYTES`, at the highest resolution that fits."""
    from PIL import Image

    canvas: Any = figure.canvas
    content = b""
    for resolution in RESOLUTIONS:
        figure.set_dpi(resolution)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64)
        reduced = io.BytesIO()
        picture.save(reduced, format="PNG", compress_level=9)
        content = reduced.getvalue()
        if len(content) <= LARGEST_BYTES:
            break
    return content


def data_uri(png: bytes) -> str:
    """Return a picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def plot_markdown(png: bytes) -> str:
    """Return a picture as Markdown, for places that show metadata."""
    return f"![plot]({data_uri(png)})"
