"""Signals that wait while a package is imported.

What PyTorch does in C++ while it is loaded aborts the process (exit -6) when a handler of Python raises.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _Deferring(MetaPathFinder):
    """Finds one package as others do, and holds signals back while it is loaded."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self.package else None
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                with _signals_deferred():
                    load(module)

            setattr(spec.loader, "exec_module", exec_module)  # noqa: B010
        return spec


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the end, and then do what they do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda sent, frame: came.append(sent))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for sent in came[:1]:
            signal.raise_signal(sent)


def defer_signals_in(package: str) -> None:
    """Let Ctrl-C and SIGTERM wait while the package is imported for the first time."""
    sys.meta_path.insert(0, _Deferring(package))
