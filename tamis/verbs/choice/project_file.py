"""A tamis.toml as it is written: the template, also for files at hand, or the choice of `tamis select`."""

import contextlib
import json
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tamis.base.files import write_atomically
from tamis.base.progress import complain
from tamis.settings.config import PROJECT_FILE, parse_settings
from tamis.verbs.choice.choose_files import parsed, read_examples, sizes_of
from tamis.verbs.choice.first_rows import other_than_prose, suggested, suggested_sizes
from tamis.verbs.choice.from_files import (
    GOAL,
    LINKS,
    Call,
    Place,
    PoolError,
    sections_of,
    streams_of,
    with_sizes,
)

HEADING = """\
# The choice of `tamis select` from the same files, as a project: `tamis materialize` makes it, keeps it
# current and can prove it; `tamis export chosen` writes it. docs/settings.md has every key, with its default.
"""
LOOKED_AT = """\
# A Tamis project: which of your documents to train on, and why. `tamis init` looked at the first rows of the
# files and wrote where their texts are. Paths are relative to this file.
# This is what you have to decide; docs/settings.md has every other key, with its default.

"""


def template(name: str) -> str:
    """Return the commented tamis.toml of a new project."""
    text = (files("tamis") / "templates" / PROJECT_FILE).read_text("utf-8")
    return text.replace('name = "tamis"', f'name = "{name}"', 1)


def write_project(call: Call, name: str, folder: Path) -> Path:
    """Write the tamis.toml of a call into a folder and return its path; paths below the folder are relative.

    Examples in several files are linked from the folder `examples`. Raises as `select_files` does.
    """
    _require_files(call)
    with _without_links_on_error(folder):
        return _written(call, name, folder)


def write_for_files(call: Call, name: str, folder: Path) -> Sequence[str]:
    """Write the template with the pool and target of a call, as their first rows suggest.

    Returns what was seen, in sentences; complains of what may be a mistake. Raises as `write_project` does.
    """
    _require_files(call)
    with _without_links_on_error(folder):
        found = suggested(sections_of(call, Place(folder=folder, root=folder)), call, folder)
        path = folder / PROJECT_FILE
        settings = parse_settings(with_sizes(found.values, {GOAL: (1, 0)}), str(path))
        read = read_examples(settings, folder)
        sizes = suggested_sizes(settings, read, call)
        values = with_sizes(found.values, sizes)
        text = template(name)
        for section in ("corpus", "target"):
            tables = "".join(_tables({section: values[section]})).lstrip()
            before, header, rest = text.partition(f"[[{section}]]\n")
            assert header
            text = before + tables + rest[rest.index("\n\n") + 1 :]
        text = LOOKED_AT + text[text.index("[project]") :]
        parse_settings(tomllib.loads(text), str(path))
        write_atomically(path, text.encode())
    for line in other_than_prose(found.texts, read[GOAL].examples["text"].to_list()):
        complain(line)
    train, held_out = sizes[GOAL]
    without = "" if held_out else ", so that no model is measured on the target"
    return [*found.lines, f"target {GOAL}: train = {train}, held_out = {held_out}{without}"]


def _require_files(call: Call) -> None:
    if streams_of(call):
        raise PoolError("a project reads files; save standard input and pipes to files, and name these")


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
