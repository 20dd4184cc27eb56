"""Standard output and standard error of a command: what they cannot take is no fault of the home.

A full disk behind `> FILE` gives the same error number as a full disk below the home. So standard output
raises an error of its own, and standard error, to which only messages go, never fails a command.
"""

import errno
import io
import os
import sys
from typing import TextIO, cast

from tamis.base.errors import TransientError
from tamis.base.limits import SIZE


class OutputError(TransientError):
    """Standard output cannot be written; says why and what to do."""

    def __init__(self, error: OSError) -> None:
        problem = error.strerror or str(error)
        limited = f"; {SIZE.in_words}" if error.errno == errno.EFBIG and SIZE.value is not None else ""
        super().__init__(
            f"standard output cannot be written ({problem}{limited}), so the answer is incomplete; send it "
            "to a file or disk with room for it, then run the same command again"
        )


class _Guarded(io.TextIOWrapper):
    """A text stream that drops everything after its first failure; `raises`: that failure is an error.

    A closed pipe is no failure: whoever reads it, such as `head`, has seen enough.
    """

    raises = True

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._drop_all(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._drop_all(error)

    def _drop_all(self, error: OSError) -> None:
        """Send what is left to nowhere, which the buffers would try to write again until the end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self.raises and not isinstance(error, BrokenPipeError):
            raise OutputError(error) from error


def guard_standard_streams() -> None:
    """Put streams in place of `sys.stdout` and `sys.stderr` that fail as this module says.

    A stream that whoever started the command has closed takes everything and keeps nothing.
    """
    sys.stdout = _guarded(sys.stdout, raises=True)
    sys.stderr = _guarded(sys.stderr, raises=False)


def _guarded(stream: TextIO | None, raises: bool) -> TextIO:
    if stream is None:
        return open(os.devnull, "w")
    try:
        descriptor = stream.fileno()
    except OSError:  # a stream in memory, which whoever called from Python put here
        return stream
    before = cast(io.TextIOWrapper, stream)
    guarded = _Guarded(
        io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False)),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=before.line_buffering or before.write_through,
    )
    guarded.raises = raises
    return guarded
