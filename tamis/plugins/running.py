"""Plug-ins at work: the import of their code, their answers, and the documents on which they fail.

A plug-in runs in the process of the step. Messages hold what it said when it was imported, but of a failure
on documents the class of the error alone: its text may quote a document.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.base.errors import TransientError, out_of_memory
from tamis.base.numbers import counted
from tamis.plugins.declaration import PluginError
from tamis.plugins.imports import Module
from tamis.plugins.reading import Plugin, content_of, digest_of

Answers = npt.NDArray[np.float64]
SHOWN_CHARACTERS = 200


class PluginChangedError(TransientError):
    """The code of a plug-in is not what it was when the step was planned."""

    def __init__(self, plugin: Plugin) -> None:
        super().__init__(f"{plugin.title}: its code changed while the run went on; run it again")


class PluginFailedError(PluginError):
    """A plug-in raised an error that is not about a single document."""


class WrongAnswerError(PluginError):
    """The answer of a plug-in is not a number for each document."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error that a plug-in raised on one document: its class, and the line of the plug-in's code."""

    name: str
    place: str


class _Loader(importlib.abc.InspectLoader):
    """Loader of the modules of a plug-in from bytes that its digest covers."""

    def __init__(self, modules: Mapping[str, tuple[Module, bytes]]) -> None:
        self._modules = modules

    def is_package(self, fullname: str) -> bool:
        return self._modules[fullname][0].is_package

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._modules[fullname][1])

    def get_code(self, fullname: str) -> CodeType:
        module, content = self._modules[fullname]
        return compile(content, str(module.path or fullname), "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finder of the modules of one plug-in, before those of installed packages."""

    def __init__(self, modules: Mapping[str, tuple[Module, bytes]]) -> None:
        self._modules, self._loader = modules, _Loader(modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._modules:
            return None
        module = self._modules[fullname][0]
        spec = importlib.util.spec_from_loader(
            fullname, self._loader, origin=str(module.path), is_package=module.is_package
        )
        assert spec is not None
        spec.has_location = module.path is not None
        return spec


@contextlib.contextmanager
def opened(plugin: Plugin) -> Iterator[Callable[..., Any]]:
    """Import a plug-in and give its function; its modules leave the process afterwards.

    The bytes that run are those that the digest was taken of. Raises `PluginChangedError` where the files
    differ from that digest, and `PluginFailedError` where the import raises.
    """
    origin = plugin.origin
    if origin.module:  # installed: imported as any package is
        module = _imported(plugin, lambda: importlib.import_module(origin.module))
        yield _function(plugin, module)
        return
    content = content_of(origin.file)
    modules = {name: (one, content_of(one.path) if one.path else b"") for name, one in origin.modules.items()}
    if digest_of(content, {name: held for name, (_module, held) in modules.items()}) != origin.digest:
        raise PluginChangedError(plugin)
    name = f"tamis_plugin_{origin.digest[:16]}"
    before = {key: sys.modules.pop(key) for key in modules if key in sys.modules}
    finder = _Finder(modules)
    sys.meta_path.insert(0, finder)
    try:
        yield _function(plugin, _imported(plugin, lambda: _executed(name, plugin, content)))
    finally:
        sys.meta_path.remove(finder)
        for key in (name, *modules):
            sys.modules.pop(key, None)
        sys.modules.update(before)


def _executed(name: str, plugin: Plugin, content: bytes) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = str(plugin.origin.file)
    sys.modules[name] = module  # data classes look for their module there
    exec(compile(content, str(plugin.origin.file), "exec", dont_inherit=True), vars(module))
    return module


def _imported(plugin: Plugin, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        with _one_process():
            return load()
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:SHOWN_CHARACTERS]
        raised = f"{type(error).__name__}{f': {said}' if said else ''}"
        raise PluginFailedError(
            f"plug-in {plugin.name}: importing {_place(plugin, error)} raised {raised}"
        ) from None


def _function(plugin: Plugin, module: ModuleType) -> Callable[..., Any]:
    function = getattr(module, plugin.function, None)
    if not callable(function):
        raise PluginFailedError(f"{plugin.title}: after the import {plugin.function} is no function")
    return function


def _place(plugin: Plugin, error: BaseException) -> str:
    """Return file and line of the plug-in's own code in which an error was raised."""
    origin = plugin.origin
    own = {str(origin.file): origin.shown}
    own |= {str(one.path): one.path.name for one in origin.modules.values() if one.path}
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename in own]
    if isinstance(error, SyntaxError) and error.filename in own:
        return f"{own[error.filename]}, line {error.lineno}"
    return f"{own[frames[-1].filename]}, line {frames[-1].lineno}" if frames else origin.shown


def scores_of(
    plugin: Plugin, function: Callable[..., Any], texts: Sequence[str]
) -> tuple[Answers, dict[int, Failure]]:
    """Return the answers [n] for texts, NaN for no value, and by position the texts on which it failed.

    A batch that raises is halved until the texts at fault are alone. Raises `WrongAnswerError`, and errors of
    memory and network as they are.
    """
    answer_n = np.full(len(texts), np.nan)
    failures: dict[int, Failure] = {}
    pending = [range(len(texts))] if texts else []
    while pending:
        part = pending.pop()
        try:
            with _one_process():
                answered = function([texts[place] for place in part])
        except (Exception, SystemExit) as error:
            if _of_the_machine(error):
                raise
            if len(part) == 1:
                failures[part[0]] = Failure(name=type(error).__name__, place=_place(plugin, error))
                continue
        else:
            answer_n[part.start : part.stop] = numbers(plugin, answered, len(part))
            continue
        middle = part.start + len(part) // 2
        pending += [range(middle, part.stop), range(part.start, middle)]
    return answer_n, failures


def ranks_of(plugin: Plugin, function: Callable[..., Any], count: int, *given: object) -> Answers:
    """Return the answers [n] of a sampler for `count` documents, NaN for no value.

    Raises `PluginFailedError`, `WrongAnswerError`, and errors of memory and network as they are.
    """
    try:
        with _one_process():
            answered = function(*given)
    except (Exception, SystemExit) as error:
        if _of_the_machine(error):
            raise
        raised = f"{type(error).__name__} ({_place(plugin, error)})"
    else:
        return numbers(plugin, answered, count)
    raise PluginFailedError(f"plug-in {plugin.name} failed with {raised}")


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """End a copy of this process that code of a plug-in made by a fork and left running.

    The copy would otherwise go on with the step, and write its results a second time.
    """
    own = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != own:
            os._exit(0)


def numbers(plugin: Plugin, answered: object, count: int) -> Answers:
    """Return what a plug-in answered as numbers [count]; NaN for None, NaN and infinities.

    Raises `WrongAnswerError` where it is of another length or shape, or holds anything but numbers.
    """
    values: list[Any] | None = None
    if not isinstance(answered, str | bytes | Mapping | Set):  # a set has an order of its own
        with contextlib.suppress(Exception):  # of code of the plug-in: its text may quote a document
            len(answered)  # type: ignore[arg-type]
            values = list(answered)  # type: ignore[call-overload]
    if values is None:
        raise WrongAnswerError(
            f"{plugin.title} returned {_kind(answered)}; expected a list or array with a number for each of "
            f"{count:,} documents"
        )
    if len(values) != count:
        raise WrongAnswerError(
            f"{plugin.title} returned {counted(len(values), 'answer')} for {counted(count, 'document')}"
        )
    found_n = np.full(count, np.nan)
    for place, value in enumerate(values):
        number = _number(value)
        if number is None:
            raise WrongAnswerError(
                f"{plugin.title} returned {_kind(value)} as answer {place + 1:,} of {count:,}; expected a "
                "number, or None for no value"
            )
        found_n[place] = number
    found_n[~np.isfinite(found_n)] = np.nan
    return found_n


def _number(value: Any) -> float | None:
    """Return an answer as a number, NaN for None; None for what is no number."""
    if value is None:
        return np.nan
    if isinstance(value, np.complexfloating | np.timedelta64 | np.character):
        return None
    if not isinstance(value, int | float) and not (
        getattr(value, "shape", None) == () and hasattr(value, "__float__")  # a scalar, as of torch
    ):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number over 1.8e308
        return np.inf
    except Exception:  # of code of the plug-in: its text may quote a document
        return None


def _kind(value: object) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")


def _of_the_machine(error: BaseException) -> bool:
    """Return whether memory or network is at fault, and no document."""
    return out_of_memory(error) or isinstance(error, TransientError | ConnectionError | TimeoutError)
