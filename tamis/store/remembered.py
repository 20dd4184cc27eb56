"""Small reads, remembered by table version: what a version holds never changes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

import pyarrow as pa

LARGEST_BYTES, MOST_BYTES = 4 << 20, 64 << 20


class Remembered:
    """The last small reads, up to so many bytes."""

    def __init__(self) -> None:
        self._held: OrderedDict[Hashable, pa.Table] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> pa.Table | None:
        """What was read, if it is remembered."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: Hashable, rows: pa.Table) -> None:
        """Remember what was read, unless it is large; the oldest goes."""
        if rows.nbytes > LARGEST_BYTES:
            return
        with self._lock:
            if key not in self._held:
                self._held[key] = rows
                self._bytes += rows.nbytes
            while self._bytes > MOST_BYTES:
                self._bytes -= self._held.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Remember nothing."""
        with self._lock:
            self._held.clear()
            self._bytes = 0
