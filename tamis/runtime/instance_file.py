"""dagster.yaml of a home: as Tamis writes it, and what happens to a file that somebody else wrote.

Such a file may name handlers, launchers, storages and other classes, which Dagster imports and calls. So one
that came with somebody's project is refused until a person of this machine has accepted it. Nothing here
imports Dagster: `tamis trust` asks about the file.
"""

import hashlib
import importlib.util
import os
from pathlib import Path

import yaml

from tamis.base.errors import MissingPackageError, PermanentError
from tamis.base.files import write_atomically
from tamis.base.installation import PLATFORM, install_command
from tamis.base.trust import Consent, require_accepted
from tamis.project import Project

NAME = "dagster.yaml"
SHOWN_CHARACTERS = 200
"""Of a problem with dagster.yaml: after that Dagster lists all keys that it knows."""
POSTGRES_URL = "TAMIS_POSTGRES_URL"
ON_POSTGRES = (PLATFORM / "deploy" / NAME).resolve()
ON_SQLITE = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1
  pools:
    granularity: run
run_queue:
  dequeue_interval_seconds: 2
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  free_slots_after_run_end_seconds: 60
python_logs:
  python_log_level: INFO  # the event log has all; the terminal of `tamis ui` not each event of each step
"""
_SLOWER = ON_SQLITE.replace("run_queue:\n  dequeue_interval_seconds: 2\n", "")
_LOGS = _SLOWER.index("python_logs:")
EARLIER = {_SLOWER, _SLOWER[:_LOGS], _SLOWER[:_LOGS].replace("  pools:\n    granularity: run\n", "")}
"""The text that earlier versions wrote: replaced, unless somebody has changed it."""
WRITTEN_ON_POSTGRES = frozenset(
    {
        "e410ada3a0bbcfb775c82ef5a1e5fb89a157dc462c1f938469ceb83027f453f2",
        "e569ae44477adaedf64bfc9ec44a5255c80a1ee5d2591af738ba3810c4b0247b",
        "b648d1eebfee4b0963d91cb02b916a50c0501363a3c3ca3b057b51a380dd4f83",
        "1d60cb5ade1dc7e14e6506423cdcaa9c4eace8eaa0585faa3c4ed5a273acdddd",
        "38fb87904fe1da50ebfac329e7973cb895b4dc8db5f63e8cec847da0f1d47d9b",
    }
)
"""SHA-256 of the files for PostgreSQL that this version and earlier ones wrote."""
EFFECT = "was not written by Tamis, and such a file can run commands on this machine"
CURE = "remove that file, and the same command will write a new one"


class StorageMismatchError(PermanentError):
    """The home's dagster.yaml keeps the state elsewhere than the environment says."""

    def __init__(self, path: Path, url_is_set: bool) -> None:
        self.path, self.url_is_set = path, url_is_set
        where = f"outside the database that {POSTGRES_URL} names"
        if not url_is_set:
            where = f"in a database, but {POSTGRES_URL} is not set"
        cure = f"replace that file with {ON_POSTGRES}, or unset {POSTGRES_URL}" if url_is_set else "set it"
        super().__init__(f"{path} keeps Dagster's state {where}; {cure}")


class DamagedConfigurationError(PermanentError):
    """The home's dagster.yaml is no configuration of Dagster."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, " ".join(problem.split())[:SHOWN_CHARACTERS]
        super().__init__(
            f"{path} is not a valid configuration of Dagster ({self.problem}); correct it, or remove it, and "
            "the same command will write a new one"
        )


def prepare_folder(project: Project) -> Path:
    """Return DAGSTER_HOME of the project, with a dagster.yaml, which is ours or accepted.

    Raises `UntrustedError`, `DamagedConfigurationError`, `StorageMismatchError`, `MissingPackageError`.
    """
    folder = project.home.dagster
    folder.mkdir(parents=True, exist_ok=True)
    path, url = folder / NAME, os.environ.get(POSTGRES_URL)
    if url and importlib.util.find_spec("dagster_postgres") is None:
        needed_for = f"storing Dagster's state in PostgreSQL ({POSTGRES_URL} is set)"
        command = install_command("postgres")
        raise MissingPackageError("dagster-postgres", needed_for, command)
    present = path.read_bytes() if path.exists() else b""
    if _of_sqlite(present) or (url and _of_postgres(present)):
        ours = ON_POSTGRES.read_bytes() if url else ON_SQLITE.encode()
        if present != ours:  # one that is right already is left: the home may be read-only
            write_atomically(path, ours)
        return folder
    if (POSTGRES_URL in _text_of(path, present)) != bool(url):
        raise StorageMismatchError(path, bool(url))
    require_accepted(asked_by(project), CURE)
    return folder


def asked_by(project: Project) -> list[Consent]:
    """Return what the home's dagster.yaml wants accepted: nothing where Tamis wrote it or will write it."""
    path = project.home.dagster / NAME
    present = path.read_bytes() if path.exists() else b""
    ours = _of_sqlite(present) or _of_postgres(present)
    return [] if ours else [Consent.of(path, EFFECT, present)]


def _of_sqlite(present: bytes) -> bool:
    return present in {text.encode() for text in ("", ON_SQLITE, *EARLIER)}


def _of_postgres(present: bytes) -> bool:
    return hashlib.sha256(present).hexdigest() in WRITTEN_ON_POSTGRES or present == ON_POSTGRES.read_bytes()


def _text_of(path: Path, present: bytes) -> str:
    """Return the text of a dagster.yaml. Raises `DamagedConfigurationError`."""
    try:
        text = present.decode("utf-8")
        found = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DamagedConfigurationError(path, str(error)) from error
    if not isinstance(found, dict | None):
        raise DamagedConfigurationError(path, f"expected keys and values, found {text.strip()!r}")
    return text
