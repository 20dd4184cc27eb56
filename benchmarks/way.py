"""Files of the product that a document passes: JSON lines on stdout.

    python -m benchmarks.way [--checkout FOLDER]

Makes a small project with a target and a selection, drops a file, materializes it and explains one of its
documents, and counts the files of the product in which a function runs while these two commands work; what
runs only because a module is imported is no part of the way. `--checkout`: count the files of another
checkout, say of an earlier commit, with its own .venv. About two minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._flags import begin
from benchmarks._yardstick import CHECKOUT

PROJECT = """
[project]
precision = "float32"
[[corpus]]
name = "web"
kind = "files"
path = "landing"
[[target]]
name = "goal"
kind = "files"
path = "goal.jsonl"
train = 20
held_out = 10
[[selection]]
name = "near"
sampler = "got-d"
target = "goal"
budget = 20
"""
COUNTED = """
import atexit, inspect, json, os, runpy, sys, threading
out, root = sys.argv[1], os.path.realpath(sys.argv[2])
files, real, importing = set(), {}, set()
NAMES = ("tamis/", "assets/", "resources/", "sensors/", "definitions.py")
FOLDERS = tuple(os.path.join(root, name) for name in NAMES)

def path_of(code):
    name = code.co_filename
    if name not in real:
        path = os.path.realpath(name)
        ours = path.startswith(FOLDERS) and path.endswith(".py")
        real[name] = os.path.relpath(path, root) if ours else None
    return real[name]

def see(frame, event, _arg):
    if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        path = path_of(frame.f_code)
        if path and path not in files and not while_importing(frame):
            files.add(path)

def while_importing(frame):
    while frame is not None:
        if frame.f_code.co_name == "<module>" and path_of(frame.f_code):
            return True
        frame = frame.f_back
    return False

def write():
    with open(f"{out}.{os.getpid()}", "w") as file:
        json.dump(sorted(files), file)

def end(code, ended=os._exit):
    write()
    ended(code)

atexit.register(write)
os._exit = end
threading.setprofile(see)
sys.setprofile(see)
sys.argv = ["tamis", *sys.argv[3:]]
from tamis.cli import console
console()
"""


def run(checkout: Path, project: Path, *arguments: str) -> str:
    """Run a command of the checkout; return what it prints."""
    return _done([str(checkout / ".venv" / "bin" / "tamis"), *arguments], project)


def counted(checkout: Path, project: Path, *arguments: str) -> set[str]:
    """Run a command of the checkout and return the files of the product in which a function ran."""
    with tempfile.TemporaryDirectory() as notes:
        script = Path(notes) / "counted.py"
        script.write_text(COUNTED)
        out = Path(notes) / "files"
        python = str(checkout / ".venv" / "bin" / "python")
        _done([python, str(script), str(out), str(checkout), *arguments], project)
        return {name for path in Path(notes).glob("files.*") for name in json.loads(path.read_text())}


def _done(command: list[str], project: Path) -> str:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("TAMIS_")}
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def write_texts(path: Path, topic: str, first: int, count: int) -> None:
    """Write texts of a topic that are all different, more than a dozen words each."""
    lines = (
        f"The {topic} of week {number} went as planned: {number * 7 % 61} people came, each brought {topic} "
        f"and a question about {number}, and nobody left before the answer to number {number + 3} was clear."
        for number in range(first, first + count)
    )
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))


def main() -> int:
    """Count the files of one way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=CHECKOUT)
    checkout = begin(parser).checkout.resolve()
    with tempfile.TemporaryDirectory(prefix="tamis-way-") as folder:
        project = Path(folder)
        (project / "landing").mkdir()
        (project / "tamis.toml").write_text(PROJECT)
        write_texts(project / "goal.jsonl", "bread", 1000, 60)
        for number, topic in enumerate(("sailing", "bread", "algebra")):
            write_texts(project / "landing" / f"{topic}.jsonl", topic, number * 40, 40)
        run(checkout, project, "materialize")
        write_texts(project / "landing" / "dropped.jsonl", "baking bread", 400, 5)
        made = counted(checkout, project, "materialize")
        explained = counted(checkout, project, "explain", "--file", "landing/dropped.jsonl", "--row", "1")
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=checkout, text=True).strip()
    figures = {"files": len(made | explained), "materialize": len(made), "explain": len(explained)}
    print(json.dumps({"benchmark": "way", "counted_commit": commit, **figures}))
    print(json.dumps({"names": sorted(made | explained)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
