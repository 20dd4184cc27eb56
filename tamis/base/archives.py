"""Numpy archives at exactly the path that was asked for, whole or not at all.

`np.savez` alone adds a suffix and leaves half a file behind when it is stopped.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.base.errors import PermanentError
from tamis.base.files import whole_file


class UnreadableFileError(PermanentError):
    """A file that is not what was saved."""

    def __init__(self, path: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path}: {reason}")


def content_digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256, hex, over names, types, shapes and values of arrays, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_npz(path: Path, **arrays: Any) -> None:
    """Write arrays by name."""
    with whole_file(path) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return arrays by name. Raises OSError where the file cannot be opened, and `UnreadableFileError`."""
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:
            raise UnreadableFileError(str(path), "not a whole archive of arrays") from error
