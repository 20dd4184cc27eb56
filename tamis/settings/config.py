"""The project file tamis.toml: read and validated before anything runs.

One file, no inheritance, no environment overrides except `TAMIS_HOME` and `TAMIS_STORAGE_URL` (where results
live) and `TAMIS_PROJECT` (which tamis.toml). Loading takes a few milliseconds, so sensors read it on every
tick.
"""

import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, PrivateAttr, ValidationError, ValidationInfo, model_validator

from tamis.base.errors import ConfigurationError, PermanentError, did_you_mean, without_secrets
from tamis.plugins.reading import Plugin, Plugins, PluginSearch, plugins_of_files
from tamis.settings.references import check_references, named
from tamis.settings.samplers import SAMPLERS, register, sampler_of_plugin
from tamis.settings.sections import (
    AutomationSection,
    ControlSection,
    CorpusSection,
    DecontaminationSection,
    DensitySection,
    EncoderSection,
    EngineSection,
    FiltersSection,
    JudgeSection,
    KeepOutSection,
    NearDuplicatesSection,
    PerplexitySection,
    ProjectSection,
    RetentionSection,
    ScoreSection,
    Section,
    SelectionSection,
    StorageSection,
    TargetSection,
    TopicsSection,
    TrackingSection,
    TransportSection,
)
from tamis.settings.training_sections import (
    BaseModelSection,
    CheckpointsSection,
    ComparisonSection,
    EvaluationSection,
    FineTuningSection,
    MixtureSection,
    PretrainingSection,
    SamplerTrialsSection,
    ScalingSection,
    TrainerSection,
    TrialBudgetSection,
    TuneSection,
)
from tamis.settings.values import FORMS_IN_WORDS, STORAGE_FORM, wrong_key

PROJECT_FILE, HOME = "tamis.toml", ".tamis"
HIDDEN = "(hidden)"
_SECRET = re.compile(r"^webhook$|(^|_)(api_?key|key|token|secret|passw\w*|credentials?)(_|$)", re.IGNORECASE)
"""Names of keys, valid or not, whose values no message shows."""


class UnreadableProjectError(PermanentError):
    """There is no project file at that path, or it is not TOML."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path} cannot be read: {problem}")


class FolderGoneError(PermanentError):
    """The folder in which a command was started does not exist any more."""

    def __init__(self) -> None:
        super().__init__(
            "the current folder no longer exists: it was deleted, or replaced by another one of its name; go "
            "to a folder that exists (`cd`), or name it with `tamis -C FOLDER`"
        )


class Settings(Section):
    """The whole of tamis.toml."""

    project: ProjectSection = ProjectSection()
    engine: EngineSection = EngineSection()
    storage: StorageSection = StorageSection()
    corpus: tuple[CorpusSection, ...]
    target: tuple[TargetSection, ...] = ()
    encoder: EncoderSection = EncoderSection()
    near_duplicates: NearDuplicatesSection = NearDuplicatesSection()
    transport: TransportSection = TransportSection()
    density: DensitySection = DensitySection()
    topics: TopicsSection = TopicsSection()
    judge: JudgeSection = JudgeSection()
    perplexity: PerplexitySection = PerplexitySection()
    decontamination: DecontaminationSection = DecontaminationSection()
    keep_out: tuple[KeepOutSection, ...] = ()
    filters: FiltersSection = FiltersSection()
    score: tuple[ScoreSection, ...] = ()
    selection: tuple[SelectionSection, ...] = ()
    base_model: tuple[BaseModelSection, ...] = ()
    pretraining: PretrainingSection = PretrainingSection()
    fine_tuning: FineTuningSection = FineTuningSection()
    trainer: TrainerSection | None = None
    checkpoints: CheckpointsSection = CheckpointsSection()
    scaling: ScalingSection = ScalingSection()
    trial_budget: TrialBudgetSection = TrialBudgetSection()
    comparison: ComparisonSection = ComparisonSection()
    control: tuple[ControlSection, ...] = ()
    sampler_trials: SamplerTrialsSection = SamplerTrialsSection()
    evaluation: EvaluationSection = EvaluationSection()
    mixture: MixtureSection | None = None
    tune: TuneSection | None = None
    retention: RetentionSection = RetentionSection()
    tracking: TrackingSection = TrackingSection()
    automation: AutomationSection = AutomationSection()
    _plugins: Plugins = PrivateAttr(default_factory=Plugins)

    def sizes_of(self, target: str) -> tuple[int, ...]:
        """The sizes of [scaling] for which a target has the examples."""
        train = named(self.target, target).train - self.fine_tuning.validation
        return tuple(size for size in self.scaling.sizes if size <= train)

    @model_validator(mode="after")
    def _names_resolve(self, info: ValidationInfo) -> "Settings":
        if isinstance(search := info.context, PluginSearch):
            for selection in self.selection:
                if selection.sampler not in SAMPLERS and ":" not in selection.sampler:
                    search.find("sampler", selection.sampler)
            self._plugins = search.plugins
        for kind in ("corpus", "target", "keep_out", "control", "score", "selection", "base_model"):
            names = [entry.name for entry in getattr(self, kind)]
            if repeated := {name for name in names if names.count(name) > 1}:
                raise wrong_key(
                    f"[[{kind}]] name",
                    min(repeated),
                    f"a unique name; several [[{kind}]] sections have this name",
                )
        for plugin in self.plugins.known:
            if plugin.declaration.kind == "sampler":
                register(sampler_of_plugin(plugin))
        check_references(self)
        return self

    @property
    def ranking_samplers(self) -> tuple[str, ...]:
        """The samplers that selections, [sampler_trials], [tune] and [mixture] rank documents by."""
        compared = self.sampler_trials.samplers if self.sampler_trials.model else ()
        tuned = self.tune.samplers if self.tune else ()
        mixed = (self.mixture.sampler,) if self.mixture else ()
        return (*(selection.sampler for selection in self.selection), *compared, *tuned, *mixed)

    @property
    def plugins(self) -> Plugins:
        """The plug-ins of the project's files, and the installed ones that it names."""
        return self._plugins

    @property
    def column_scores(self) -> tuple[ScoreSection, ...]:
        """The scores that are columns of rows."""
        return tuple(score for score in self.score if score.column)

    @property
    def classifier_scores(self) -> tuple[ScoreSection, ...]:
        """The scores that are answers of classifiers or regressors."""
        return tuple(score for score in self.score if score.model)

    @property
    def plugin_scores(self) -> dict[str, Plugin]:
        """The scores that are plug-ins: the plug-in by the name of the score."""
        named = {score.name: self.plugins.get("score", score.plugin) for score in self.score}
        return {name: plugin for name, plugin in named.items() if plugin is not None}


def project_file(start: Path | None = None) -> Path:
    """Path of tamis.toml: `TAMIS_PROJECT`, or the nearest one at or above `start` (the working directory).

    Raises `UnreadableProjectError` when there is none, and `FolderGoneError` where the working directory was
    deleted: libraries such as MKL end the process there.
    """
    if folder_gone():
        raise FolderGoneError
    if override := os.environ.get("TAMIS_PROJECT"):
        return Path(override).resolve()
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / PROJECT_FILE).is_file():
            return candidate / PROJECT_FILE
    raise UnreadableProjectError(
        folder / PROJECT_FILE,
        "there is no tamis.toml in this folder or any parent folder; change to the folder of your project, "
        "or name it with `tamis -C FOLDER`; `tamis init` starts a new project",
    )


def folder_gone() -> bool:
    """Return whether the working directory was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def home_folder(project: Path) -> Path:
    """Return the folder of results: `TAMIS_HOME`, or `.tamis` next to the project file."""
    override = os.environ.get("TAMIS_HOME")
    return Path(override).resolve() if override else project.parent / HOME


def storage_url(settings: Settings) -> str | None:
    """The object store that holds the results: `TAMIS_STORAGE_URL`, or as tamis.toml says; None for none."""
    override = os.environ.get("TAMIS_STORAGE_URL")
    try:
        return StorageSection(url=override).url if override else settings.storage.url
    except ValidationError:
        raise ConfigurationError(
            "TAMIS_STORAGE_URL", "url", without_secrets(str(override)), FORMS_IN_WORDS[STORAGE_FORM]
        ) from None


def load_settings(path: Path, root: Path | None = None) -> Settings:
    """Read and validate a project file, and the declarations of the plug-ins that it names.

    `root`: the folder of the project, where the file is a copy elsewhere. Raises `ConfigurationError` that
    names the key, the value found and what was valid, `UnreadableProjectError` when there is no file or no
    TOML in it, and `PluginError`.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UnreadableProjectError(path, error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnreadableProjectError(
            path, f"the file is not valid TOML in UTF-8: {error}{_toml_hint(str(error))}"
        ) from error
    return parse_settings(values, str(path), root or path.parent)


def _toml_hint(problem: str) -> str:
    if "Cannot overwrite" in problem or "Cannot declare" in problem:
        return (
            "; each table may appear only once, except [[corpus]], [[target]], [[keep_out]], [[control]], "
            "[[score]], [[selection]] and [[base_model]], whose headings need double brackets every time"
        )
    if "end of document after a statement" in problem or "Invalid value" in problem:
        return '; put strings and percentages in quotes, as in budget = "10%"'
    return ""


def parse_settings(values: dict[str, Any], file: str = PROJECT_FILE, root: Path | None = None) -> Settings:
    """Validate the parsed content of a project file; raises `ConfigurationError`.

    `root`: the folder of the project, in which the files of its plug-ins are; without it none is read.
    Raises `PluginError`, too.
    """
    search = None if root is None else PluginSearch(plugins_of_files(root, _plugin_files(values)))
    try:
        return Settings.model_validate(values, context=search)
    except ValidationError as error:
        first = _most_telling(error.errors())
        raise ConfigurationError(
            file, _key_path(first), _found(first), _expected(first), _name(first, values)
        ) from None  # pydantic's error quotes what may be a secret


def _plugin_files(values: dict[str, Any]) -> list[str]:
    """Return the files of plug-ins that an unchecked [project] names; of a wrong type none."""
    section = values.get("project")
    files = section.get("plugins") if isinstance(section, dict) else None
    named = files if isinstance(files, list) else []
    return [file.strip() for file in named if isinstance(file, str) and file.strip()]


def _name(problem: Any, values: dict[str, Any]) -> str:
    """Return the name of the section with a problem, where it is one of several that have names; else ""."""
    match problem["loc"]:
        case (str(kind), int(place), *_):
            section = values[kind][place]
            name = section.get("name") if isinstance(section, dict) else None
            return name if isinstance(name, str) else ""
    return ""


def _most_telling(problems: Sequence[Any]) -> Any:
    """Return the first problem; if that is a missing key, prefer an unknown key, likely its misspelling."""
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
    """Return the value of a wrong key, without what may be a secret: a key, or an address that holds one."""
    if problem["type"] == "missing":
        return None
    found = problem["ctx"]["found"] if problem["type"] == "tamis" else problem["input"]
    if isinstance(found, str) and any(_SECRET.search(str(part)) for part in problem["loc"]):
        return HIDDEN
    return without_secrets(found) if isinstance(found, str) else found


def _expected(problem: Any) -> str:
    match problem["type"]:
        case "missing":
            return (
                _wanted(problem["loc"])
                if len(problem["loc"]) > 1
                else f"at least one [[{problem['loc'][0]}]]"
            )
        case "extra_forbidden":
            known = sorted(_section_of(problem["loc"]).model_fields)
            return f"one of the known keys: {', '.join(known)}{did_you_mean(problem['loc'][-1], known)}"
        case "literal_error":
            valid = re.findall("'([^']*)'", problem["ctx"]["expected"])
            return f"{problem['ctx']['expected']}{did_you_mean(problem['input'], valid)}"
        case "string_pattern_mismatch":
            return FORMS_IN_WORDS[problem["ctx"]["pattern"]]
        case "tuple_type" if len(problem["loc"]) > 1:
            return "a list, in square brackets"
        case "tuple_type":
            return f"a list of tables, each under the heading [[{problem['loc'][-1]}]]"
        case "model_type":
            return f"a table: [{problem['loc'][-1]}]"
    return str(problem["msg"]).removeprefix("Input should be ")


def _wanted(location: tuple[int | str, ...]) -> str:
    """Return in words what a key that is missing holds."""
    field = _section_of(location).model_fields.get(str(location[-1]))
    if field is not None and get_origin(field.annotation) is Literal:
        return f"one of: {', '.join(map(str, get_args(field.annotation)))}"
    whole = field is not None and field.annotation is int
    return "a whole number" if whole else "a value (docs/settings.md describes every key)"


def _section_of(location: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the section that holds a key."""
    section: type[BaseModel] = Settings
    for part in location[:-1]:
        if isinstance(part, str) and part in section.model_fields:
            annotation = section.model_fields[part].annotation
            inner = getattr(annotation, "__args__", (annotation,))[0]
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                section = inner
    return section
