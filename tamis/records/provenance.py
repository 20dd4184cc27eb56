"""The unhashed part of a manifest: where, when and with which libraries a value was made."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from tamis.base.installation import ROOT

FORM = 2
"""2: the event of a manifest carries a digest of its unhashed part."""
LIBRARIES = ("dagster", "lancedb", "polars", "torch", "transformers", "pot", "mlflow", "numpy")


def run_facts(
    run_id: str, seconds: tuple[float, float], table_versions: dict[str, int], costs: dict[str, Any]
) -> dict[str, Any]:
    """Return run, clock, costs, versions, code; `seconds`: of the step, and of this value."""
    return {
        "form": FORM,
        "run_id": run_id,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds[0],
        "partition_seconds": seconds[1],
        **costs,
        "table_versions": table_versions,
        "python": platform.python_version(),
        "libraries": _libraries(),
        "git": _git_state(),
    }


@cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


@cache
def _git_state() -> dict[str, Any]:
    """Commit of the checkout that runs, and whether it had changes; empty for an installed package.

    Another repository around it, say of a project whose environment it is in, has its own configuration,
    by which git may run commands.
    """
    if not (ROOT / ".git").exists():
        return {}
    try:
        commit = _git("rev-parse", "HEAD")
        return {
            "commit": commit,
            "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(*arguments: str) -> str:
    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
