"""Starting a project: a commented tamis.toml for the user's own files."""

from importlib.resources import files
from pathlib import Path

from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically
from tamis.settings.config import PROJECT_FILE


class ProjectExistsError(PermanentError):
    """There is a project file already; it is never overwritten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} exists already; edit it, or remove it to start again")


def write_project_file(folder: Path) -> Path:
    """Write the template and the folders it names; returns the path. Raises `ProjectExistsError`."""
    path = folder.resolve() / PROJECT_FILE
    if path.exists():
        raise ProjectExistsError(path)
    write_atomically(path, (files("tamis") / "templates" / "tamis.toml").read_bytes())
    for name in ("documents", "target"):
        (path.parent / name).mkdir(exist_ok=True)
    return path
