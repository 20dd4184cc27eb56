"""Paths of the installed package and of the platform in it, and facts of the build."""

import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
"""The checkout in a clone and an editable install, site-packages elsewhere."""
PLATFORM = PACKAGE / "platform"
BUILT = PACKAGE / "built.json"
"""Version and commit of the build, written by .ci/building.py into the sdist and the wheel."""
IN_CHECKOUT = (ROOT / "constraints.txt").is_file()


def install_command(extra: str = "") -> str:
    """Return the command that installs Tamis or an extra: with the pins of a checkout, or for a wheel."""
    part = f"[{extra}]" if extra else ""
    if IN_CHECKOUT:
        return f"pip install -c {shlex.quote(f'{ROOT}/constraints.txt')} -e {shlex.quote(f'{ROOT}{part}')}"
    return f"pip install 'tamis{part}'"


@cache
def build_facts() -> dict[str, Any]:
    """Return version, commit and `changed` (the checkout had changes) of a built package; {} elsewhere."""
    facts: dict[str, Any] = json.loads(BUILT.read_text("utf-8")) if BUILT.is_file() else {}
    return facts
