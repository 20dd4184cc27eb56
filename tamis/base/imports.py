"""Packages while they are imported: signals wait where they must, and no search for garbage slows it down.

What PyTorch does in C++ while it is loaded aborts the process (exit -6) when a handler of Python raises.
Python searches for cyclic garbage whenever a quarter more objects live than before: eight times until Dagster
and PyTorch are loaded, each time among all that is loaded.
"""

import atexit
import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

LARGE = ("torch", "transformers", "matplotlib", "ot", "mlflow")
"""Packages that are imported where they are first needed."""
_under_way = 0
_counting = threading.Lock()
ONE_MODEL_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def importing(whole: bool = True) -> Iterator[None]:
    """Import inside without a search for cyclic garbage.

    `whole`: what lives afterwards, all that was loaded, is left out of later searches. So in a process that
    called `import_well`: one that loads much and often, as one that runs tests, would keep garbage.
    """
    global _under_way
    if _FINDER not in sys.meta_path:
        yield
        return
    with _counting:  # of several threads the last one switches the search on again
        _under_way += 1
        gc.disable()
    try:
        yield
    finally:
        with _counting:
            _under_way -= 1
            if not _under_way:
                if whole:
                    gc.freeze()
                gc.enable()


class _Importing(MetaPathFinder):
    """Finds large packages as others do, and loads them with `importing`, PyTorch without signals.

    A part of a package that is first needed in the midst of work freezes nothing: what lives then is garbage
    later.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = fullname.partition(".")[0]
        if package not in LARGE or (_under_way and fullname != "torch"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                deferred = _signals_deferred() if fullname == "torch" else contextlib.nullcontext()
                with importing(whole=fullname == package), deferred:
                    load(module)

            setattr(spec.loader, "exec_module", exec_module)  # noqa: B010
        return spec


_FINDER = _Importing()


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


def import_well() -> None:
    """Let this process, a command or a server of Dagster, import large packages so from now on."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
        atexit.register(gc.unfreeze)  # else extensions report at the end that their objects still live
