"""Commands that need a home and Dagster's state: the audit, the health, a withdrawal.

Where the state is on PostgreSQL a daemon belongs to the home, so one that is not there is a fault; on SQLite
it comes and goes with `tamis ui`.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import DatabaseError

from tamis.audit.events import judge_empty_log
from tamis.audit.verdicts import Audit
from tamis.audit.whole import audit_graph, audit_of_crashes, audit_of_damage, result_stages
from tamis.base.errors import NotMadeError, PermanentError, TransientError, UnknownNameError
from tamis.base.numbers import brief, counted
from tamis.base.progress import Progress
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.records.registered import read_registered
from tamis.runtime.checks import log_taints
from tamis.runtime.databases import Incomplete, incomplete_databases, wait_at_most
from tamis.runtime.events import logged_events
from tamis.runtime.instance import dagster_state, open_instance
from tamis.runtime.instance_file import NAME, POSTGRES_URL, prepare_folder
from tamis.scan.sources import scan
from tamis.store.home import last_writing, writer
from tamis.store.probing import crashing_tables
from tamis.store.served import served
from tamis.store.table_errors import DamagedTableError
from tamis.store.unwritable import storing
from tamis.verbs.health import Finding, Look, lock, looked_at, object_store, tables, tracking
from tamis.withdrawal.asking import Asked, WithdrawalReason
from tamis.withdrawal.withdrawing import Withdrawn, withdraw

PATIENCE_SECONDS = 30.0
"""How long an audit waits for who writes."""
DATABASE_SECONDS = 5
"""How long a look at the health waits for a database."""
SILENT_SECONDS = 180.0
"""A daemon's heartbeat comes every 30 seconds."""


class HomeBeingWrittenError(PermanentError):
    """No verdict: values that are being written would be reported as altered. Names who writes."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(
            f"no verdict: {holder} was writing to the home, and values that are being written look altered; "
            "run `tamis audit` again when that process has finished"
        )


class DaemonSilentError(TransientError):
    """Dagster's daemon, which runs the sensors and the queue, is not there."""

    def __init__(self, seen: str) -> None:
        super().__init__(
            f"{seen}; start the daemon with `tamis ui` or `dagster-daemon run`; until then, sensors and "
            "queued runs wait"
        )


class IncompleteDatabasesError(PermanentError):
    """Databases of Dagster lack tables; names them, and the way back."""

    def __init__(self, folder: Path, found: Sequence[Incomplete]) -> None:
        self.folder, self.found = folder, list(found)
        cure = "run `tamis materialize` to repair this"
        if any(one.rows for one in found):
            cure = f"move {folder} away and run `tamis materialize`, which logs all results again"
        super().__init__(f"{'; '.join(one.line for one in found)}; {cure}")


def audit_project(project: Project, name: str | None, quick: bool, say: Callable[[str], None]) -> Audit:
    """Audit a checkpoint or selection, or all of them, in a home that nobody writes to.

    A red audit during which somebody wrote starts again when the writer has finished; what it finds twice
    holds. Raises `UnknownNameError` and, `PATIENCE_SECONDS` after the first audit, `HomeBeingWrittenError`.
    """
    home, deadline, earlier = project.home, math.inf, ""
    while True:
        before, holder = last_writing(home), writer(home)
        audit = _whole_audit(project, name, quick, say)
        holder = holder or writer(home)
        undisturbed = not holder and last_writing(home) == before
        if audit.status != "red" or undisturbed or (found := audit.version) == earlier:
            return audit
        holder, earlier = holder or "another process", found
        deadline = min(deadline, time.monotonic() + PATIENCE_SECONDS)
        if time.monotonic() < deadline:
            say(f"{holder} writes to the home; the audit starts again when it has finished")
        while writer(home) and time.monotonic() < deadline:
            time.sleep(0.2)
        if time.monotonic() >= deadline:
            raise HomeBeingWrittenError(holder)


def findings(project: Project, only: Collection[str] = ()) -> list[Finding]:
    """What was seen of each part, or of those in `only`."""
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(DATABASE_SECONDS))  # libpq waits for ever by default
    wait_at_most(DATABASE_SECONDS)
    return [looked_at(part, look) for part, look in looks(project, only).items() if part in only or not only]


def looks(project: Project, only: Collection[str]) -> dict[str, Look]:
    """How to look at each part."""
    return {
        "tables": partial(tables, project),
        "writer": partial(lock, project),
        "dagster": partial(state, project),
        "daemon": partial(daemon, project, "daemon" in only or bool(os.environ.get(POSTGRES_URL))),
        "tracking": partial(tracking, project),
        "object_store": partial(storage, project),
    }


def state(project: Project) -> str:
    """Whether Dagster's databases are whole and its runs can be read; a home without them is well.

    Raises `IncompleteDatabasesError`, and what `opened` raises.
    """
    if not started(project):
        return "no run yet"
    if not os.environ.get(POSTGRES_URL) and (found := incomplete_databases(project.home.dagster)):
        raise IncompleteDatabasesError(project.home.dagster, found)
    with opened(project) as instance:
        kept = "PostgreSQL" if os.environ.get(POSTGRES_URL) else "SQLite"
        return f"{counted(instance.get_runs_count(), 'run')} in {kept}"


@contextlib.contextmanager
def opened(project: Project) -> Iterator[dg.DagsterInstance]:
    """The home's instance; what its database says goes on without the statement and its values."""
    try:
        with dagster_state(project):
            instance = open_instance(project)
            try:
                yield instance
            finally:
                instance.dispose()
    except DatabaseError as error:
        raise TransientError(f"Dagster's database cannot be read: {error.orig}") from None


def started(project: Project) -> bool:
    """Whether the home has an instance: looking must not make one."""
    return (project.home.dagster / NAME).exists()


def daemon(project: Project, required: bool) -> str:
    """How long ago the daemon gave a sign of life.

    Raises `DaemonSilentError` for one that gives none where it is `required` or a `tamis ui` should run it.
    """
    age = heartbeat_age(project) if started(project) else None
    if age is not None and age <= SILENT_SECONDS:
        return f"last seen {brief(age)} ago"
    seen = "not running, " + ("never seen" if age is None else f"last seen {brief(age)} ago")
    if required or served(project.home):
        raise DaemonSilentError(seen)
    return f"{seen}; `tamis ui` starts the daemon; until then, only `tamis materialize` processes new files"


def heartbeat_age(project: Project) -> float | None:
    """Seconds since the most silent of the daemon's required parts was heard; None before the first."""
    with opened(project) as instance:
        heard = instance.get_daemon_heartbeats()
        required = [kind for kind in instance.get_required_daemon_types() if kind in heard]
        return max((time.time() - heard[kind].timestamp for kind in required), default=None)


def storage(project: Project) -> str:
    """The object store that holds the results, where one does."""
    return object_store(project.home.url) if project.home.url else "no object store is configured"


def withdraw_project(project: Project, asked: Asked, reason: WithdrawalReason) -> Withdrawn:
    """Withdraw at once, and let the checks of tainted checkpoints fail."""
    prepare_folder(project)  # refuses a file that nobody has accepted before anything is withdrawn
    with dagster_state(project), storing(project.home.root):
        done = withdraw(project.home, asked, reason)
        instance = open_instance(project)
        try:
            log_taints(instance, project.home, read_current_values(project.home.store))
        finally:
            instance.dispose()
    return done


def _whole_audit(project: Project, name: str | None, quick: bool, say: Callable[[str], None]) -> Audit:
    """Audit, with a verdict on damage that leaves nothing to walk."""
    project.home.store.read_afresh()
    if not quick and (crashing := crashing_tables(project.home.store)):
        return audit_of_crashes(crashing)
    try:
        return _audited(project, name, quick, say)
    except DamagedTableError as error:  # of the index, or of what is known of the sources
        with project.home.as_stored(*(() if quick else ("manifests",))) as home:
            return audit_of_damage(home, error, quick)


def _audited(project: Project, name: str | None, quick: bool, say: Callable[[str], None]) -> Audit:
    if not quick:
        for table in project.home.store.names():
            project.home.store.check_columns(table)
    current = read_current_values(project.home.store)
    results = result_stages()
    names = {partition for asset, partition in current if asset in results and partition}
    names |= {entry.checkpoint for entry in read_registered(project.home.store)}
    if name is not None and name not in names:
        snapshot = scan(project)
        configured = {key for kind in ("selections", "models", "trials") for key in snapshot.keys(kind)}
        if name in configured:
            raise NotMadeError(name)
        raise UnknownNameError("checkpoint or selection", name, names | configured)
    with (
        dagster_state(project),
        project.home.as_stored(*(() if quick else ("manifests",))) as home,
        Progress("audit", unit="manifests") as progress,
    ):
        instance = open_instance(project)
        found = logged_events(instance, home, copies=not quick)
        events = found if found or not _is_of_this_machine(project) else None
        snapshot = scan(project)
        audit = audit_graph(home, snapshot, current, events, name=name, quick=quick, advance=progress.advance)
        if events is None and current:
            judge_empty_log(audit.nodes, project.home.place)
        return audit


def _is_of_this_machine(project: Project) -> bool:
    """Return whether the results are in a store for many machines, and the event log is of this one alone.

    Such a log is empty as long as this machine has made nothing; one that holds anything speaks.
    """
    return project.home.url is not None and not os.environ.get(POSTGRES_URL)
