"""The project file tamis.toml: every setting of the platform, validated before anything runs.

One file, no inheritance, no environment overrides except `TAMIS_HOME` (where results live) and
`TAMIS_PROJECT` (which tamis.toml). Loading takes a few milliseconds, so sensors read it on every tick.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from tamis.errors import ConfigurationError

PROJECT_FILE = "tamis.toml"
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,59}$")]
Budget = Annotated[int, Field(gt=0)] | Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(%|Mtok|ktok)$")]


class Section(BaseModel):
    """A table of tamis.toml: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectSection(Section):
    name: Name = "tamis"
    seed: int = Field(0, ge=0)
    owner: Annotated[str, StringConstraints(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")] = "team:data"


class EngineSection(Section):
    kind: Literal["local"] = "local"


class CorpusSection(Section):
    """Where documents come from: `files` (one file a shard) or `python-docs` (one package a shard)."""

    name: Name
    kind: Literal["files", "python-docs"]
    path: str | None = None
    packages: tuple[str, ...] = ()
    text_column: str = "text"
    include: tuple[str, ...] = ("**/*",)
    licence: str | None = None
    language: str | None = None
    minimum_characters: int = Field(1, ge=1)
    maximum_row_bytes: int = Field(10_000_000, ge=1_000)

    @model_validator(mode="after")
    def _kind_has_its_key(self) -> "CorpusSection":
        if self.kind == "files" and not self.path:
            raise ValueError("a corpus of kind 'files' needs path = \"folder\"")
        if self.kind == "python-docs" and not self.packages:
            raise ValueError("a corpus of kind 'python-docs' needs packages = [\"numpy\", ...]")
        return self


class TargetSection(Section):
    """Examples of what the model must become good at, split into training and held-out parts."""

    name: Name
    kind: Literal["files", "python-docs"]
    path: str | None = None
    packages: tuple[str, ...] = ()
    module: str | None = None
    text_column: str = "text"
    minimum_characters: int = Field(1, ge=1)
    train: int = Field(300, ge=1)
    held_out: int = Field(150, ge=1)

    @model_validator(mode="after")
    def _kind_has_its_key(self) -> "TargetSection":
        if self.kind == "files" and not self.path:
            raise ValueError("a target of kind 'files' needs path = \"file or folder\"")
        if self.kind == "python-docs" and not self.packages:
            raise ValueError("a target of kind 'python-docs' needs packages = [\"scipy\"]")
        return self


class EncoderSection(Section):
    """`static`, `minilm`, or any sentence-transformers id or folder."""

    name: str = "static"


class NearDuplicatesSection(Section):
    threshold: float = Field(0.8, gt=0, le=1)


class TransportSection(Section):
    relative_epsilon: float = Field(0.03, gt=0, le=0.3)
    tolerance: float = Field(1e-3, gt=0, lt=1)
    max_passes: int = Field(500, ge=1)


class DensitySection(Section):
    rows: int = Field(500, ge=1)
    hashes: int = Field(8, ge=1)
    calibration: int = Field(2_000, ge=2)


class JudgeSection(Section):
    """The model asked about a sample of the pool; the grader extends its answers to every document."""

    model: str = "smollm2-135m"
    prompt: Literal["auto", "ask-llm", "examples"] = "auto"
    sample: int = Field(200, ge=20)
    max_tokens: int = Field(192, ge=16)
    batch_size: int = Field(16, ge=1)
    url: str | None = None
    key_env: str | None = None


class PerplexitySection(Section):
    """Bits per byte by a base model and its twin, each used on the half of the pool it never saw."""

    model: Name = "llama-0.8m"
    max_tokens: int = Field(128, ge=16)


class DecontaminationSection(Section):
    ngram: int = Field(20, ge=5)
    maximum_share: float = Field(0.01, gt=0, le=1)


class SelectionSection(Section):
    name: Name
    sampler: str
    budget: Budget
    target: Name | None = None
    quality_weight: float = Field(1.0, ge=0)


class BaseModelSection(Section):
    """A shape pre-trained on the pool by the graph (`preset`), or an existing model (`path`: folder or id)."""

    name: Name
    preset: Literal["llama-0.8m", "llama-2.5m", "llama-6m"] | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "BaseModelSection":
        if (self.preset is None) == (self.path is None):
            raise ValueError("give either preset (trained on the pool) or path (an existing model), not both")
        return self


class PretrainingSection(Section):
    tokens: int = Field(700_000, ge=1_000)
    vocabulary: int = Field(4_096, ge=512)
    sequence_length: int = Field(256, ge=32)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(3e-3, gt=0)


class FineTuningSection(Section):
    epochs: int = Field(3, ge=1)
    sequence_length: int = Field(256, ge=32)
    batch_size: int = Field(8, ge=1)
    learning_rate: float = Field(1e-3, gt=0)


class ScalingSection(Section):
    """The grid of trials for the law: models x sizes of nested random subsets of the target's training set."""

    target: Name | None = None
    models: tuple[Name, ...] = ()
    sizes: tuple[int, ...] = (25, 50, 100, 200)
    predict_at: int | None = None


class ComparisonSection(Section):
    """Selections that the `comparison_model` is warmed up on, to see what the choice of documents buys."""

    model: Name | None = None
    selections: tuple[Name, ...] = ()


class TrackingSection(Section):
    uri: str | None = None
    experiment: Name = "tamis"


class AutomationSection(Section):
    interval_seconds: int = Field(10, ge=5)
    settle_seconds: float = Field(2.0, ge=0)
    maximum_attempts: int = Field(3, ge=1)


class Settings(Section):
    """The whole of tamis.toml."""

    project: ProjectSection = ProjectSection()
    engine: EngineSection = EngineSection()
    corpus: tuple[CorpusSection, ...]
    target: tuple[TargetSection, ...] = ()
    encoder: EncoderSection = EncoderSection()
    near_duplicates: NearDuplicatesSection = NearDuplicatesSection()
    transport: TransportSection = TransportSection()
    density: DensitySection = DensitySection()
    judge: JudgeSection = JudgeSection()
    perplexity: PerplexitySection = PerplexitySection()
    decontamination: DecontaminationSection = DecontaminationSection()
    selection: tuple[SelectionSection, ...] = ()
    base_model: tuple[BaseModelSection, ...] = ()
    pretraining: PretrainingSection = PretrainingSection()
    fine_tuning: FineTuningSection = FineTuningSection()
    scaling: ScalingSection = ScalingSection()
    comparison: ComparisonSection = ComparisonSection()
    tracking: TrackingSection = TrackingSection()
    automation: AutomationSection = AutomationSection()

    @model_validator(mode="after")
    def _names_resolve(self) -> "Settings":
        for kind in ("corpus", "target", "selection", "base_model"):
            names = [entry.name for entry in getattr(self, kind)]
            if repeated := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"[[{kind}]] names must differ; repeated: {', '.join(sorted(repeated))}")
        _check_references(self)
        return self


Entry = TypeVar("Entry", CorpusSection, TargetSection, SelectionSection, BaseModelSection)


def named(entries: tuple[Entry, ...], name: str) -> Entry:
    """The entry of that name; raises `KeyError` when there is none."""
    for entry in entries:
        if entry.name == name:
            return entry
    raise KeyError(name)


def _check_references(settings: Settings) -> None:
    from tamis.selection import SAMPLERS

    targets = {target.name for target in settings.target}
    models = {model.name for model in settings.base_model}
    selections = {selection.name for selection in settings.selection}
    for selection in settings.selection:
        _must_be(selection.sampler, set(SAMPLERS), f"[[selection]] {selection.name}: sampler")
        if selection.target is not None:
            _must_be(selection.target, targets, f"[[selection]] {selection.name}: target")
        elif SAMPLERS[selection.sampler].needs_target:
            raise ValueError(
                f"[[selection]] {selection.name}: sampler {selection.sampler!r} needs target = "
                f"one of: {', '.join(sorted(targets)) or 'none is configured, add a [[target]]'}"
            )
    for model in settings.scaling.models:
        _must_be(model, models, "[scaling] models")
    if settings.scaling.target is not None:
        _must_be(settings.scaling.target, targets, "[scaling] target")
    if settings.comparison.model is not None:
        _must_be(settings.comparison.model, models, "[comparison] model")
    for name in settings.comparison.selections:
        _must_be(name, selections, "[comparison] selections")


def _must_be(name: str, valid: set[str], where: str) -> None:
    if name not in valid:
        raise ValueError(f"{where} = {name!r} is unknown; valid: {', '.join(sorted(valid)) or 'none configured'}")


def project_file(start: Path | None = None) -> Path:
    """Path of tamis.toml: `TAMIS_PROJECT`, or the nearest one at or above `start` (the working directory).

    Raises `ConfigurationError` when there is none.
    """
    if override := os.environ.get("TAMIS_PROJECT"):
        return Path(override).resolve()
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / PROJECT_FILE).is_file():
            return candidate / PROJECT_FILE
    raise ConfigurationError(
        str(folder / PROJECT_FILE), "file", "missing", "a project file; `tamis init` writes one"
    )


def home_folder(project: Path) -> Path:
    """Where results live: `TAMIS_HOME`, or `.tamis` beside the project file."""
    override = os.environ.get("TAMIS_HOME")
    return Path(override).resolve() if override else project.parent / ".tamis"


def load_settings(path: Path) -> Settings:
    """Read and validate a project file.

    Raises `ConfigurationError` that names the key, the value found and what was valid.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(str(path), "file", error.strerror, "a readable tamis.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), "syntax", str(error), "valid TOML in UTF-8") from error
    return parse_settings(values, str(path))


def parse_settings(values: dict[str, Any], file: str = PROJECT_FILE) -> Settings:
    """Validate the parsed content of a project file; raises `ConfigurationError`."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(file, _key_path(first["loc"]), _shown(first), _expected(first)) from error


def _key_path(location: tuple[int | str, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).lstrip(".") or "project file"


def _shown(problem: Any) -> object:
    return "nothing" if problem["type"] == "missing" else problem["input"] if problem["loc"] else "this file"


def _expected(problem: Any) -> str:
    if problem["type"] != "extra_forbidden":
        return str(problem["msg"]).removeprefix("Value error, ")
    valid = _section_keys(problem["loc"])
    return f"one of the known keys: {', '.join(valid)}" if valid else "no such key"


def _section_keys(location: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Settings
    for part in location[:-1]:
        if isinstance(part, str) and part in section.model_fields:
            annotation = section.model_fields[part].annotation
            inner = getattr(annotation, "__args__", (annotation,))[0]
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                section = inner
    return sorted(section.model_fields)
