"""Memory of this process."""

import ctypes
import sys


def return_freed_memory() -> None:
    """Give the system back what was freed; glibc keeps it otherwise. Elsewhere it does nothing."""
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
