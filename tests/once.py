"""What all workers of a session share: the first that asks for it makes it, the others wait.

Tests work on copies of it. Where one changed the shared folder itself, others would find what it left, so the
session fails at its end (`altered`).
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, with what `make` puts there; one that was not made to its end is made again."""
    made = _made(folder)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.write_text(json.dumps(digests(folder)))
    return folder


def altered(folder: Path) -> list[str]:
    """Files of a folder that `once` made which are not as they were made; added and deleted ones count."""
    before, now = json.loads(_made(folder).read_text()), digests(folder)
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def digests(folder: Path) -> dict[str, str]:
    """The digest of each file below a folder, by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _made(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.made")
