"""Errors and warnings of the selection package."""

from collections.abc import Iterable

from tamis.base.errors import PermanentError


class MissingColumnsError(PermanentError, ValueError):
    """A frame lacks columns; names them, what needs them and what is there."""

    def __init__(self, frame: str, missing: Iterable[str], needed_for: str, available: Iterable[str]) -> None:
        self.frame, self.missing, self.needed_for = frame, list(missing), needed_for
        self.available = list(available)
        super().__init__(
            f"{frame} lack the columns {', '.join(self.missing)}, which are "
            f"needed for {needed_for}; available columns: {', '.join(self.available) or 'none'}"
        )


class BadColumnError(PermanentError, ValueError):
    """A column holds what it must not; names the column, what was found and what was expected."""

    def __init__(self, column: str, found: str, expected: str) -> None:
        self.column, self.found, self.expected = column, found, expected
        super().__init__(f"column {column!r} contains {found}; expected {expected}")


class RepeatedIdsError(PermanentError, ValueError):
    """A doc_id is in more than one row; `doc_ids` names up to five of them."""

    def __init__(self, doc_ids: Iterable[str], count: int) -> None:
        self.doc_ids, self.count = list(doc_ids), count
        super().__init__(
            f"each doc_id must be in one row only; repeated ({count:,} in all): {', '.join(self.doc_ids)}"
        )


class BudgetExceedsPool(UserWarning):
    """The budget is larger than what is eligible, so that everything eligible was selected."""


class SharesNotReached(UserWarning):
    """Groups could not have the shares that were asked for; the message says of which, and what was done."""
