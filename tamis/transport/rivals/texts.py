"""Texts as they must be to be counted or read by a model: strings that have a UTF-8 encoding."""

from collections.abc import Sequence

from tamis.base.errors import PermanentError


class BadTextError(PermanentError, ValueError):
    """A text that is no string, or that cannot be encoded."""

    def __init__(self, source: str, row: int, problem: str) -> None:
        self.source, self.row, self.problem = source, row, problem
        super().__init__(f"{source} text {row}: {problem}; expected a str that can be encoded as UTF-8")


def check_texts(texts: Sequence[str], source: str) -> None:
    """Raise `BadTextError` on the first text that is none; a gigabyte takes about a second."""
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadTextError(source, row, f"a {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            problem = f"unpaired surrogate {text[error.start]!a} at character {error.start}"
            raise BadTextError(source, row, problem) from None
