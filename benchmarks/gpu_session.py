"""Everything that is measured on a GPU, in one session of at most 40 minutes that can be interrupted.

    python -m benchmarks.gpu_session --out FOLDER                # what has no result in FOLDER yet
    python -m benchmarks.gpu_session --out FOLDER --minutes 9    # as much of it as fits
    python -m benchmarks.gpu_session --out FOLDER --rehearse     # tiny sizes on any machine: does it run?

The parts run one after another, the most worth a minute first: what 22 million parameters recommend, tried
at 135 million (`tune_large`), exact scores of a million documents next to the rivals (`transport --figure
gpu`), a million documents from text to a selection (`scale --part gpu`), tokens a second of training
(`training`), then the three sizes of `ladder`, which takes the time that is left. What a part prints is
written to FOLDER/PART.jsonl at once. A part that ended is not run again; one that was stopped, by the end of
the time or from outside, begins again, `tune_large` and the ladder where they were. FOLDER/session.json says
of each part how it ended. Exits 0 when all parts have ended well.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from benchmarks._flags import at_least, begin
from benchmarks._stopping import run_within
from tamis.base.files import write_atomically

FEWEST_SECONDS = 20.0
"""Less time than this is not enough to begin a part."""
Ending = Literal["done", "failed", "stopped", "no time"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A benchmark of the session: its module with flags, and the same at a tiny size."""

    name: str
    words: tuple[str, ...]
    rehearsed: tuple[str, ...]
    has_home: bool = False
    """It goes on where it stopped, in a folder of its own."""

    def command(self, out: Path, rehearse: bool) -> list[str]:
        """Return what is run for it."""
        module, *flags = self.rehearsed if rehearse else self.words
        home = ["--home", str(out / self.name)] if self.has_home else []
        return [sys.executable, "-m", f"benchmarks.{module}", *flags, *home]


PARTS = (
    Part(
        name="tune",
        words=("tune_large",),
        rehearsed=("tune_large", "--rehearse", "--tasks", "ag-news", "--seeds", "3"),
        has_home=True,
    ),
    Part(
        name="transport",
        words=("transport", "--figure", "gpu"),
        rehearsed=("transport", "--figure", "gpu"),
    ),
    Part(
        name="scale",
        words=("scale", "--part", "gpu"),
        rehearsed=("scale", "--part", "gpu", "--gpu-documents", "200"),
    ),
    Part(
        name="training",
        words=("training",),
        rehearsed=("training", "--presets", "llama-0.8m", "--seconds", "1"),
    ),
    Part(
        name="ladder",
        words=("ladder", "--workers", "6"),
        rehearsed=(
            *("ladder", "--rungs", "llama-0.8m", "--tasks", "ag-news", "--documents", "1500"),
            *("--budget", "3ktok", "--held-out", "40", "--seeds", "2", "--pretraining-tokens", "60000"),
        ),
        has_home=True,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a part ended, after how long, and on which device."""

    ending: Ending
    seconds: float
    device: str
    exit_code: int | None = None


def run_session(
    parts: Sequence[Part], out: Path, seconds: float, *, rehearse: bool = False
) -> dict[str, Ended]:
    """Run what has not ended yet, within `seconds`, and note after each part how it ended."""
    deadline = time.monotonic() + seconds
    noted = out / "session.json"
    known = json.loads(noted.read_text()) if noted.exists() else {}
    ended = {name: Ended(**one) for name, one in known.items()}
    out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if part.name in ended and ended[part.name].ending == "done":
            continue
        ended[part.name] = _run(part, out, deadline, rehearse)
        text = json.dumps({name: asdict(one) for name, one in ended.items()}, indent=1)
        write_atomically(noted, f"{text}\n".encode())
        print(
            json.dumps({"benchmark": "gpu_session", "part": part.name, **asdict(ended[part.name])}),
            flush=True,
        )
    return ended


def _run(part: Part, out: Path, deadline: float, rehearse: bool) -> Ended:
    """Run a part until it ends or the time does; then it is stopped with all processes that it started."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA"
    left = deadline - time.monotonic()
    if left < FEWEST_SECONDS:
        return Ended(ending="no time", seconds=0.0, device=device)
    began = time.monotonic()
    with (out / f"{part.name}.jsonl").open("ab") as lines:
        code = run_within(left, part.command(out, rehearse), lines)
    ending: Ending = "stopped" if code is None else "failed" if code else "done"
    seconds = round(time.monotonic() - began, 1)
    return Ended(ending=ending, seconds=seconds, device=device, exit_code=code)


def main() -> None:
    """Run the session; exits 1 unless all parts have ended well, 2 without CUDA."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--minutes", type=at_least(1), default=40)
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS])
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, with or without CUDA")
    flags = begin(parser)
    if not (flags.rehearse or torch.cuda.is_available()):
        print("torch sees no CUDA device: --rehearse tries the session at tiny sizes", file=sys.stderr)
        sys.exit(2)
    parts = [part for part in PARTS if not flags.parts or part.name in flags.parts]
    out = flags.out.resolve()
    ended = run_session(parts, out, 60.0 * flags.minutes, rehearse=flags.rehearse)
    sys.exit(any(ended[part.name].ending != "done" for part in parts))


if __name__ == "__main__":
    main()
