"""Commits of a run, as the interpreter reports them: an audit hook sees each file that any module renames,
links, removes or opens for writing. What happens outside of Python is seen where Python asks for it: changes
of tables, their compaction, and entries of Dagster's event log.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from tamis.store import compaction, erasing
from tamis.store.tables import Store

OF_TABLES = ("insert_new", "append", "merge", "replace", "overwrite", "overwrite_schema", "drop")
OF_LOGS = ("add_dynamic_partitions", "delete_dynamic_partition", "add_run")
LOGGED = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
}
"""Entries of the event log that something reads again; others are for people."""
OF_FILES = {"os.rename": 1, "os.link": 1, "os.symlink": 1, "os.remove": 0, "os.rmdir": 0}
"""Events, and which argument is the name that changes; the directory's descriptor is the last argument."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
COUNT = Store.count
"""As it is without what this file puts around it."""
Before = Callable[[int, str], None]


class Watch:
    """Calls `before` at each commit below a folder, and lets no other thread commit until it returns."""

    def __init__(self, root: Path, before: Before) -> None:
        self.root, self.before = root, before
        self.count = 0
        self.lock = threading.RLock()
        self.busy = False

    def commit(self, label: str) -> None:
        with self.lock:
            if self.busy:  # what `before` itself does
                return
            self.busy = True
            try:
                self.before(self.count, label)
            finally:
                self.count += 1
                self.busy = False


_WATCHES: list[Watch] = []
"""Those at work; the innermost one is called."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _WATCHES or (event != "open" and event not in OF_FILES):
        return
    if event == "open":
        name, _mode, flags = arguments
        if not isinstance(name, str | bytes | os.PathLike) or not (flags or 0) & WRITES:
            return
        path = Path(os.fsdecode(name))
    else:
        path = Path(os.fsdecode(arguments[OF_FILES[event]]))
        descriptor = arguments[-1]
        if not path.is_absolute() and isinstance(descriptor, int) and descriptor >= 0:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}")) / path
    watch = _WATCHES[-1]
    if not path.is_relative_to(watch.root):
        return
    inner = path.relative_to(watch.root).parts
    # Nobody sees a draft until it is renamed; locks, marks of living processes and what steps print are none.
    draft = any(part.startswith(".") and part != ".tamis" for part in inner) or path.suffix == ".tmp"
    if event == "open" and (draft or {"at_work", "storage"} & {*inner} or path.suffix == ".lock"):
        return
    watch.commit(f"{event} {'/'.join(inner[1:])}")


sys.addaudithook(_hook)  # it cannot be removed: without a watch it does nothing


@contextmanager
def each_commit(root: Path, before: Before) -> Iterator[None]:
    """Call `before` with the number and the name of each commit below a folder, right before it."""
    watch = Watch(root, before)
    real_log, real_delete = SqliteEventLogStorage.store_event, Store.delete

    def delete(store: Store, table: str, where: str) -> int:
        if COUNT(store, table, where):  # without a row to delete nothing is committed
            watch.commit(f"delete {table}")
        return real_delete(store, table, where)

    def logged(storage: SqliteEventLogStorage, event: dg.EventLogEntry) -> None:
        kind = event.dagster_event_type
        if kind in LOGGED:
            watch.commit(f"log {kind.value} {event.step_key or ''}")
        real_log(storage, event)

    def counted(real: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def commit(*arguments: Any, **named: Any) -> Any:
            watch.commit(f"{kind} {arguments[1]}" if kind in OF_TABLES else kind)
            return real(*arguments, **named)

        return commit

    others = [(Store, name, name) for name in OF_TABLES]
    others += [(dg.DagsterInstance, name, f"log {name}") for name in OF_LOGS]
    others += [(compaction, "_optimized", "storage _optimized"), (compaction, "_index", "storage _index")]
    others += [(erasing, "_rewrite", "storage _rewrite")]
    with pytest.MonkeyPatch.context() as patched:
        for owner, name, kind in others:
            patched.setattr(owner, name, counted(getattr(owner, name), kind))
        patched.setattr(Store, "delete", delete)
        patched.setattr(SqliteEventLogStorage, "store_event", logged)
        _WATCHES.append(watch)
        try:
            yield
        finally:
            _WATCHES.pop()
