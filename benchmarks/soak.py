"""The interface under a script of accidents, and what is left afterwards: JSON lines on stdout.

    python -m benchmarks.soak --minutes 10
    python -m benchmarks.soak --minutes 3 --seed 7 --home kept    # repeat a failure and keep what it left

`tamis ui` runs over a small project of generated texts on a free port of the loopback address. By a script
that the seed draws, files arrive, change and disappear (one at a time), are cut off or get bad rows,
documents are withdrawn, budgets change, and processes of runs are killed with SIGKILL. Then the sensors are
left to come to rest, the interface ends, `tamis materialize` settles everything, and the checks begin:

- rest: the sensors come to rest within --settle-minutes, and no long-lived process died or was replaced;
- pool: every document of every readable file is there, none twice, nothing else is, each with its own text;
- quarantine: each bad row and each broken file has an entry;
- withdrawn: no byte under the home shows a withdrawn text, tables in all their versions included;
- decisions: one verdict on each document of the pool, and the budget is spent;
- status, audit: nothing is due, failed or damaged; `tamis audit` is green;
- rebuild: the tables equal those of a new home with the same files, settings and withdrawals;
- failures: no run failed but those that were killed, and the interface printed no other error;
- unanswered: the UI's page, a query of its asset page, the pages' index, a selection's page and its map, one
  of which is asked for every two seconds, were always answered;
- answers: when idle each within 1 s, during a run 95 % within 3 s. There is no run in the last minute and a
  half, which begins when the sensors rest. A withdrawal and a count of the disk by the soak count as a run;
- growth: the memory of each long-lived process, at the end of the events over that after half their time, is
  under 1.1 (medians of a sixth of the samples between);
- disk: the bytes for each live document after compaction (_soak_disk.py says what is counted), at the end of
  the events over those at half their time, are under 1.1 times as many;
- disk_of_rebuild: the settled home takes under 1.1 times what the rebuilt one does. As the pool grows, what a
  home takes without any document is spread over more of them, and could hide what was left over from `disk`.

A line every --every seconds has memory, descriptors and threads of each long-lived process by its id, and the
disk of the home as it is. Under 20 minutes answers, growth and disk are figures alone: "too short to judge",
and `holds` is null. Exits 1 when a check fails. It ends by itself after --minutes, --settle-minutes at most,
a minute and a half, and two builds; all processes end with it.
"""

import argparse
import json
import math
import shutil
import signal
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks._flags import begin
from benchmarks._project import in_its_folder
from benchmarks._soak_answers import asking
from benchmarks._soak_checks import OF_FILES, Tables, audit, rebuild, status
from benchmarks._soak_disk import Count, count, folders_of
from benchmarks._soak_limits import Found, answers, disk, disk_of_rebuild, failures, growth, unanswered
from benchmarks._soak_processes import CURRENT, ROLES, Interface, Paths, SoakError, figures_of, interface
from benchmarks._soak_project import KINDS, Landing
from benchmarks._yardstick import most_seconds

GAPS = (2.0, 5.0, 12.0, 30.0)
RUN_APPEARS_SECONDS, LIVES_SECONDS, WITHDRAW_SECONDS = 60.0, 4.0, 120.0
QUIET_SECONDS = 90.0
IDLE_SECONDS, DURING_A_RUN_SECONDS = 1.0, 3.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says; `cache`: an encoder to begin with, so that none is distilled."""

    minutes: float
    settle_minutes: float = 10.0
    seed: int = 0
    every: float = 10.0
    cache: Path | None = None


@dataclass
class Report:
    """Prints JSON lines with the second at which they were written, and remembers which checks failed."""

    began: float = field(default_factory=time.monotonic)
    failed: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)

    @property
    def second(self) -> float:
        return round(time.monotonic() - self.began, 1)

    def line(self, part: str, **figures: Any) -> None:
        """Print one line, whole: the series is written by a thread."""
        line = json.dumps({"benchmark": "soak", "part": part, "second": self.second, **figures})
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def check(self, name: str, look: Callable[[], Found]) -> None:
        """Print whether a check holds, with its figures; one that cannot be made does not hold.

        None, for what cannot be judged, counts neither as holding nor as failed.
        """
        holds: bool | None
        try:
            holds, figures = look()
        except Exception as error:  # a damaged table must not hide what the other checks find
            traceback.print_exc()
            holds, figures = False, {"error": f"{type(error).__name__}: {error}"[:500]}
        if not holds:
            (self.unjudged if holds is None else self.failed).append(name)
        self.line("check", check=name, holds=holds, **figures)

    def refuse(self, name: str, **figures: Any) -> None:
        """Print that something did not hold."""
        self.check(name, lambda: (False, figures))


@dataclass
class Series:
    """Memory and descriptors of the long-lived processes, and the disk of the home as it is."""

    ui: Interface
    report: Report
    every: float
    samples: list[dict[str, Any]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def sample(self) -> None:
        """Take and print one line of the series."""
        processes = {}
        for role, process in self.ui.long_lived().items():
            with suppress(psutil.Error):
                processes[role] = figures_of(process)
        self.samples.append({"second": self.report.second, "processes": processes})
        folders = {name: round(size / 1e6, 2) for name, size in folders_of(self.ui.paths.home).items()}
        self.report.line("series", processes=processes, folders_megabytes=folders)

    def replaced(self) -> list[str]:
        """Return which long-lived processes did not keep one id from the first sample to the last."""
        ids = [{role: one["pid"] for role, one in found["processes"].items()} for found in self.samples]
        return sorted(
            {role for found in ids for role in {*found, *ids[0]} if found.get(role) != ids[0].get(role)}
        )


@contextmanager
def series(ui: Interface, report: Report, every: float) -> Iterator[Series]:
    """Sample in a thread, once at the beginning and once at the end."""
    found = Series(ui, report, every)
    found.sample()

    def repeat() -> None:
        while not found.ended.wait(every):
            found.sample()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.ended.set()
        thread.join()
    found.sample()


def events(
    options: Options, landing: Landing, ui: Interface, report: Report, at_half: Callable[[], None]
) -> dict[str, int]:
    """Let one event after another happen until the time is over; how often each did.

    A kill for which no run appeared did not happen. `at_half` is called between two events, once.
    """
    began = time.monotonic()
    half, ends = began + 30 * options.minutes, began + 60 * options.minutes
    mean = statistics.mean(GAPS)
    shorter = min(1.0, 60 * options.minutes / (2 * len(KINDS) * mean))
    counts, number = dict.fromkeys(KINDS, 0), 0
    while True:
        for kind in landing.chance.sample(KINDS, len(KINDS)):
            time.sleep(max(0.0, min(shorter * landing.chance.choice(GAPS), ends - time.monotonic())))
            if time.monotonic() >= half:
                at_half()
                half = math.inf
            if time.monotonic() >= ends:
                return counts
            if kind == "withdraw":
                figures = withdraw(landing, ui, report)
            elif kind == "kill":
                figures = kill(landing, ui)
            else:
                figures = landing.happen(kind)
            counts[kind] += figures.get("killed", kind) is not None
            report.line("event", number=number, event=kind, **figures)
            number += 1


def withdraw(landing: Landing, ui: Interface, report: Report) -> dict[str, object]:
    """Withdraw a document by the command, again while a run holds the lock."""
    doc_id, tries = landing.to_withdraw(), 0
    ends = time.monotonic() + WITHDRAW_SECONDS
    while True:
        with ui.commanded():
            done = ui.paths.tamis("withdraw", doc_id, "--reason", "copyright", "--json")
        tries += 1
        if done.returncode == 0:
            landing.withdrawn.add(doc_id)
            return {"doc_id": doc_id, "tries": tries}
        if time.monotonic() > ends:
            said = (done.stderr or done.stdout)[-500:]
            report.refuse("withdraw", doc_id=doc_id, tries=tries, said=said)
            return {"doc_id": doc_id, "refused": True}
        time.sleep(2)


def kill(landing: Landing, ui: Interface) -> dict[str, object]:
    """Let a file arrive and kill a run at a drawn moment: the one in progress, or else the next."""
    figures, later = landing.happen("arrive"), landing.chance.uniform(0, LIVES_SECONDS)
    ends = time.monotonic() + RUN_APPEARS_SECONDS
    while time.monotonic() < ends:
        for process in ui.runs():
            time.sleep(later)
            with suppress(psutil.Error, OSError):
                begun = ui.begun_runs()  # none, where the process is just ending
                age = round(time.time() - process.create_time(), 1)
                process.kill()
                ui.killed_runs |= begun
                return {**figures, "killed": process.pid, "age": age, "runs": sorted(begun)}
        time.sleep(0.1)
    return {**figures, "killed": None}


def rest(options: Options, ui: Interface, report: Report) -> tuple[bool, dict[str, Any]]:
    """Wait until the sensors have nothing left to do; whether they came to that within the limit."""
    limit = most_seconds(60 * options.settle_minutes, "process")
    began, since = time.monotonic(), time.time()
    rests, reason = ui.rests(since)
    while not rests and time.monotonic() - began < limit.here:
        time.sleep(2)
        rests, reason = ui.rests(since)
    figures = {"seconds": round(time.monotonic() - began, 1), "said": reason, **limit.figures()}
    return rests and CURRENT in reason, figures


def soaked(options: Options, landing: Landing, paths: Paths, report: Report) -> dict[str, int]:
    """The part with the interface, and the checks of what it did; how often each event happened."""
    counted: list[Count] = []

    def count_disk() -> None:
        with ui.commanded():
            counted.append(count(paths))
        report.line("disk", of="the home, at work", **counted[-1].figures())

    with (
        interface(paths) as ui,
        series(ui, report, options.every) as found,
        asking(ui, report.line, lambda: report.second) as asked,
    ):
        counts = events(options, landing, ui, report, count_disk)
        during = [*found.samples]
        count_disk()
        rested, figures = rest(options, ui, report)
        if rested:
            asked.settled.set()
            time.sleep(min(QUIET_SECONDS, 15 * options.minutes))
        failed, addresses = ui.failed_runs(), sorted(ui.listens_at())
        of_all = {*asked.addresses()}
    replaced = found.replaced()
    report.check("rest", lambda: (rested and not replaced, {**figures, "replaced": replaced}))
    report.check("loopback", lambda: ({*addresses} <= {"127.0.0.1", "::1"}, {"listens_at": addresses}))
    report.check("failures", lambda: failures(failed, ui.killed_runs, ui.tail(10**8)))
    report.check("unanswered", lambda: unanswered(asked.answers, of_all))
    idle, during_a_run = (most_seconds(one, "core") for one in (IDLE_SECONDS, DURING_A_RUN_SECONDS))
    report.check("answers", lambda: answers(asked.answers, options.minutes, idle, during_a_run))
    report.check("growth", lambda: growth(during, options.minutes, ROLES.values()))
    report.check("disk", lambda: disk(counted[0], counted[-1], options.minutes))
    return counts


def materialize(paths: Paths, report: Report, part: str) -> None:
    """Run `tamis materialize`; its exit code says of quarantine, too, so `status` judges what failed."""
    began = time.monotonic()
    done = paths.tamis("materialize")
    said = {"exit_code": done.returncode, "said": done.stderr.strip().splitlines()[-1:]}
    report.line(part, seconds=round(time.monotonic() - began, 1), **said)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        report.refuse(part, said=done.stderr[-2_000:])


def soak(options: Options, folder: Path) -> bool:
    """Soak a project in a folder; whether every check holds."""
    report, landing = Report(), Landing(folder, options.seed)
    paths, rebuilt = Paths(folder, folder / ".tamis"), Paths(folder, folder / "rebuilt")
    landing.lay()
    if options.cache is not None:
        for home in (paths.home, rebuilt.home):
            shutil.copytree(options.cache, home / "cache")
    report.line("begin", seed=options.seed, minutes=options.minutes, folder=str(folder))
    materialize(paths, report, "first_build")
    counts = soaked(options, landing, paths, report)
    materialize(paths, report, "settled")
    for name, check in OF_FILES.items():
        report.check(name, partial(check, Tables(paths.home), landing))
    report.check("status", partial(status, paths))
    report.check("audit", partial(audit, paths))
    if landing.withdrawn:
        done = rebuilt.tamis("withdraw", *sorted(landing.withdrawn), "--reason", "copyright", "--json")
        if done.returncode:
            raise SoakError(f"nothing can be withdrawn from a new home: {done.stderr[-2_000:]}")
    materialize(rebuilt, report, "rebuilt")
    report.check("rebuild", partial(rebuild, Tables(paths.home), Tables(rebuilt.home)))
    counted = count(paths), count(rebuilt)
    for of, one in zip(("the home, settled", "the rebuilt home"), counted, strict=True):
        report.line("disk", of=of, **one.figures())
    report.check("disk_of_rebuild", partial(disk_of_rebuild, *counted))
    found = {"failed": report.failed, "too_short_to_judge": report.unjudged}
    report.line("summary", holds=not report.failed, **found, seed=options.seed, events=counts)
    return not report.failed


def main() -> None:
    """Soak in the folder of --home, which stays, or in a temporary one, which goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of events")
    parser.add_argument("--settle-minutes", type=float, default=10.0, help="until the sensors rest, at most")
    parser.add_argument("--seed", type=int, default=0, help="of texts and events")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between lines of the series")
    parser.add_argument("--home", type=Path, help="an empty folder to use and keep")
    flags = begin(parser)
    options = Options(
        minutes=flags.minutes, settle_minutes=flags.settle_minutes, seed=flags.seed, every=flags.every
    )
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # as Ctrl-C: every process is ended on the way out
    if flags.home is not None:
        if flags.home.is_dir() and any(flags.home.iterdir()):
            sys.exit(f"{flags.home} is not empty: name another folder with --home")
        flags.home.mkdir(parents=True, exist_ok=True)
    try:
        holds = in_its_folder(flags, lambda _flags, folder: soak(options, folder))
    except SoakError as error:
        sys.exit(f"the soak cannot go on: {error}")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
