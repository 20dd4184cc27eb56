"""Where Tamis is installed: its package, and the files of the platform inside it."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
"""The checkout in a clone and an editable install, site-packages elsewhere."""
PLATFORM = PACKAGE / "platform"


def install_line(extra: str = "") -> str:
    """Return the command that installs what Tamis needs, or one of its extras."""
    part = f"[{extra}]" if extra else ""
    if (ROOT / "constraints.txt").is_file():
        return f"pip install -c constraints.txt -e '.{part}'"
    return f"pip install 'tamis{part}'"
