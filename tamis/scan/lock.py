"""Precision, models and versions that a project's results depend on, compared with its tamis.lock."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from tamis.base.errors import PermanentError, TamisError
from tamis.base.numbers import counted
from tamis.base.precision import FLOAT32
from tamis.embedding.identity import encoder_identity
from tamis.graph.snapshot import ProjectSnapshot
from tamis.project import Project
from tamis.quality.identity import judge_identity
from tamis.quality.judging import configured_judge
from tamis.quality.stage import judges_of, quality_wanted
from tamis.settings.lock import LOCK_FILE, Lock, read_lock
from tamis.settings.tokenizer import counting_tokenizer
from tamis.tokens.identity import tokenizer_identity

RESULTS = (
    "duckdb",
    "fastwarc",
    "ftfy",
    "gguf",
    "jinja2",
    "lancedb",
    "numpy",
    "peft",
    "phonenumbers",
    "polars",
    "pot",
    "py3langid",
    "pyarrow",
    "pyyaml",
    "resiliparse",
    "safetensors",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "sqlglot",
    "tamis",
    "tokenizers",
    "torch",
    "transformers",
)
"""Packages whose version enters digests or the last digits of numbers; sorted."""
PYTHON, PRECISION, ABSENT = "python", "precision", "absent"


class LockError(PermanentError):
    """There is no tamis.lock to compare with, or nothing yet that it could state."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A value that tamis.lock states otherwise; `remedy`: what restores it."""

    name: str
    locked: str
    here: str
    remedy: str

    @property
    def line(self) -> str:
        """The difference for a person."""
        return f"{self.name}: {self.locked} in {LOCK_FILE}, {self.here} here; {self.remedy}"


def present(project: Project) -> Lock:
    """Return the lock of a project as it is here.

    Raises `LockError` before a precision was chosen, and as the identities of models do.
    """
    if (precision := project.precision) is None:
        raise LockError(
            "the precision of this project is not chosen yet: run `tamis materialize` first, or set "
            'precision in [project], such as precision = "float32"'
        )
    return Lock.model_validate({"precision": precision, "models": _models(project), "versions": _versions()})


def differences(project: Project) -> list[Difference]:
    """Return where tamis.lock differs from what is here; nothing without such a file.

    A precision that is not chosen yet is no difference: the first run takes that of the lock. Raises
    `UnreadableLockError`.
    """
    lock = read_lock(project.root)
    return [] if lock is None else list(_compared(lock, project))


def _compared(lock: Lock, project: Project) -> Iterator[Difference]:
    if (precision := project.precision) is not None and precision != lock.precision:
        remedy = f'set precision = "{lock.precision}" in [project]'
        yield Difference(name=PRECISION, locked=lock.precision, here=precision, remedy=remedy)
    try:
        models = _models(project)
    except TamisError as error:
        yield Difference(name="models", locked=", ".join(lock.models), here="not found", remedy=str(error))
    else:
        for name in sorted(models.keys() | lock.models.keys()):
            stated, here = lock.models.get(name, ABSENT), models.get(name, ABSENT)
            if stated != here:
                same = stated.rpartition(" ")[0] == here.rpartition(" ")[0]
                remedy = "restore the files of the model" if same else "restore tamis.toml"
                yield Difference(name=name, locked=stated, here=here, remedy=remedy)
    versions = _versions()
    for name in sorted(versions.keys() | lock.versions.keys()):
        stated, here = lock.versions.get(name, ABSENT), versions.get(name, ABSENT)
        if stated != here:
            yield Difference(name=name, locked=stated, here=here, remedy=_remedy(name, stated))


def _remedy(name: str, stated: str) -> str:
    if name == PYTHON:
        return f"run Tamis with Python {stated}"
    if name == "tamis":
        return f"install Tamis {stated}"
    return f"pip uninstall {name}" if stated == ABSENT else f"pip install {name}=={stated}"


def require_locked(project: Project) -> list[Difference]:
    """Return what `differences` does; raises `LockError` where there is no tamis.lock."""
    if not (project.root / LOCK_FILE).exists():
        raise LockError(f"{project.root / LOCK_FILE} does not exist; `tamis lock` writes it")
    return differences(project)


def lock_line(project: Project) -> str:
    """Return a line that says that tamis.lock differs, "" where it does not."""
    found = differences(project)
    if not found:
        return ""
    more = f", and {counted(len(found) - 1, 'more difference')}" if len(found) > 1 else ""
    return (
        f"warning: {LOCK_FILE} differs from what is here ({found[0].line}{more}); `tamis materialize "
        "--locked` lists all, `tamis lock` accepts what is here"
    )


def _models(project: Project) -> dict[str, str]:
    """Return name and fingerprint of each model that the project names, whatever the precision."""
    settings, snapshot = project.settings, ProjectSnapshot(project, {}, {}, {})
    encoder = settings.encoder.name
    files = "" if settings.encoder.column else f" {encoder_identity(project.model(encoder), FLOAT32)}"
    found = {"encoder": f"{encoder}{files}"}  # vectors in the rows are of no file of a model
    tokenizer = counting_tokenizer(settings)
    if tokenizer is not None and tokenizer.path is not None:
        found["tokenizer"] = f"{tokenizer.name} {tokenizer_identity(project.model(tokenizer.path))}"
    if quality_wanted(snapshot):
        found["judge"] = f"{settings.judge.model} {judge_identity(configured_judge(project))}"
    samplers = [one.sampler for one in settings.selection]
    return found | {f"judge {name}": f"{name} {key}" for name, key in judges_of(snapshot, samplers).items()}


def _versions() -> dict[str, str]:
    """Return the version of Python and of each package that is installed, without marks of a build."""
    found = {PYTHON: ".".join(platform.python_version_tuple()[:2])}
    for name in RESULTS:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:  # an extra
            continue
    return found
