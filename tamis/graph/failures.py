"""Failures: the last reason why each value could not be made, and steps in which the process itself died."""

import contextlib
import faulthandler
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from tamis.base.errors import PermanentError, TamisError, TransientError
from tamis.base.files import write_atomically
from tamis.base.kept_errors import kept_message
from tamis.base.progress import silent
from tamis.graph.plan import Due, input_key, label
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.records.current_values import CurrentValues
from tamis.store.home import Home
from tamis.store.tables import Store
from tamis.training.failures import Failure, failures_of, shortened
from tamis.training.stage import TRIALS_STAGE

TABLE, TRIALS = "step_failures", TRIALS_STAGE.name
MOST_NOTED = 100  # values of one step: a broken disk fails a step of 10,000 shards
SHOWN = 3
MOST_ABORTS = 2
STDERR = 2
SAID_OF_A_FAULT = "Fatal Python error: "
OUT_OF_MEMORY = "killed by the system because memory ran out"
LINE = TypeAdapter(dict[str, str])
UNREADABLE = "{} cannot be read ({}): earlier crashes of the process are not counted"
BOOT, COUNTERS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/vmstat")


@dataclass(frozen=True, kw_only=True)
class FailedStep:
    """A value that could not be made: with which input key, why and when."""

    asset: str
    partition: str
    input_key: str
    reason: str
    failed_at: datetime

    @property
    def line(self) -> str:
        """A line for a person: the value and the reason."""
        return f"failed: {label(self.asset, self.partition)}: {self.reason}"


class _PartitionsError(TamisError):
    """Partitions of a step that could not be made, while the others were; `failed`: the reason of each."""

    def __init__(self, asset: str, failed: Mapping[str, str], count: int) -> None:
        self.asset, self.failed, self.count = asset, dict(failed), count
        shown = "; ".join(f"{partition}: {reason}" for partition, reason in [*failed.items()][:SHOWN])
        others = len(failed) - SHOWN
        more = f"; `tamis status` lists {others:,} more" if others > 0 else ""
        super().__init__(f"{len(failed):,} of {count:,} partitions of {asset} failed: {shown}{more}")


class PartitionsFailedError(_PartitionsError, PermanentError):
    """Partitions that would fail in the same way again."""


class PartitionsToRetryError(_PartitionsError, TransientError):
    """Partitions of which at least one may succeed when it is tried again."""


@contextlib.contextmanager
def failed_step_noted(
    store: Store, asset: str, keys: Callable[[], Mapping[str, str | None]]
) -> Iterator[None]:
    """Note why the enclosed step failed, for each partition in `keys()`, and raise the error again.

    `keys` returns the input key of each partition. Trials are not noted here.
    """
    try:
        yield
    except _PartitionsError:
        raise  # noted one by one
    except Exception as error:
        with contextlib.suppress(Exception):  # the failure itself matters more than a note that fails, too
            if asset != TRIALS:
                note_failed_step(store, asset, keys(), error)
        raise


def note_failed_step(store: Store, asset: str, keys: Mapping[str, str | None], error: BaseException) -> None:
    """Note the same reason for all of these partitions."""
    write_failed_steps(store, asset, keys, dict.fromkeys(keys, reason_of(error)))


def reason_of(error: BaseException) -> str:
    """Return the reason of an error in a form that may be stored.

    Messages of Tamis hold no document text and are kept whole; of other errors the message is reduced.
    """
    return str(error) if isinstance(error, TamisError) else kept_message(error)


def write_failed_steps(
    store: Store, asset: str, keys: Mapping[str, str | None], reasons: Mapping[str, str]
) -> None:
    """Note the reason of each partition in one commit, without those that have no input key: they wait."""
    rows = [
        asdict(
            FailedStep(
                asset=asset,
                partition=partition,
                input_key=key,
                reason=shortened(reasons[partition]),
                failed_at=datetime.now(UTC).replace(tzinfo=None),
            )
        )
        for partition, key in sorted(keys.items())[:MOST_NOTED]
        if key is not None
    ]
    store.merge_values(TABLE, rows)


def failed_steps(
    store: Store, snapshot: ProjectSnapshot, current: CurrentValues, due: Sequence[Due]
) -> list[FailedStep]:
    """Return the failures that would happen again, sorted by name.

    Their values are due, would be made with the same input key, and were not made since.
    """
    wanted = {(one.asset, one.partition) for one in due}
    made = {entry: current[entry].input_key for entry in wanted & current.keys()}
    rows = store.read(TABLE).sort("asset", "partition").iter_rows(named=True)
    return [
        failure
        for failure in (FailedStep(**row) for row in rows)
        if (failure.asset, failure.partition) in wanted
        and failure.input_key == input_key(stages()[failure.asset], failure.partition, snapshot, current)
        and failure.input_key != made.get((failure.asset, failure.partition))
    ]


def failed_trials(snapshot: ProjectSnapshot, current: CurrentValues, due: Sequence[Due]) -> list[Failure]:
    """Return the failures of trials that are due, at the inputs that they would have now."""
    trials = {entry.partition for entry in due if entry.asset == TRIALS}
    return [
        failure
        for failure in failures_of(snapshot.project.home.store)
        if failure.trial in trials
        and failure.attempts
        and failure.input_key == input_key(stages()[TRIALS], failure.trial, snapshot, current)
    ]


@dataclass(frozen=True, kw_only=True)
class Abort:
    """Of what the process died in succession while it was at a partition of these inputs."""

    asset: str
    partition: str
    input_key: str
    reasons: tuple[str, ...]


class PartitionAbortedError(PermanentError):
    """The process died of a partition each time that it was made."""

    def __init__(self, abort: Abort) -> None:
        self.abort = abort
        reasons = ", then ".join(dict.fromkeys(abort.reasons))
        super().__init__(
            f"it crashed the process {len(abort.reasons)} times ({reasons}), so it is set aside until its "
            "input changes or you run `tamis materialize --try-again`"
        )


@dataclass(kw_only=True)
class Watch:
    """What a step is at; `suspected`: what the process may have died of before, by partition."""

    home: Home
    asset: str
    file: BinaryIO
    suspected: dict[str, Abort]
    _at: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._write({"asset": self.asset, **_kernel()})

    def begin(self, keys: Mapping[str, str]) -> None:
        """Note that the step works on partitions, given with their input keys."""
        self._at |= keys
        self._write(keys)

    def end(self, partitions: Collection[str], made: bool = False) -> None:
        """Note that the step is done with partitions; of those that were made the process did not die."""
        if not self._at.keys().isdisjoint(partitions):
            self._at = {key: value for key, value in self._at.items() if key not in partitions}
            self.file.seek(0)
            self.file.truncate()
            self.__post_init__()
            self._write(self._at)
        if made and not self.suspected.keys().isdisjoint(partitions):
            self.suspected = {key: one for key, one in self.suspected.items() if key not in partitions}
            others = [one for one in read_aborts(self.home) if one.asset != self.asset]
            _write(self.home, [*others, *self.suspected.values()])

    def _write(self, line: Mapping[str, str]) -> None:
        self.file.write(json.dumps(line).encode() + b"\n")
        self.file.flush()


@contextlib.contextmanager
def watching(home: Home, asset: str, log: Callable[[str], None] = silent) -> Iterator[Watch]:
    """Note what a step is at while inside; count first what the last process died of. The caller writes.

    What cannot be read of earlier notes is logged.
    """
    folder = _folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    _count(home, log)
    suspected = {one.partition: one for one in read_aborts(home, log) if one.asset == asset}
    elsewhere = faulthandler.is_enabled()
    with (folder / "fault").open("wb") as fault, (folder / "partitions").open("wb") as file:
        faulthandler.enable(fault, all_threads=False)
        try:
            yield Watch(home=home, asset=asset, file=file, suspected=suspected)
        finally:
            # A step that Dagster gave up may be closed after the next one of this process has begun.
            if not _noted_by_another(folder / "partitions", file):
                faulthandler.disable()
                if elsewhere:
                    faulthandler.enable(STDERR)
                (folder / "partitions").unlink(missing_ok=True)


def read_aborts(home: Home, log: Callable[[str], None] = silent) -> list[Abort]:
    """Return what the process may have died of, of each partition that was not made since."""
    path = _folder(home) / "aborts.json"
    try:
        return TypeAdapter(list[Abort]).validate_json(path.read_bytes()) if path.exists() else []
    except (OSError, ValueError) as error:
        log(UNREADABLE.format(path, type(error).__name__))
        return []


def forget_aborts(home: Home) -> int:
    """Let everything be tried again; return how many partitions were set aside, as far as can be read."""
    found = read_aborts(home)
    _write(home, [])
    return sum(len(one.reasons) >= MOST_ABORTS for one in found)


def _count(home: Home, log: Callable[[str], None]) -> None:
    """Count a death by itself of the process that worked here last, for each partition that it was at."""
    path, fault = _folder(home) / "partitions", _folder(home) / "fault"
    if not path.exists():
        return
    reason = ""
    try:
        noted, *begun = [LINE.validate_json(line) for line in path.read_bytes().split(b"\n")[:-1]] or [{}]
        at = {(noted["asset"], partition): key for keys in begun for partition, key in keys.items()}
        reason = _reason(fault.read_text(errors="replace"), noted) if at else ""
    except (OSError, ValueError, LookupError) as error:
        log(UNREADABLE.format(path, type(error).__name__))
    path.unlink()
    if reason:
        known = {(one.asset, one.partition): one for one in read_aborts(home, log)}
        for (asset, partition), key in at.items():
            before = known.get((asset, partition))
            earlier = before.reasons if before and before.input_key == key else ()
            known[asset, partition] = Abort(
                asset=asset, partition=partition, input_key=key, reasons=(*earlier, reason)
            )
        _write(home, list(known.values()))


def _noted_by_another(path: Path, file: BinaryIO) -> bool:
    """Whether the file of this name is a later one; there may be none, since a cache may be deleted."""
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _reason(fault: str, noted: Mapping[str, object]) -> str:
    """Return what a process died of, as its fault and the counters of the kernel say; "" of nothing known."""
    if fault.startswith(SAID_OF_A_FAULT):
        return fault.removeprefix(SAID_OF_A_FAULT).splitlines()[0].lower()
    now = _kernel()
    same = now["boot"] and now["boot"] == noted["boot"]
    return OUT_OF_MEMORY if same and now["killed"] != noted["killed"] else ""


def _kernel() -> dict[str, str]:
    """Which start of the machine this is, and how many processes it has killed for want of memory since."""
    try:
        killed = [line for line in COUNTERS.read_text().splitlines() if line.startswith("oom_kill ")]
        return {"boot": BOOT.read_text().strip(), "killed": "".join(killed)}
    except OSError:  # no Linux
        return {"boot": "", "killed": ""}


def _folder(home: Home) -> Path:
    return home.cache / "at_work"


def _write(home: Home, aborts: list[Abort]) -> None:
    write_atomically(_folder(home) / "aborts.json", json.dumps([asdict(one) for one in aborts]).encode())
