"""What `tamis ui` notes in the home: where it serves Dagster's UI, and what each sensor said last.

Commands and pages read it without Dagster, whose own record of ticks takes seconds to open.
"""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tamis.base.files import whole_file, write_atomically
from tamis.base.numbers import brief
from tamis.base.processes import lives, this_process
from tamis.store.home import Home, writer

NOTE = "webserver.json"
SENSORS = ("arrivals", "reselection", "trial_budget")
AT_REST = ("", "no changes", "every selection is current")
"""What sensors say that have nothing to do."""
RUN_GOES_ON = "a run is in progress"


@dataclass(frozen=True, kw_only=True)
class Served:
    """Where a process of this machine serves the UI; `process` is named as `this_process` does."""

    host: str
    port: int
    process: str

    @property
    def number(self) -> int:
        """Return the id of the process."""
        return int(self.process.rsplit(":", 2)[1])

    @property
    def began(self) -> float:
        """Return when the process began, in seconds of the epoch."""
        return float(self.process.rsplit(":", 2)[2])

    @property
    def url(self) -> str:
        """Return the address of Dagster's UI."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a sensor said at its last tick; `working`: it asked for a run, or waits for one that goes on.

    `asked`: what it last asked a run for, "" for nothing yet.
    """

    text: str
    at: float
    working: bool
    asked: str = ""


def note_served(home: Home, host: str, port: int) -> str:
    """Note that this process serves the UI; return the note."""
    note = json.dumps(asdict(Served(host=host, port=port, process=this_process())))
    write_atomically(home.dagster / NOTE, note.encode())
    return note


def served(home: Home) -> Served | None:
    """Return where a process of this machine that still lives serves the UI, None for nowhere."""
    try:
        found = Served(**json.loads((home.dagster / NOTE).read_text()))
        return found if lives(found.process) and found.number else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # no note, or a damaged one
        return None


def note_said(home: Home, sensor: str, text: str, *, asked: bool, working: bool) -> None:
    """Note what a sensor says, unless it said so before; what cannot be written is not noted.

    `asked`: the text says what it asks a run for.
    """
    path, before = _note_of(home, sensor), said_by(home, sensor)
    serving = served(home)
    current = before is not None and (serving is None or before.at >= serving.began)
    if current and before is not None and (before.text, before.working) == (text, working):
        return
    earlier = before.asked if current and before is not None else ""
    said = Said(text=text, at=time.time(), working=working, asked=text if asked else earlier)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, flushed=False) as draft:
            draft.write_text(json.dumps(asdict(said)))


def said_by(home: Home, sensor: str) -> Said | None:
    """Return what a sensor said last, None where it has said nothing."""
    try:
        return Said(**json.loads(_note_of(home, sensor).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _note_of(home: Home, sensor: str) -> Path:
    return home.cache / "sensors" / f"{sensor}.json"


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Where `tamis ui` runs, what its sensors do, a line each, and whether they are at work."""

    ui: Served
    lines: list[str]
    working: bool

    @property
    def sentence(self) -> str:
        """Say in a line what the sensors do."""
        state = "are at work on them" if self.working else "said at their last look"
        return f"the sensors of `tamis ui` (process {self.ui.number}) {state}: {'; '.join(self.lines)}"

    def to_json(self) -> dict[str, Any]:
        """Return the activity as JSON values."""
        return {"process": self.ui.number, "ui": self.ui.url, "working": self.working, "sensors": self.lines}


def activity(home: Home) -> Activity | None:
    """Return what the sensors of `tamis ui` do; None where it does not run for this home on this machine."""
    if (ui := served(home)) is None:
        return None
    said = {name: one for name in SENSORS if (one := said_by(home, name)) and one.at >= ui.began}
    lines = [line for one in said.values() if (line := _line(one))]
    begun = {"arrivals", "reselection"} <= said.keys()
    if not begun:
        lines.append("they look at files and settings for the first time within a minute of the start")
    return Activity(
        ui=ui,
        lines=lines or ["everything that they look after is current"],
        working=not begun or any(one.working for one in said.values()),
    )


def what_next(home: Home) -> str:
    """Return what brings values that are due up to date: what is at work now, or the command."""
    found = activity(home)
    if found is None:
        holder = writer(home)
        return f"; {holder} is writing" if holder else ", `tamis materialize` brings them up to date"
    return f"; {found.sentence}" if found.working else f", `tamis materialize` does it now; {found.sentence}"


def _line(said: Said) -> str:
    """Return what a sensor does, "" for nothing."""
    if said.text in AT_REST:
        return ""
    if said.text.startswith(RUN_GOES_ON) and said.asked:
        return f"a run has been in progress for {brief(max(time.time() - said.at, 0.0))}, {said.asked}"
    return said.text
