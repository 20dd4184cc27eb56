"""Figures by matplotlib without a display or global state, small enough to travel in metadata.

Dagster keeps every plot as base64 text in its event log, so a figure is reduced to a palette of 64 colours
and redrawn at lower resolution until it fits: 30 curves take about 45 KB.
"""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_BYTES = 60_000
RESOLUTIONS = (120, 100, 80, 60, 45)  # dots per inch
BLUE, GREY, INK, AMBER = "#1f5fa8", "#aab4be", "#1c2733", "#c25700"
FONT_POINTS = 9.5


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
