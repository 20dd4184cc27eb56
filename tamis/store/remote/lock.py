"""One writer at a time across machines: a lock object, created only where there is none, and kept alive.

The holder writes it again every `BEAT_SECONDS`. One that the store has not seen written for `EXPIRY_SECONDS`,
by its own clock, belongs to nobody any more and is taken over, and its holder, should it come back, finds so
and stops before anything speaks of what it made. `home` tells a lock that a killed process of the same home
has left: whoever holds the home's own lock takes it at once.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tamis.base.errors import PermanentError, TransientError
from tamis.base.files import write_atomically
from tamis.store.remote.objects import ObjectFolder, StorageUnavailableError

LOCK = "writer.lock"
OLD_SECONDS = 600.0
"""Clocks of machines differ by less."""
EXPIRY_SECONDS, BEAT_SECONDS, AGAIN_SECONDS = 60.0, 15.0, 1.0


class HomeLockedError(TransientError):
    """Another process writes to this home; names it."""

    def __init__(self, home: Path, holder: str) -> None:
        self.home, self.holder = home, holder
        super().__init__(f"{home} is being written by {holder}; wait for that process to finish, or stop it")


class StorageLockedError(HomeLockedError):
    """Somebody else writes there; names who, and when the lock falls to others."""

    def __init__(self, url: str, holder: str, since: datetime | None) -> None:
        self.url, self.holder, self.since = url, holder, since
        seen = f", last heartbeat {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
        TransientError.__init__(
            self,
            f"{url} is being written by {holder}{seen}; wait for that process to finish, or stop it; the "
            f"lock of a killed process expires {EXPIRY_SECONDS:.0f} s after its last heartbeat",
        )


class LockLostError(TransientError):
    """This process gave no sign of life for so long that another took the lock."""

    def __init__(self, url: str, holder: str) -> None:
        self.url, self.holder = url, holder
        super().__init__(
            f"this process sent no heartbeat to {url} for {EXPIRY_SECONDS:.0f} s (it was suspended or could "
            f"not reach the store), so its lock was given to {holder}; run the same command again when that "
            "process has finished"
        )


class UnconditionalStoreError(PermanentError):
    """A store that overwrites where it was asked not to; nothing there could keep two writers apart."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(
            f"the object store at {url} ignores the header If-None-Match on writes, so two writers could "
            "overwrite each other's data; use a store that supports conditional writes, such as Amazon S3"
        )


class RemoteLock:
    """The lock of one store, as this process holds it."""

    def __init__(self, objects: ObjectFolder, home: Path, purpose: str) -> None:
        self.objects, self.home = objects, _name_of(home, objects)
        self.token = uuid.uuid4().hex
        self.purpose = purpose
        self._tag, self._beats, self._lost = "", 0, ""
        self._alive = time.monotonic()
        self._ended = threading.Event()

    @contextlib.contextmanager
    def held(self, patience_seconds: float) -> Iterator[None]:
        """Hold the lock; raises `StorageLockedError` when somebody has it still after so long."""
        self._acquire(patience_seconds)
        beating = threading.Thread(target=self._beat, name="storage lock", daemon=True)
        beating.start()
        try:
            yield
        finally:
            self._ended.set()
            beating.join()
            self._release()

    def require(self) -> None:
        """Raise `LockLostError` where another process has taken the lock."""
        if time.monotonic() - self._alive > EXPIRY_SECONDS - BEAT_SECONDS:
            self._renew()
        if self._lost:
            raise LockLostError(self.objects.url, self._lost)

    def _acquire(self, patience_seconds: float) -> None:
        deadline = time.monotonic() + patience_seconds
        while not self._taken():
            if time.monotonic() >= deadline:
                found = self.objects.head(LOCK)
                raise StorageLockedError(
                    self.objects.url, _told(self.objects), found.modified if found else None
                )
            time.sleep(AGAIN_SECONDS)

    def _taken(self) -> bool:
        tag = self.objects.create(LOCK, self._content())
        if tag is None and (found := self.objects.head(LOCK)) is not None:
            content = _content_of(self.objects)
            if content.get("token") == self.token:  # the answer to our own request was lost
                tag = found.tag
            elif content.get("home") == self.home or self._age(found.modified) > EXPIRY_SECONDS:
                tag = self.objects.swap(LOCK, self._content(), found.tag)
        self._tag, self._alive = tag or "", time.monotonic()
        return tag is not None

    def _age(self, modified: datetime) -> float:
        """Seconds since, by the clock of the store."""
        probe = f"clock-{self.token}"
        self.objects.write(probe, b"")
        now = self.objects.head(probe)
        self.objects.delete([probe])
        return (now.modified - modified).total_seconds() if now else 0.0

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(StorageUnavailableError):  # tried again with the next beat
                self._renew()

    def _renew(self) -> None:
        if self._lost:
            return
        tag = self.objects.swap(LOCK, self._content(), self._tag)
        if tag is None:
            found = self.objects.head(LOCK)
            if found is None or _content_of(self.objects).get("token") != self.token:
                self._lost = _told(self.objects)
                return
            tag = found.tag
        self._tag, self._alive = tag, time.monotonic()

    def _release(self) -> None:
        with contextlib.suppress(StorageUnavailableError):  # it expires by itself
            if _content_of(self.objects).get("token") == self.token:
                self.objects.delete([LOCK])

    def _content(self) -> bytes:
        self._beats += 1
        holder = {"machine": socket.gethostname(), "process": os.getpid(), "purpose": self.purpose}
        return json.dumps(holder | {"home": self.home, "token": self.token, "beat": self._beats}).encode()


def holder_of(objects: ObjectFolder) -> str:
    """Who holds the lock, "" for nobody; one that is old by the clock of this machine does not count."""
    found = objects.head(LOCK)
    if found is None or (datetime.now(UTC) - found.modified).total_seconds() > OLD_SECONDS:
        return ""
    return _told(objects)


def _told(objects: ObjectFolder) -> str:
    found = _content_of(objects)
    if "process" not in found:
        return "another process"
    return f"process {found['process']} on {found.get('machine')} ({found.get('purpose')})"


def _content_of(objects: ObjectFolder) -> dict[str, Any]:
    try:
        return dict(json.loads(objects.read(LOCK)))
    except (FileNotFoundError, ValueError):
        return {}


def _name_of(home: Path, objects: ObjectFolder) -> str:
    """What no other home has: a number kept in it, and its machine, since a home may be copied.

    Before there is one the store is asked whether it can keep two writers apart at all.
    """
    path = home / "cache" / "home.id"
    if not path.exists():
        _require_conditions(objects)
        write_atomically(path, uuid.uuid4().hex.encode())
    return f"{socket.gethostname()}:{path.read_text()}"


def _require_conditions(objects: ObjectFolder) -> None:
    probe = f"probe-{uuid.uuid4().hex}"
    objects.write(probe, b"1")
    try:
        if objects.create(probe, b"2") is not None:
            raise UnconditionalStoreError(objects.url)
    finally:
        objects.delete([probe])
