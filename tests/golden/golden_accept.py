"""Note the digests of the code, once the goldens hold or the commit names the values that change and why.

    make accept

Each golden's project is built and compared first. A value that differs must be named by an entry of
changes.toml that the last commit does not hold; then the golden gets it, and the digests are noted.
Compared is the golden of the last commit: files of it that were changed since count for nothing.
Otherwise what differs is listed, the exit code is 1, and no file is changed.
"""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import content as reading
import golden_projects
import golden_storing
from golden_compare import ROW, Difference, Golden, differences, report

CHECKOUT = Path(__file__).resolve().parents[2]
CHANGES = "changes.toml"
FEWEST_WORDS = 4  # of a reason


class UnreadableChangesError(ValueError):
    """An entry of changes.toml that does not say which values change, when or why."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the goldens are in a checkout, and where the digests of its code are noted."""

    checkout: Path
    goldens: Path
    digests: Path


HERE = Place(
    checkout=CHECKOUT,
    goldens=Path(__file__).resolve().parent,
    digests=CHECKOUT / "tests" / "graph" / "code_digests.json",
)


def accept(
    place: Place,
    names: Iterable[str],
    made: Callable[[str], Golden],
    digests: Callable[[], dict[str, Any]],
    say: Callable[[str], object] = print,
) -> int:
    """Compare each golden with what `made` gives, then note `digests()`; returns the exit code."""
    patterns = new_patterns(place)
    rewritten: dict[str, Golden] = {}
    refused = False
    for name in names:
        wanted, found = committed(place, name) or golden_storing.read(place.goldens / name), made(name)
        differing = differences(wanted, found)
        unnamed = [one for one in differing if not _is_named(f"{name}: {one.value}", patterns)]
        if unnamed:
            refused = True
            say(report(name, wanted, found, unnamed))
        elif differing:
            values = ", ".join(sorted({one.value for one in differing}))
            say(f"{name}: these differ, as {CHANGES} says: {values}")
            rewritten[name] = merged(wanted, found, differing)
        else:
            say(f"{name}: everything is as in the golden")
    if refused:
        say(
            "refused, and nothing was noted: name these values and the reason in a new entry of "
            f"tests/golden/{CHANGES}, or mend the code"
        )
        return 1
    for name, golden in rewritten.items():
        golden_storing.write(place.goldens / name, golden)
    place.digests.write_text(json.dumps(digests(), indent=1, sort_keys=True) + "\n")
    say(f"noted the digests of the code in {place.digests.name}")
    return 0


def new_patterns(place: Place) -> list[str]:
    """Values named by the entries of changes.toml that the last commit does not hold.

    Raises `UnreadableChangesError` for an entry that is not complete.
    """
    path = place.goldens / CHANGES
    if not path.is_file():
        raise UnreadableChangesError(f"{path} is gone; restore it, with no entry if nothing changes")
    now = entries(path.read_text())
    inside = path.relative_to(place.checkout).as_posix()
    last = _git(place.checkout, "show", f"HEAD:./{inside}")
    if last.returncode:
        raise UnreadableChangesError(
            f"{place.checkout} has no commit with {CHANGES}, so no entry can be new; commit it first"
        )
    before = entries(last.stdout.decode())
    return [value for entry in now if entry not in before for value in entry["values"]]


def entries(text: str) -> list[dict[str, Any]]:
    """The entries of changes.toml; raises `UnreadableChangesError` for one that is not complete."""
    try:
        found = tomllib.loads(text).get("change", [])
    except tomllib.TOMLDecodeError as error:
        raise UnreadableChangesError(f"{CHANGES} is no TOML: {error}") from error
    for entry in found:
        if set(entry) != {"date", "values", "why"} or not entry["values"]:
            raise UnreadableChangesError(f"{CHANGES}: an entry has date, values and why, not {entry}")
        if not (isinstance(entry["values"], list) and all(isinstance(one, str) for one in entry["values"])):
            raise UnreadableChangesError(f"{CHANGES}: values are a list of texts, not {entry['values']!r}")
        if len(str(entry["why"]).split()) < FEWEST_WORDS:
            raise UnreadableChangesError(f"{CHANGES}: {entry['why']!r} says too little of why values change")
    return found


def committed(place: Place, name: str) -> Golden | None:
    """The golden as the last commit holds it; None where that has none of the name."""
    inside = (place.goldens / name).relative_to(place.checkout).as_posix()
    archive = _git(place.checkout, "archive", "--format=tar", "HEAD", f"./{inside}")
    if archive.returncode:
        return None
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(scratch, filter="data")
        folder = Path(scratch) / inside
        return golden_storing.read(folder) if (folder / golden_storing.ABOUT).exists() else None


def _git(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, check=False)


def _is_named(value: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)


def merged(wanted: Golden, found: Golden, differing: list[Difference]) -> Golden:
    """The golden with the differing fields of what was found, and whole tables where rows came or went.

    On a machine of another kind it is what was found: numbers of two kinds in one golden would hold on
    neither.
    """
    if wanted.machine != found.machine:
        return found
    content = dict(wanted.content)
    for table in {one.table for one in differing}:
        fields = {one.field for one in differing if one.table == table}
        if table not in found.content:
            del content[table]
        elif ROW in fields:
            content[table] = found.content[table]
        else:
            frame = found.content[table]
            content[table] = content[table].with_columns(frame[name] for name in sorted(fields))
    for table, frame in content.items():
        # Fields that are read since, and hold nothing.
        lacking = [name for name in found.content[table].columns if name not in frame.columns]
        content[table] = frame.with_columns(found.content[table][name] for name in lacking)
    return Golden(content=content, machine=wanted.machine, packages=found.packages)


def write(place: Place, name: str, found: Golden, say: Callable[[str], object] = print) -> int:
    """Store a golden that is new, or whose differences new entries of changes.toml name; the exit code."""
    folder = place.goldens / name
    wanted = committed(place, name)
    if wanted is None and (folder / golden_storing.ABOUT).exists():
        wanted = golden_storing.read(folder)
    if wanted is not None:
        patterns = new_patterns(place)
        differing = differences(wanted, found)
        if unnamed := [one for one in differing if not _is_named(f"{name}: {one.value}", patterns)]:
            say(report(name, wanted, found, unnamed))
            say(f"refused: name these values and the reason in a new entry of tests/golden/{CHANGES}")
            return 1
    golden_storing.write(folder, found)
    return 0


def main() -> int:
    """Accept what this checkout is now."""
    sys.path.insert(0, str(CHECKOUT / "tests" / "graph"))
    from test_graph_code_versions import code_now

    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:

        def made(name: str) -> Golden:
            root = Path(scratch) / name
            print(f"building the project of {name} (about a minute)", flush=True)
            golden_projects.build(name, root)
            return golden_projects.content_of(root)

        try:
            return accept(HERE, reading.GOLDENS, made, code_now)
        except UnreadableChangesError as error:
            print(error)
            return 1


if __name__ == "__main__":
    sys.exit(main())
