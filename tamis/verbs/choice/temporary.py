"""Folders of calls without a project: one goes with its call, and one that a kill left with the next."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tamis.base.errors import TransientError
from tamis.store.unwritable import DiskFullError, free_bytes, storage_error

PREFIX, LOCK = "tamis-select-", "lock"


class TemporaryDiskFullError(TransientError):
    """No space left for temporary files; says how much there is and how to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"the disk of the folder for temporary files, {folder}, is full "
            f"({free_bytes(folder) / 1e6:,.1f} MB free): free some space, or set TMPDIR to a folder on a "
            "larger disk; then run the same command again"
        )


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that goes at the end; remove those that killed commands of this user left."""
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_if_left(old)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    with (folder / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield folder
        except Exception as error:
            if isinstance(storage_error(folder, error), DiskFullError):
                raise TemporaryDiskFullError(folder.parent) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):
        if folder.stat().st_uid != os.getuid():
            return
        with (folder / LOCK).open() as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
