"""What goes on in a project while `tamis ui` runs: what its sensors do or wait for, as the home notes it."""

import time
from dataclasses import dataclass
from typing import Any

from tamis.base.numbers import brief
from tamis.store.home import Home, writer
from tamis.store.served import Said, Served, said_by, served

SENSORS = ("arrivals", "reselection", "trial_budget")
AT_REST = ("", "no changes", "every selection is current")
"""What sensors say that have nothing to do."""
RUN_GOES_ON = "a run is in progress"


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
    working = not begun or any(one.working for one in said.values())
    return Activity(ui=ui, lines=lines or ["everything that they look after is current"], working=working)


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
        lasted = brief(max(time.time() - said.at, 0.0))
        return f"a run has been in progress for {lasted}, {said.asked}"
    return said.text
