"""A project: its file, its settings and its home, opened together."""

from dataclasses import dataclass
from pathlib import Path

from tamis.config import Settings, home_folder, load_settings, project_file
from tamis.store.home import Home


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
    def tracking_uri(self) -> str:
        """Where MLflow writes: the configured server, or a SQLite file in the home."""
        return self.settings.tracking.uri or f"sqlite:///{self.home.mlflow / 'mlflow.db'}"


def open_project(start: Path | None = None) -> Project:
    """Open the project at or above `start`; raises `ConfigurationError`."""
    file = project_file(start)
    return Project(file=file, settings=load_settings(file), home=Home(home_folder(file)))
