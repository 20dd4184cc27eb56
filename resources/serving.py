"""Dagster's UI, its daemon and the code server: `dagster dev` in this process, until somebody ends it."""

import signal

from dagster._cli.dev import dev_command

from tamis.errors import TransientError
from tamis.signals import received_signals


class ServicesEndedError(TransientError):
    """One of Dagster's services ended though nobody asked for it; Dagster has logged which."""

    def __init__(self) -> None:
        super().__init__("a service of Dagster ended by itself, as the lines above say; run `tamis ui` again")


def serve(host: str, port: int) -> None:
    """Run `dagster dev` for workspace.yaml in the working directory.

    Raises `KeyboardInterrupt` once it was ended by Ctrl-C or SIGTERM, after which Dagster closes its services
    and comes back as if nothing had happened; `ServicesEndedError` where it ended for another reason.
    """
    arguments = ["-w", "workspace.yaml", "-h", host, "-p", str(port)]
    with dev_command.make_context("dagster dev", arguments) as context:
        dev_command.invoke(context)
    if received_signals().isdisjoint({signal.SIGINT, signal.SIGTERM}):
        raise ServicesEndedError
    raise KeyboardInterrupt
