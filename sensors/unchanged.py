"""What a sensor saw at the last tick that had nothing to do: one that sees the same has nothing to do either.

Files, settings and values are looked at in each tick. What somebody changes by hand in Dagster's own state (a
partition deleted in its UI) is in none of them, so after a minute a tick looks at everything again.
"""

import time
from pathlib import Path

BELIEVED_SECONDS = 60.0


class Unchanged:
    """The sight of one sensor, by home; sensors are evaluated by one process that lives as long as the UI."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[float, object]] = {}

    def since(self, home: Path, sight: object) -> bool:
        """Return whether a tick of the last minute saw the same and had nothing to do."""
        then, before = self._seen.get(home, (-BELIEVED_SECONDS, None))
        return time.monotonic() - then < BELIEVED_SECONDS and before == sight

    def note(self, home: Path, sight: object) -> None:
        """Note what a tick saw that has nothing to do."""
        self._seen[home] = time.monotonic(), sight
