"""Files of the project that make up a command of tamis.toml: those that it names, and what these import."""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from tamis.base.files import content_digest
from tamis.base.trust import Consent
from tamis.plugins.imports import imported_modules, names_in_file

PYTHON = ".py"


def command_files(command: Sequence[str], root: Path) -> dict[str, str]:
    """Return the SHA-256 of the files below `root`, the project's folder, that a command runs, by path.

    They are the files that its words name, also as `--option=FILE` or as a module after `-m`, and the modules
    of the project that these import, where Python looks for them: next to a script, or after `-m` in `root`.
    A link to a file elsewhere counts, with that file's content, and not what that file imports.
    Programs that a script starts, and modules that are named at run time alone, are not seen.
    """
    root = root.resolve()
    inside = {place for path in _files(command, root) if (place := _place_below(root, path))}
    digests = {path.relative_to(root).as_posix(): content_digest(path) for path in inside}
    return dict(sorted(digests.items()))


def _files(command: Sequence[str], root: Path) -> Iterator[Path]:
    for word in command:
        for name in (word, word.partition("=")[2]):
            path = root / name if name and "\0" not in name else root
            if _place_below(root, path) and path.is_file():
                yield path
                script = path.resolve()
                if script.suffix == PYTHON:
                    yield from _modules(names_in_file(script), script.parent)
    for option, name in pairwise(command):
        if option == "-m":
            yield from _modules((name, f"{name}.__main__"), root)


def _modules(names: Sequence[str], folder: Path) -> Iterator[Path]:
    modules = imported_modules(names, (folder,))
    yield from (module.path for module in modules.values() if module.path is not None)


def _place_below(root: Path, path: Path) -> Path | None:
    """Return where a file is below `root`: at the end of its links, or as a link to a file elsewhere."""
    return next(
        (one for one in (path.resolve(), Path(os.path.normpath(path))) if one.is_relative_to(root)), None
    )


def run_consent(key: str, file: Path, command: Sequence[str], root: Path) -> Consent:
    """Return what a person accepts so that a command of tamis.toml, of this key, may run.

    `file`: tamis.toml. Another command, or another content of one of its files, is another consent.
    """
    digests = command_files(command, root)
    files = ", ".join(f"{name} (SHA-256 {digest[:16]})" for name, digest in digests.items())
    effect = f"runs `{shlex.join(command)}` on this machine, as the command of {key}"
    content = json.dumps([list(command), digests]).encode()
    return Consent.of(file, f"{effect}, with {files}" if files else effect, content)
