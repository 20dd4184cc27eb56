"""Builds the reference of the Python API from its docstrings.

python docs/reference.py build/docs    the same as `make docs`
"""

import sys
import warnings
from pathlib import Path

PACKAGES = (
    "tamis.transport",
    "tamis.coverage",
    "tamis.quality",
    "tamis.selection",
    "tamis.mixture",
    "tamis.scaling",
    "tamis.training",
    "tamis.embedding",
    "tamis.corpus",
    "tamis.filters",
    "tamis.interchange",
    "tamis.engine",
    "tamis.base.errors",
)
"""What a program may import. A package shows what its `__all__` names; its modules are its own affair."""

NOT_THEIR_MODULES = r"!tamis\.(?!base\.errors)[a-z_]+\..*"


def build(folder: Path, *packages: str) -> None:
    """Write a page for each package, an index and a search into `folder`; a warning of pdoc is an error."""
    from pdoc import pdoc, render

    render.configure(docformat="markdown", footer_text="Tamis", show_source=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning, module="pdoc")
        pdoc(*(packages or PACKAGES), NOT_THEIR_MODULES, output_directory=folder)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
    print(f"{Path(sys.argv[1]) / 'index.html'}: {len(PACKAGES)} packages")
