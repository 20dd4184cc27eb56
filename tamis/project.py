"""A project: its file, its settings and its home, opened together."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tamis.base.user_folders import require_plain
from tamis.settings.config import Settings, home_folder, load_settings, project_file, storage_url
from tamis.settings.tokenizer import counting_tokenizer
from tamis.store.home import Home, bring_up_to_date, placed, require_own
from tamis.store.precision_choice import AUTO, choose, read_choice


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
        names = [settings.encoder.name, *(model.path for model in settings.base_model if model.path)]
        names += [] if settings.judge.url else [settings.judge.model]
        tokenizer = counting_tokenizer(settings)
        names += [tokenizer.path] if tokenizer and tokenizer.path else []
        hub = any(corpus.hub for corpus in settings.corpus)
        return hub or any("/" in name and not Path(self.model(name)).is_dir() for name in names)

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

    `again`: measure in any case, unless tamis.toml says it. The caller writes.
    """
    before = project.precision
    if before is not None and not again:
        return before
    if project.settings.project.precision != AUTO:
        say(f"precision = {before} is set in tamis.toml, so speed is not measured")
        return str(before)
    chosen = choose(project.home.store)
    hint = "" if again else " (`tamis materialize --choose-precision` measures again)"
    say(f"models run in {chosen.faster}: {chosen.sentence}{hint}")
    return chosen.faster
