"""Documents that are withdrawn while something is made of them that is written without the writer's lock.

A withdrawal notes its documents first and goes through the files afterwards. So who has given a file its name
and then finds nothing new withdrawn leaves the rest to the withdrawal, which will find the file.
"""

from tamis.base.errors import TransientError
from tamis.store.home import Home
from tamis.store.withdrawn import unfinished_line, withdrawn_ids


class WithdrawnSinceError(TransientError):
    """A file that was not written, or was removed again, since documents were withdrawn in the meantime."""

    def __init__(self, name: str, documents: int) -> None:
        self.name, self.documents = name, documents
        super().__init__(
            f"{name} was not written, because documents were withdrawn while it was being made; run "
            "`tamis materialize`, then run the same command again"
        )


class UnfinishedWithdrawalError(TransientError):
    """Nothing is written of tables that may contain what is withdrawn: `line` says why, and what to do."""

    def __init__(self, line: str) -> None:
        self.line = line
        super().__init__(f"nothing was written: {line}; then run the same command again")


class WithdrawnSince:
    """What is withdrawn from when this was made on; raises `UnfinishedWithdrawalError`."""

    def __init__(self, home: Home) -> None:
        self.home = home
        # Read first: a withdrawal that begins now has either not ended below, or is new to `require_none`.
        self._before = frozenset(withdrawn_ids(home.store))
        if line := unfinished_line(home.store):
            raise UnfinishedWithdrawalError(line)

    def require_none(self, name: str) -> None:
        """Raise `WithdrawnSinceError` where anything was withdrawn since."""
        if new := set(withdrawn_ids(self.home.store)) - self._before:
            raise WithdrawnSinceError(name, len(new))
