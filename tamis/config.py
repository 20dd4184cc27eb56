"""The project file tamis.toml: read and validated before anything runs.

One file, no inheritance, no environment overrides except `TAMIS_HOME` (where results live) and
`TAMIS_PROJECT` (which tamis.toml). Loading takes a few milliseconds, so sensors read it on every tick.
"""

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, model_validator

from tamis.errors import ConfigurationError, PermanentError
from tamis.sections import (
    FORMS_IN_WORDS,
    AutomationSection,
    BaseModelSection,
    ComparisonSection,
    CorpusSection,
    DecontaminationSection,
    DensitySection,
    EncoderSection,
    EngineSection,
    FiltersSection,
    FineTuningSection,
    JudgeSection,
    NearDuplicatesSection,
    PerplexitySection,
    PretrainingSection,
    ProjectSection,
    ScalingSection,
    Section,
    SelectionSection,
    TargetSection,
    TrackingSection,
    TransportSection,
    wrong_key,
)

PROJECT_FILE = "tamis.toml"


class UnreadableProjectError(PermanentError):
    """There is no project file at that path, or it is not TOML."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path} cannot be read: {problem}")


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
    filters: FiltersSection = FiltersSection()
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
                raise wrong_key(
                    f"[[{kind}]] name", min(repeated), f"names that differ; several [[{kind}]] have this one"
                )
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
        if "bits_per_byte" in SAMPLERS[selection.sampler].score_columns and not settings.perplexity.model:
            expected = f'a [[base_model]], since selection {selection.name!r} has sampler "perplexity"'
            raise wrong_key("perplexity.model", None, expected)
        if selection.target is None and SAMPLERS[selection.sampler].needs_target:
            expected = f"{_one_of(targets)} (sampler {selection.sampler!r} needs it)"
            raise wrong_key(f"[[selection]] {selection.name}: target", None, expected)
        _check_contrast(selection, targets)
    _check_scaling(settings.scaling, settings.target, models)
    for where, model_name in (
        ("comparison", settings.comparison.model),
        ("perplexity", settings.perplexity.model),
    ):
        if model_name is not None:
            _must_be(model_name, models, f"[{where}] model")
    more = settings.comparison.on_request
    for name in settings.comparison.selections:
        _must_be(name, selections, "[comparison] selections")
    for name in more.selections:
        _must_be(name, selections, "[comparison.on_request] selections")
    for name in more.models:
        _must_be(name, models, "[comparison.on_request] models")


def _check_contrast(selection: SelectionSection, targets: set[str]) -> None:
    from tamis.selection.samplers import AWAY_SCORE, SAMPLERS

    where, others = f"[[selection]] {selection.name}: away_from", targets - {str(selection.target)}
    if selection.away_from is not None:
        _must_be(selection.away_from, others, where)
    elif AWAY_SCORE in SAMPLERS[selection.sampler].score_columns:
        named = _one_of(others) if others else "a second [[target]]"
        raise wrong_key(where, None, f"{named} (sampler {selection.sampler!r} needs it)")


def _check_scaling(scaling: ScalingSection, targets: tuple[TargetSection, ...], models: set[str]) -> None:
    names = {target.name for target in targets}
    for model in scaling.models:
        _must_be(model, models, "[scaling] models")
    if scaling.target is not None:
        _must_be(scaling.target, names, "[scaling] target")
        train = named(targets, scaling.target).train
        if max(scaling.sizes, default=0) > train:
            expected = f"sizes up to {train}, the train of target {scaling.target!r}"
            raise wrong_key("[scaling] sizes", max(scaling.sizes), expected)
    elif scaling.models:
        raise wrong_key("[scaling] target", None, _one_of(names))


def _must_be(name: str, valid: set[str], where: str) -> None:
    if name not in valid:
        raise wrong_key(where, name, _one_of(valid))


def _one_of(valid: set[str]) -> str:
    return f"one of: {', '.join(sorted(valid))}" if valid else "a name that is configured, and there is none"


def project_file(start: Path | None = None) -> Path:
    """Path of tamis.toml: `TAMIS_PROJECT`, or the nearest one at or above `start` (the working directory).

    Raises `UnreadableProjectError` when there is none.
    """
    if override := os.environ.get("TAMIS_PROJECT"):
        return Path(override).resolve()
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / PROJECT_FILE).is_file():
            return candidate / PROJECT_FILE
    raise UnreadableProjectError(
        folder / PROJECT_FILE, "neither here nor in a folder above is there one; `tamis init` writes one"
    )


def home_folder(project: Path) -> Path:
    """Where results live: `TAMIS_HOME`, or `.tamis` beside the project file."""
    override = os.environ.get("TAMIS_HOME")
    return Path(override).resolve() if override else project.parent / ".tamis"


def load_settings(path: Path) -> Settings:
    """Read and validate a project file.

    Raises `ConfigurationError` that names the key, the value found and what was valid, and
    `UnreadableProjectError` when there is no file or no TOML in it.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UnreadableProjectError(path, error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnreadableProjectError(path, f"not TOML in UTF-8: {error}{_toml_hint(str(error))}") from error
    return parse_settings(values, str(path))


def _toml_hint(problem: str) -> str:
    if "Cannot overwrite" in problem or "Cannot declare" in problem:
        return "; a table that may stand there several times has double brackets each time: [[selection]]"
    if "end of document after a statement" in problem or "Invalid value" in problem:
        return '; texts and shares stand in quotes: budget = "10%"'
    return ""


def parse_settings(values: dict[str, Any], file: str = PROJECT_FILE) -> Settings:
    """Validate the parsed content of a project file; raises `ConfigurationError`."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = _most_telling(error.errors())
        raise ConfigurationError(file, _key_path(first), _found(first), _expected(first)) from error


def _most_telling(problems: Sequence[Any]) -> Any:
    """The first problem; an unknown key beside a missing one is likely its misspelling."""
    first = problems[0]
    if first["type"] != "missing":
        return first
    unknown = [found for found in problems if found["type"] == "extra_forbidden"]
    return next((found for found in unknown if found["loc"][:-1] == first["loc"][:-1]), first)


def _key_path(problem: Any) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]]
    own = problem.get("ctx", {}).get("key", "")
    return "".join([*parts, f".{own}" if own else ""]).lstrip(".")


def _found(problem: Any) -> object:
    if problem["type"] == "missing":
        return None
    return problem["ctx"]["found"] if problem["type"] == "tamis" else problem["input"]


def _expected(problem: Any) -> str:
    match problem["type"]:
        case "missing":
            return "a value" if len(problem["loc"]) > 1 else f"at least one [[{problem['loc'][0]}]]"
        case "extra_forbidden":
            return f"one of the known keys: {', '.join(_section_keys(problem['loc']))}"
        case "string_pattern_mismatch":
            return FORMS_IN_WORDS[problem["ctx"]["pattern"]]
        case "tuple_type" if len(problem["loc"]) > 1:
            return "a list, in square brackets"
        case "tuple_type":
            return f"a list; a table is repeated as [[{problem['loc'][-1]}]]"
        case "model_type":
            return f"a table: [{problem['loc'][-1]}]"
    return str(problem["msg"]).removeprefix("Input should be ")


def _section_keys(location: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Settings
    for part in location[:-1]:
        if isinstance(part, str) and part in section.model_fields:
            annotation = section.model_fields[part].annotation
            inner = getattr(annotation, "__args__", (annotation,))[0]
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                section = inner
    return sorted(section.model_fields)
