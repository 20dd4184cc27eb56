"""The project that definitions are loaded for: as tamis.toml says or, while that is broken, last said."""

import contextlib
import os
import shutil
import warnings
from pathlib import Path

from tamis.base.errors import ConfigurationError, PermanentError
from tamis.base.files import whole_file
from tamis.base.threads import spin_briefly
from tamis.base.user_folders import complete_user
from tamis.project import Project, open_project
from tamis.settings.config import (
    UnreadableProjectError,
    home_folder,
    load_settings,
    project_file,
    storage_url,
)
from tamis.store.home import Home, placed

BROKEN = (ConfigurationError, UnreadableProjectError)
"""What opening a project raises while its tamis.toml is missing, half written or wrong."""
LAST_GOOD = "last_good.toml"


class NothingToLoadError(PermanentError):
    """tamis.toml cannot be used, and there is no earlier state of it either; `copy`: where it would be."""

    def __init__(self, problem: str, copy: Path | None) -> None:
        self.problem, self.copy = problem, copy
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
            settings = load_settings(copy)
        except BROKEN:
            raise NothingToLoadError(str(error), copy) from error
        home = placed(Home(root, storage_url(settings)))
        return Project(file=file, settings=settings, home=home), str(error)
    _keep(file, copy)
    return project, ""


def quiet_environment(project: Project) -> None:
    """Set it up: no telemetry, no hub unless a model comes from it, and the folders of a user.

    Raises `NoTemporaryFolderError`.
    """
    spin_briefly()
    complete_user()  # a command has done so, and said what was missing; a server of Dagster has not
    warnings.filterwarnings("ignore", "Parameter `owners` of initializer")
    os.environ.setdefault("DAGSTER_HOME", str(project.home.dagster))
    os.environ.setdefault("HF_HUB_OFFLINE", "0" if project.names_hub_models else "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _keep(file: Path, copy: Path) -> None:
    """Copy a good tamis.toml into the home, unless it is there."""
    # On a full or read-only disk, or where the file was changed since it was read, the earlier copy stays.
    with contextlib.suppress(OSError, *BROKEN):
        if copy.exists() and copy.read_bytes() == file.read_bytes():
            return
        copy.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(copy) as draft:
            shutil.copy(file, draft)  # with its permissions: an address in it may hold a secret
            load_settings(draft)
