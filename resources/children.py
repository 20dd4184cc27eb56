"""Child processes of a service: some end seconds after the one that started them, as Dagster's servers do."""

import contextlib
import threading
from collections.abc import Iterator

import psutil

LOOKED_AT_SECONDS, PATIENCE_SECONDS = 5.0, 20.0


@contextlib.contextmanager
def children_awaited() -> Iterator[None]:
    """Return only when all processes that were started in this block have ended, directly or not.

    An orphan is no child any more, so they are noted while they live. After 20 s it is not waited for longer:
    a run that is still in progress ends by itself.
    """
    seen: set[psutil.Process] = set()
    ended = threading.Event()

    def note() -> None:
        with contextlib.suppress(psutil.Error):
            seen.update(psutil.Process().children(recursive=True))

    def watch() -> None:
        while not ended.wait(LOOKED_AT_SECONDS):
            note()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        note()
        psutil.wait_procs(seen, timeout=PATIENCE_SECONDS)
