"""The cluster: one that others have started, or one of this process alone.

Usage statistics and the dashboard are off; who talks to a cluster must know its token, which Ray keeps in
~/.ray. A cluster of this process ends with it; from one that it has joined its workers disappear when it
ends, however it ends.
"""

import contextlib
import logging
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from tamis.base.errors import MissingPackageError
from tamis.base.installation import install_command
from tamis.base.user_folders import socket_folder
from tamis.engine.errors import ClusterUnreachableError

SOCKET_NAME_BYTES = 72
"""Of a socket below the folder for temporary files: /ray/session_DATE_TIME_PROCESS/sockets/plasma_store."""


def connect(address: str | None, cpus: int | None) -> Any:
    """Join the cluster at an address, or start one here with so many processors; returns the module.

    Nothing happens in a process that has joined one. Raises `ClusterUnreachableError`, `MissingPackageError`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError("ray", '[engine] kind = "ray"', install_command("ray")) from error
    if ray.is_initialized():
        return ray
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"address": address}
    if address is None:
        if (short := str(socket_folder(SOCKET_NAME_BYTES))) != tempfile.gettempdir():
            os.environ.setdefault("RAY_TMPDIR", short)
        # "local": never a cluster that happens to run here, which "auto" asks for.
        options = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    try:
        with _own_signals(), warnings.catch_warnings():
            # The store warns of forks; these children become other programs at once.
            warnings.simplefilter("ignore", RuntimeWarning)
            ray.init(
                **options, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR,
                namespace="tamis",
            )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        ray.shutdown()
        raise ClusterUnreachableError(address, str(error).split("\n", 1)[0]) from error
    return ray


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, which a run is cancelled with."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
