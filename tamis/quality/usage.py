"""Costs of asking a judge: documents, tokens, seconds, and money where a price is known."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any


@dataclass
class Usage:
    """Counts since the judge was opened; requests in flight may add to it at once.

    tokens: of whole questions; those of an endpoint as it states them, 0 where it does not.
    """

    documents: int = 0
    tokens: int = 0
    seconds: float = 0.0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def count_tokens(self, tokens: int) -> None:
        """Add the tokens of some questions."""
        self.add(0, tokens, 0.0)

    def add(self, documents: int, tokens: int, seconds: float) -> None:
        """Add what was counted elsewhere."""
        with self._lock:
            self.documents += documents
            self.tokens += tokens
            self.seconds += seconds

    def taken(self) -> tuple[int, int, float]:
        """Documents, tokens and seconds counted so far, which are counted no longer here."""
        with self._lock:
            found = self.documents, self.tokens, self.seconds
            self.documents, self.tokens, self.seconds = 0, 0, 0.0
        return found

    @contextmanager
    def asking(self, documents: int) -> Iterator[None]:
        """Count documents and the time until they are answered."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(documents, 0, time.perf_counter() - began)

    def in_words(self, price_per_million: float | None = None) -> dict[str, Any]:
        """As metadata; `cost` where a million tokens have a price, in its currency."""
        found: dict[str, Any] = {"tokens_asked": self.tokens, "seconds_asked": round(self.seconds, 2)}
        if price_per_million is not None:
            found["cost"] = round(self.tokens * price_per_million / 1e6, 6)
        return found
