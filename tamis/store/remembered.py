"""Small reads, remembered by table version: what a version holds never changes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

import pyarrow as pa

LARGEST_BYTES, MOST_BYTES = 4 << 20, 64 << 20
BYTES_OF_EACH = 8 << 10
"""Bytes counted for each read on top of its rows and its key: a sensor reads for months, mostly nothing."""


class Remembered:
    """The last small reads, up to so many bytes."""

    def __init__(self) -> None:
        self._held: OrderedDict[Hashable, tuple[pa.Table, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> pa.Table | None:
        """What was read, if it is remembered."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: Hashable, rows: pa.Table) -> None:
        """Remember what was read, unless it is large; the oldest goes."""
        if rows.nbytes > LARGEST_BYTES:
            return
        # Of a slice all bytes that it holds on to; a filter may be long, too.
        held = rows.get_total_buffer_size() + len(repr(key)) + BYTES_OF_EACH
        with self._lock:
            if key not in self._held:
                self._held[key] = rows, held
                self._bytes += held
            while self._bytes > MOST_BYTES:
                self._bytes -= self._held.popitem(last=False)[1][1]
