"""The command as it is, but it dies (SIGKILL, the process group) within one stage, at a moment or a write.

usage: python dying_command.py STAGE seconds|writes AMOUNT VERB ...
`seconds`: so long after the stage began; `writes`: right before its write number AMOUNT, rows, manifests,
events and current values all counted. A stage that ends earlier dies as it ends.
"""

import contextlib
import os
import signal
import sys
import threading

STAGE, KIND, AMOUNT = sys.argv[1], sys.argv[2], float(sys.argv[3])
WRITES_OF_STORE = ("insert_new", "merge", "replace", "overwrite", "delete")


def die(*_arguments, **_named) -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


class Countdown:
    """Dies at a write, once it is armed."""

    armed, left = False, AMOUNT

    def write(self) -> None:
        if self.armed and KIND == "writes":
            self.left -= 1
            if self.left <= 0:
                die()


COUNTDOWN = Countdown()


def counted(kind: type, name: str, counts=lambda arguments: True) -> None:
    """Let each call of a method count as a write, before it happens."""
    method = getattr(kind, name)

    def wrapped(self, *arguments, **named):
        if counts(arguments):
            COUNTDOWN.write()
        return method(self, *arguments, **named)

    setattr(kind, name, wrapped)


def is_materialization(arguments) -> bool:
    event = arguments[0].dagster_event
    return event is not None and event.is_step_materialization


def main() -> None:
    import dagster as dg

    from tamis.cli import console
    from tamis.platform.resources.store import StoreResource
    from tamis.records.manifest import ManifestFolder
    from tamis.store.tables import Store

    for name in WRITES_OF_STORE:
        counted(Store, name)
    counted(ManifestFolder, "write")
    counted(ManifestFolder, "write_rows")
    counted(dg.DagsterInstance, "store_event", is_materialization)
    work = StoreResource.work

    @contextlib.contextmanager
    def dying_work(self, context, name=None):
        here = (name or context.asset_key.path[-1]) == STAGE
        if here and KIND == "seconds":
            threading.Timer(AMOUNT, die).start()
        COUNTDOWN.armed = here
        with work(self, context, name) as found:
            yield found
        if here:
            die()

    StoreResource.work = dying_work
    sys.argv = ["tamis", *sys.argv[4:]]
    console()


if __name__ == "__main__":
    main()
