"""Where Tamis is installed: its package, and the files of the platform inside it."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
"""The checkout in a clone and an editable install, site-packages elsewhere."""
PLATFORM = PACKAGE / "platform"
