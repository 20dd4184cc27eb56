"""A project: a tamis.toml with its home, as it is, or as it last was good."""

import contextlib
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tamis.base.errors import ConfigurationError, PermanentError
from tamis.base.files import whole_file
from tamis.base.threads import spin_briefly
from tamis.base.user_folders import complete_user, require_plain
from tamis.plugins.declaration import PluginError
from tamis.settings.config import (
    Settings,
    UnreadableProjectError,
    home_folder,
    load_settings,
    project_file,
    storage_url,
)
from tamis.settings.lock import LOCK_FILE, read_lock
from tamis.settings.tokenizer import counting_tokenizer
from tamis.store.home import Home, bring_up_to_date, placed, require_own
from tamis.store.precision_choice import AUTO, choose, read_choice

BROKEN = (ConfigurationError, UnreadableProjectError, PluginError)
"""Errors of opening a project while its tamis.toml or a plug-in is missing, half written or wrong."""
LAST_GOOD = "last_good.toml"


def with_driver(url: str) -> str:
    """The address of a database with its driver: SQLAlchemy 2.1 would take psycopg where none is named."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg2{separator}{rest}" if scheme in ("postgres", "postgresql") else url


@dataclass(frozen=True, kw_only=True)
class Project:
    """Everything a stage may ask about where it runs."""

    file: Path
    settings: Settings
    home: Home

    @property
    def root(self) -> Path:
        """Folder of tamis.toml; paths in it are relative to this."""
        return self.file.parent

    @property
    def seed(self) -> int:
        """The project's seed."""
        return self.settings.project.seed

    @property
    def precision(self) -> str | None:
        """What models are computed in: as tamis.toml says, else as chosen for the home; None before that."""
        stated = self.settings.project.precision
        if stated != AUTO:
            return stated
        chosen = read_choice(self.home.store)
        return str(chosen["precision"]) if chosen else None

    def model(self, reference: str) -> str:
        """A model as configured: a folder (relative to tamis.toml), a hub id, or an embedded name."""
        folder = self.root / reference
        return str(folder) if folder.is_dir() else reference

    @property
    def names_hub_models(self) -> bool:
        """Whether an encoder, judge, base model, tokenizer or corpus has to come from a hub."""
        settings = self.settings
        names = [] if settings.encoder.column else [settings.encoder.name]
        names += [*(model.path for model in settings.base_model if model.path)]
        names += [] if settings.judge.url else [settings.judge.model]
        tokenizer = counting_tokenizer(settings)
        names += [tokenizer.path] if tokenizer and tokenizer.path else []
        return any(corpus.hub for corpus in settings.corpus) or any(
            "/" in name and not Path(self.model(name)).is_dir() for name in names
        )

    @property
    def tracking_uri(self) -> str:
        """Where MLflow writes: `TAMIS_MLFLOW_URL`, the configured server, or a SQLite file in the home."""
        configured = os.environ.get("TAMIS_MLFLOW_URL") or self.settings.tracking.uri
        return with_driver(configured or f"sqlite:///{self.home.mlflow / 'mlflow.db'}")

    @property
    def artifact_root(self) -> str:
        """Where MLflow keeps artifacts: in the object store, or with whoever serves the database."""
        return f"{self.home.url}/mlflow/" if self.home.url else "mlflow-artifacts:/"


def open_project(start: Path | None = None) -> Project:
    """Open the project at or above `start`.

    Raises `ConfigurationError`, `PathError`, `HomeOfAnotherError` and what else `placed` raises.
    """
    file = project_file(start)
    require_plain(file, "rename or move the folder of the project")
    settings = load_settings(file)
    home = placed(Home(home_folder(file), storage_url(settings)))
    require_own(home, settings.project.name)
    return Project(file=file, settings=settings, home=home)


def read_project(start: Path | None = None) -> Project:
    """Open the project, with what other machines have written to its object store since the last look."""
    project = open_project(start)
    bring_up_to_date(project.home)
    return project


def chosen_precision(project: Project, say: Callable[[str], None], again: bool = False) -> str:
    """Return what models are computed in; measure and write it into the home where nobody has chosen.

    tamis.lock, if any, decides in a new home. `again`: measure in any case, unless tamis.toml says it. The
    caller writes. Raises `UnreadableLockError`.
    """
    before = project.precision
    if before is not None and not again:
        return before
    if project.settings.project.precision != AUTO:
        say(f"precision = {before} is set in tamis.toml, so speed is not measured")
        return str(before)
    lock = None if again else read_lock(project.root)
    chosen = choose(project.home.store, lock.precision if lock else None)
    if lock is not None:
        say(f"models run in {lock.precision}, as {LOCK_FILE} says: {chosen.sentence}")
        return lock.precision
    hint = "" if again else " (`tamis materialize --choose-precision` measures again)"
    say(f"models run in {chosen.faster}: {chosen.sentence}{hint}")
    return chosen.faster


class NothingToLoadError(PermanentError):
    """tamis.toml cannot be used, and there is no earlier state of it either; `copy`: where it would be."""

    def __init__(self, problem: str, copy: Path | None) -> None:
        self.copy = copy
        where = (
            "no earlier version of that file can be loaded, since without it the home folder is unknown"
            if copy is None
            else f"the home folder contains no earlier version of tamis.toml that can be loaded ({copy})"
        )
        super().__init__(f"{problem}; {where}; correct tamis.toml, then reload the code location")


def broken_file(file: Path) -> str:
    """Return the error in a tamis.toml, "" for none."""
    try:
        load_settings(file)  # this file: without it another one above might be opened
    except BROKEN as error:
        return str(error)
    return ""


def load_project() -> tuple[Project, str]:
    """Open the project; while tamis.toml is broken, with its last good copy, and what is wrong with it.

    A good file is copied into the home. Raises `NothingToLoadError` where there is no copy.
    """
    try:
        file = project_file()
    except UnreadableProjectError as error:
        raise NothingToLoadError(str(error), None) from error
    root = home_folder(file)
    copy = Home(root).cache / LAST_GOOD
    try:
        project = open_project(file.parent)
    except BROKEN as error:
        try:
            settings = load_settings(copy, file.parent)
        except BROKEN:
            raise NothingToLoadError(str(error), copy) from error
        return Project(file=file, settings=settings, home=placed(Home(root, storage_url(settings)))), str(
            error
        )
    # On a full or read-only disk, or where the file was changed since it was read, the earlier copy stays.
    with contextlib.suppress(OSError, *BROKEN):
        if not copy.exists() or copy.read_bytes() != file.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(copy) as draft:
                shutil.copy(file, draft)  # with its permissions: an address in it may hold a secret
                load_settings(draft, file.parent)
    return project, ""


def quiet_environment(project: Project) -> None:
    """Set it up: no telemetry, no hub unless a model comes from it, Dagster's home, the folders of a user.

    Raises `NoTemporaryFolderError`.
    """
    quiet_libraries(project)
    os.environ.setdefault("DAGSTER_HOME", str(project.home.dagster))


def quiet_libraries(project: Project) -> None:
    """Set the environment up as `quiet_environment` does, for work without Dagster."""
    spin_briefly()
    complete_user()  # a command has done so, and said what was missing; a server of Dagster has not
    warnings.filterwarnings("ignore", "Parameter `owners` of initializer")
    defaults = {
        "HF_HUB_OFFLINE": "0" if project.names_hub_models else "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
