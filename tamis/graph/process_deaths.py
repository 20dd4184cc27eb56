"""Partitions of which the process died: which ones were at work is noted in a file that outlives it.

A process dies by itself of a fatal signal, which faulthandler writes down, or for want of memory, which the
kernel counts. One that somebody kills, or that goes with its machine, leaves neither and counts for nothing.
All is in the cache: without it a partition is only tried twice more, so a note that cannot be read is none.
"""

import contextlib
import faulthandler
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically
from tamis.base.progress import silent
from tamis.store.home import Home

MOST_ABORTS = 2
STDERR = 2
SAID_OF_A_FAULT = "Fatal Python error: "
OUT_OF_MEMORY = "killed by the system because memory ran out"
LINE = TypeAdapter(dict[str, str])
UNREADABLE = "{} cannot be read ({}): earlier crashes of the process are not counted"
BOOT, COUNTERS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/vmstat")


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
            reasons = (*earlier, reason)
            known[asset, partition] = Abort(asset=asset, partition=partition, input_key=key, reasons=reasons)
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
        lines = COUNTERS.read_text().splitlines()
        killed = [line for line in lines if line.startswith("oom_kill ")]
        return {"boot": BOOT.read_text().strip(), "killed": "".join(killed)}
    except OSError:  # no Linux
        return {"boot": "", "killed": ""}


def _folder(home: Home) -> Path:
    return home.cache / "at_work"


def _write(home: Home, aborts: list[Abort]) -> None:
    write_atomically(_folder(home) / "aborts.json", json.dumps([asdict(one) for one in aborts]).encode())
