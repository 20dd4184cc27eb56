"""A tamis.toml written from values: the project that makes the choice of `tamis select`."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tamis.base.files import write_atomically
from tamis.settings.config import PROJECT_FILE
from tamis.verbs.choose_files import parsed, read_examples, sizes_of
from tamis.verbs.from_files import LINKS, Call, Place, PoolError, sections_of, streams_of, with_sizes

HEADING = """\
# The choice of `tamis select` from the same files, as a project: `tamis materialize` makes it, keeps it
# current and can prove it; `tamis export chosen` writes it. docs/settings.md has every key, with its default.
"""


def write_project(call: Call, name: str, folder: Path) -> Path:
    """Write the tamis.toml of a call into a folder and return its path; paths below the folder are relative.

    Examples in several files are linked from the folder `examples`. Raises as `select_files` does.
    """
    if streams_of(call):
        raise PoolError("a project reads files; save standard input and pipes to files, and name these")
    with _without_links_on_error(folder):
        return _written(call, name, folder)


@contextlib.contextmanager
def _without_links_on_error(folder: Path) -> Iterator[None]:
    """Remove the links to examples, and the folder if it is new, where no project is written.

    What was there before stays: a user's own folder may have the name of the links.
    """
    is_new, links = not folder.exists(), folder / LINKS
    had_links = links.is_dir()
    before = {*links.iterdir()} if had_links else set()
    try:
        yield
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        elif links.is_dir():
            for made in {*links.iterdir()} - before:
                shutil.rmtree(made, ignore_errors=True)
            if not had_links:
                links.rmdir()
        raise


def _written(call: Call, name: str, folder: Path) -> Path:
    values = sections_of(call, Place(folder=folder, root=folder))
    values["project"] = {"name": name} | values["project"]
    once = with_sizes(values, {one["name"]: (1, 0) for one in values["target"]})
    settings = parsed(once)
    values = with_sizes(values, sizes_of(settings, read_examples(settings, folder), call.hold_out))
    parsed(values)
    path = folder / PROJECT_FILE
    write_atomically(path, (HEADING + "".join(_tables(values))).encode())
    return path


def _tables(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of a TOML document of scalars, lists of them, and flat tables within."""
    for name, value in values.items():
        several = isinstance(value, list)
        for table in value if several else [value]:
            yield f"\n[[{name}]]\n" if several else f"\n[{name}]\n"
            for key, one in table.items():
                yield f"{key} = {json.dumps(one, ensure_ascii=False)}\n"
