"""The tables of tamis.toml: their keys, ranges and defaults.

Every default is one that was measured to work on two CPU cores; a range excludes what cannot work, not
what is unwise. What concerns several tables is checked in `tamis.settings.config`.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, model_validator

from tamis.plugins.reading import PluginSearch
from tamis.settings.budget import ImpossibleSharesError, Per, Shares, check_bounds
from tamis.settings.language_codes import short_code
from tamis.settings.values import (
    ADDRESS_FORM,
    OWNER_FORM,
    TRACKER_FORM,
    TRACKERS_IN_WORDS,
    URL_FORM,
    VARIABLE_FORM,
    Budget,
    Glob,
    GroupShares,
    Language,
    Name,
    Pattern,
    Region,
    RuleName,
    ScoreColumn,
    ScoreName,
    ScoreRange,
    Split,
    StorageUrl,
    TextColumns,
    refuse,
    wrong_key,
)

RowFormat = Literal["text", "messages", "sharegpt", "alpaca", "problem", "preference"]
AUTO_COLUMN = "auto"
"""In place of the name of a text column: each file decides (`tamis.readers.text_columns`)."""
COLUMN_OF_FORMAT = {
    "messages": "messages",
    "sharegpt": "conversations",
    "alpaca": "output",
    "problem": "solution",
    "preference": "chosen",
}
ANSWERS_TO_PROBLEMS = ("solution", "answer")
"""Columns of the answer in rows of problems, of which a row takes the first that it has."""
COLUMN_ENCODER = "column:"
"""Name of an encoder that is a column of the rows, before the column."""
SCORE_KINDS = ("column", "model", "plugin")
"""Keys of a [[score]] that say where its values come from; a section has one of them."""
RESERVED_CONTROLS = ("target", "pool")
"""Names of losses that every comparison has, which no [[control]] may have."""
DIVIDING = frozenset({"per", "minimum_shares", "maximum_shares"})
"""Keys of a [[selection]] that divide its budget."""


class Section(BaseModel):
    """A table of tamis.toml: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_nul(cls, values: Any) -> Any:
        """Refuse the character that no path and no name may contain."""
        for key, value in values.items() if isinstance(values, dict) else ():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and "\0" in one:
                    raise wrong_key(key, value, "text without the character NUL (\\u0000)")
        return values

    @model_validator(mode="before")
    @classmethod
    def _no_other_type(cls, values: Any) -> Any:
        """Refuse what pydantic would convert: a number or true in quotes, and true for a number."""
        for key, value in values.items() if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                continue
            kinds = list(_kinds(cls.model_fields[key].annotation))
            for one in value if isinstance(value, list) else [value]:
                if (int in kinds or float in kinds) and type(one) in (bool, str) and type(one) not in kinds:
                    raise wrong_key(
                        key, value, f"a number{', without quotes' if isinstance(one, str) else ''}"
                    )
                of_list = isinstance(value, list) and type(one) in kinds
                if bool in kinds and not isinstance(one, bool) and not of_list:
                    raise wrong_key(key, value, "true or false, without quotes")
        return values


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types that a value, or each value of a list, may have."""
    for part in get_args(annotation):
        yield from _kinds(part)
    yield annotation


class ProjectSection(Section):
    name: Name = "tamis"
    seed: int = Field(0, ge=0, le=2**63 - 1)
    owner: Annotated[str, StringConstraints(pattern=OWNER_FORM)] = "team:data"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    tokenizer: Pattern | None = None
    plugins: tuple[Pattern, ...] = ()


class EngineSection(Section):
    """Where work runs: in this process, or on a Ray cluster (`address` None: one of this process alone)."""

    kind: Literal["local", "ray"] = "local"
    address: Annotated[str, StringConstraints(pattern=ADDRESS_FORM)] | None = None
    workers: int | None = Field(None, ge=1)
    cpus_per_worker: int = Field(1, ge=1)
    gpus_per_worker: float = Field(0.0, ge=0)
    retries: int = Field(3, ge=0)


class StorageSection(Section):
    """The place of tables, manifests, checkpoints and pages: the home (`url` None), or an object store."""

    url: StorageUrl | None = None


def _with_column(values: Any) -> Any:
    """Name the usual column of a format of conversations, where the section names none."""
    form = str(values.get("format")) if isinstance(values, dict) else ""
    usual = [*ANSWERS_TO_PROBLEMS] if form == "problem" else COLUMN_OF_FORMAT.get(form)
    return {"text_column": usual} | values if usual else values


class CorpusSection(Section):
    """Where documents come from: `files` or `datasets` (one file a shard), `python-docs` (one package)."""

    name: Name
    kind: Literal["files", "python-docs", "datasets"]
    path: str | None = None
    hub: str | None = None
    revision: str | None = None
    splits: tuple[Pattern, ...] = ()
    packages: tuple[str, ...] = ()
    format: RowFormat = "text"
    text_column: TextColumns = "text"
    extract: Literal["html"] | None = None
    repair: Literal["ftfy"] | None = None
    include: tuple[Glob, ...] = ("**/*",)
    exclude: tuple[Glob, ...] = ()
    follow_links: bool = False
    licence: str | None = None
    language: str | None = None
    keep_columns: bool | tuple[str, ...] = True
    split: Split | None = None
    minimum_characters: int = Field(1, ge=1)
    maximum_row_bytes: int = Field(10_000_000, ge=1_000)

    _usual_column = model_validator(mode="before")(_with_column)

    @model_validator(mode="after")
    def _kind_has_its_key(self) -> "CorpusSection":
        of_datasets = {key: getattr(self, key) for key in ("hub", "revision", "splits")}
        refuse(
            (
                self.format != "text" and self.kind == "python-docs",
                "format",
                self.format,
                'no value, since kind = "python-docs"',
            ),
            (
                self.extract and (self.format != "text" or self.kind == "python-docs"),
                "extract",
                self.extract,
                "no value, since these rows are no pages",
            ),
            (
                self.repair and (self.format != "text" or self.kind == "python-docs"),
                "repair",
                self.repair,
                "no value, since only plain texts are mended",
            ),
            (
                self.split and self.format != "text",
                "split",
                self.split,
                "no value, since only plain texts are split: a conversation stays whole",
            ),
            (
                self.kind == "files" and not self.path,
                "path",
                None,
                'a folder or file, such as path = "documents", since kind = "files"',
            ),
            (
                self.kind == "python-docs" and not self.packages,
                "packages",
                None,
                'installed packages, such as packages = ["numpy"], since kind = "python-docs"',
            ),
            (
                self.kind == "datasets" and (self.path is None) == (self.hub is None),
                "path",
                self.path,
                'either path (a folder written by save_to_disk) or hub ("owner/name"), '
                'since kind = "datasets"',
            ),
            *(
                (self.kind != "datasets" and value, key, value, 'no value unless kind = "datasets"')
                for key, value in of_datasets.items()
            ),
        )
        return self


class TargetSection(Section):
    """Examples of what the model must become good at, split into training and held-out parts."""

    name: Name
    kind: Literal["files", "python-docs"]
    path: str | None = None
    follow_links: bool = False
    packages: tuple[str, ...] = ()
    module: str | None = None
    format: RowFormat = "text"
    text_column: TextColumns = "text"
    extract: Literal["html"] | None = None
    minimum_characters: int = Field(1, ge=1)
    train: int = Field(300, ge=1)
    held_out: int = Field(150, ge=0)
    prompt_column: str | None = None
    response_column: str | None = None
    label_column: str | None = None

    @property
    def is_answered(self) -> bool:
        """Whether its examples say what is to be learnt of them: a response, answers or a label."""
        return bool(self.response_column or self.label_column or self.format != "text")

    _usual_column = model_validator(mode="before")(_with_column)

    @model_validator(mode="after")
    def _keys_fit(self) -> "TargetSection":
        answers = {
            "response_column": self.response_column,
            "label_column": self.label_column,
            "format": None if self.format == "text" else self.format,
        }
        refuse(
            (
                (self.prompt_column is None) != (self.response_column is None),
                "prompt_column" if self.prompt_column is None else "response_column",
                None,
                "a column name, since prompt_column and response_column must be set together",
            ),
            (
                self.response_column and self.label_column,
                "label_column",
                self.label_column,
                "no value, since response_column already says what to learn",
            ),
            (
                self.format != "text" and (self.response_column or self.label_column),
                "format",
                self.format,
                "'text', since response_column or label_column already says what to learn",
            ),
            *(
                (
                    self.is_answered and self.kind != "files" and value is not None,
                    key,
                    value,
                    'no value unless kind = "files"',
                )
                for key, value in answers.items()
            ),
            (
                self.extract
                and (self.format != "text" or self.response_column or self.kind == "python-docs"),
                "extract",
                self.extract,
                "no value, since these examples are no pages",
            ),
            (
                self.kind == "files" and not self.path,
                "path",
                None,
                'a folder or file, such as path = "target", since kind = "files"',
            ),
            (
                self.path and "://" in self.path,
                "path",
                self.path,
                "a folder or file on this machine; only a corpus may be remote",
            ),
            (
                self.kind == "python-docs" and not self.packages,
                "packages",
                None,
                'installed packages, such as packages = ["scipy"], since kind = "python-docs"',
            ),
        )
        return self


class EncoderSection(Section):
    """`static`, `minilm`, `multilingual-e5-small`, or any sentence-transformers id or folder.

    Or a column of the rows that has their vectors: then the name is `column:` and the column.
    """

    name: str = Field("static", min_length=1)
    column: ScoreColumn | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_by_column(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name, column = values.get("name"), values.get("column")
        if isinstance(column, str):
            if name not in (None, f"{COLUMN_ENCODER}{column}"):
                raise wrong_key("name", name, "no value, since column already says where vectors come from")
            return values | {"name": f"{COLUMN_ENCODER}{column}"}
        if isinstance(name, str) and name.startswith(COLUMN_ENCODER):
            written = f'column = "{name.removeprefix(COLUMN_ENCODER)}"'
            raise wrong_key("name", name, f"the name of an encoder; for vectors in the rows set {written}")
        return values


class NearDuplicatesSection(Section):
    threshold: float = Field(0.8, gt=0, le=1)
    cosine: float | None = Field(None, ge=0.9, le=1)


class TransportSection(Section):
    relative_epsilon: float = Field(0.03, gt=0, le=0.3)
    tolerance: float = Field(1e-3, gt=0, lt=1)
    max_passes: int = Field(500, ge=1)
    memory: int = Field(1_000_000_000, ge=0)


class DensitySection(Section):
    rows: int = Field(1_200, ge=1)
    hashes: int = Field(10, ge=1)
    calibration: int = Field(2_000, ge=2)


class JudgeSection(Section):
    """The model asked about a sample of the pool; the grader extends its answers to every document."""

    model: str = "smollm2-135m"
    prompt: Literal["auto", "ask-llm", "examples"] = "auto"
    sample: int = Field(200, ge=40)
    active_share: float = Field(0.5, ge=0, le=1)
    max_tokens: int = Field(192, ge=16)
    batch_size: int = Field(16, ge=1)
    url: Annotated[str, StringConstraints(pattern=URL_FORM)] | None = None
    key_env: str | None = None
    price_per_million_tokens: float | None = Field(None, ge=0)


class PerplexitySection(Section):
    """Bits per byte by a base model and its twin, each used on the half of the pool it never saw."""

    model: Name | None = None
    max_tokens: int = Field(128, ge=16)


class TopicsSection(Section):
    """Clusters of vectors, by which a budget or a mixture may be divided."""

    count: int = Field(16, ge=2, le=200)


class RetentionSection(Section):
    """How long vectors, answers and scores of documents that left are kept; 0: not at all.

    Answers of a judge's server stay until `tamis purge --answers`.
    """

    days: int = Field(30, ge=0, le=36_500)


class DecontaminationSection(Section):
    ngram: int = Field(20, ge=5)
    maximum_share: float = Field(0.01, gt=0, le=1)


class KeepOutSection(Section):
    """A benchmark whose rows no selection may give away; without `text_columns`, every column with text."""

    name: Name
    path: Pattern
    text_columns: tuple[Pattern, ...] = ()

    @model_validator(mode="after")
    def _path_is_local(self) -> "KeepOutSection":
        refuse(
            (
                "://" in self.path,
                "path",
                self.path,
                "a file, a folder or a glob on this machine; only a corpus may be remote",
            ),
        )
        return self


class ControlSection(Section):
    """Texts off the goal, on which trained models are measured to see what a choice costs elsewhere."""

    name: Name
    path: Pattern
    text_column: TextColumns = "text"

    @model_validator(mode="after")
    def _keys_fit(self) -> "ControlSection":
        refuse(
            (
                self.name in RESERVED_CONTROLS,
                "name",
                self.name,
                "another name: losses on the target and on the pool are shown under these names",
            ),
            (
                "://" in self.path,
                "path",
                self.path,
                "a folder or file on this machine; only a corpus may be remote",
            ),
        )
        return self


class FiltersSection(Section):
    """Which documents no selection may choose: by rules of form, language, personal data, origin."""

    heuristics: tuple[Literal["gopher", "fineweb", "word_order", "noise", "boilerplate", "form"], ...] = ()
    heuristics_off: tuple[RuleName, ...] = ()
    languages: tuple[Language, ...] = ()
    language_from: Literal["stated", "detected"] = "stated"
    language_confidence: float = Field(0.5, ge=0, le=1)
    personal_data: Literal["off", "flag", "exclude"] = "off"
    personal_data_limit: int = Field(0, ge=0)
    phone_regions: tuple[Region, ...] = ("US", "GB", "DE", "FR")
    licences_allowed: tuple[Pattern, ...] = ()
    licences_denied: tuple[Pattern, ...] = ()
    unknown_licence: Literal["allow", "exclude"] = "allow"
    sources_allowed: tuple[Pattern, ...] = ()
    sources_denied: tuple[Pattern, ...] = ()


class ScoreSection(Section):
    """A score of the user's own, for samplers and conditions: of one of the kinds in `SCORE_KINDS`.

    `column`: a column of numbers in the rows of corpora. `model`: a classifier or regressor of sequences, of
    which the answer for `label` counts. `plugin`: the name of a score in Python. "" for the others. `range`:
    the ends between which a value is a quality; samplers that weigh quality need it.
    """

    name: ScoreName
    column: ScoreColumn = ""
    model: Pattern = ""
    plugin: Pattern = ""
    label: Pattern | None = None
    higher: Literal["better", "worse"] = "better"
    range: ScoreRange | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_declared(cls, values: Any, info: ValidationInfo) -> Any:
        """Take from a plug-in's declaration what the section leaves out."""
        if not isinstance(values, dict) or not isinstance(info.context, PluginSearch):
            return values
        named = values.get("plugin")
        plugin = info.context.find("score", named) if isinstance(named, str) else None
        if plugin is None:
            return values
        declared = {"higher": plugin.declaration.higher, "range": plugin.declaration.range}
        return {name: value for name, value in declared.items() if value is not None} | values

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "ScoreSection":
        given = [kind for kind in SCORE_KINDS if getattr(self, kind)]
        wrong = SCORE_KINDS[0] if not given else given[-1]
        refuse(
            (
                len(given) != 1,
                wrong,
                getattr(self, wrong) or None,
                f"exactly one of the keys {', '.join(SCORE_KINDS)}, which say where the values come from",
            ),
            (
                self.label is not None and not self.model,
                "label",
                self.label,
                "no value, since `model` is not set",
            ),
        )
        return self


class SelectionSection(Section):
    name: Name
    sampler: str
    budget: Budget
    where: Pattern | None = None
    quality: ScoreName | None = None
    mixture: bool = False
    target: Name | None = None
    away_from: Name | None = None
    away_weight: float = Field(1.0, ge=0, le=1e6)
    quality_weight: float = Field(1.0, ge=0, le=1e6)
    temperature: float = Field(1.0, gt=0)
    diversity_weight: float = Field(1.0, ge=0)
    rounds: int = Field(10, ge=1)
    mixing: float = Field(0.5, gt=0, le=1)
    per: Per | None = None
    minimum_shares: GroupShares | None = None
    maximum_shares: GroupShares | None = None

    @model_validator(mode="after")
    def _shares_fit(self) -> "SelectionSection":
        least, most = self.minimum_shares is not None, self.maximum_shares is not None
        named = "minimum_shares" if least else "maximum_shares"
        refuse(
            (
                self.per is None and (least or most),
                "per",
                None,
                f'"source", "topic" or "language", since {named} is set',
            ),
            (
                self.per and not (least or most),
                "maximum_shares",
                None,
                f"minimum_shares or maximum_shares, such as maximum_shares = 0.3, since per = {self.per!r}",
            ),
        )
        try:
            check_bounds(*self.bounds)
        except ImpossibleSharesError as error:
            key = f"{error.key}.{error.group}" if error.group is not None else error.key
            raise wrong_key(key, error.found, error.expected) from error
        return self

    @property
    def bounds(self) -> tuple[Shares, Shares]:
        """The least and the largest shares of groups; 0 and 1 where tamis.toml has none."""
        least, most = map(self._of_groups, (self.minimum_shares, self.maximum_shares))
        return (0.0 if least is None else least), (1.0 if most is None else most)

    def _of_groups(self, shares: Shares | None) -> Shares | None:
        """Shares by the names that groups have: of languages, the codes that rows are counted under."""
        if self.per != "language" or not isinstance(shares, dict):
            return shares
        return {short_code(name) or name: share for name, share in shares.items()}


class TrackingSection(Section):
    uri: str | None = None
    experiment: Name = "tamis"

    @model_validator(mode="after")
    def _is_an_address_without_secret(self) -> "TrackingSection":
        uri = self.uri or ""
        user, at, _host = uri.partition("://")[2].partition("@")
        refuse(
            (
                at and ":" in user,
                "uri",
                "(hidden)",
                "an address without a password; only TAMIS_MLFLOW_URL may contain one",
            ),
            (
                self.uri is not None and not re.match(TRACKER_FORM, uri),
                "uri",
                "(hidden)" if "@" in uri else uri,
                TRACKERS_IN_WORDS,
            ),
        )
        return self


class AutomationSection(Section):
    interval_seconds: int = Field(10, ge=5)
    settle_seconds: float = Field(2.0, ge=0)
    maximum_attempts: int = Field(3, ge=1)
    until: Literal["selections", "reports"] = "reports"
    approve_selections: bool = False
    kept_versions: int = Field(20, ge=2)
    maximum_quarantine: float = Field(0.05, ge=0, le=1)
    webhook: Annotated[str, StringConstraints(pattern=URL_FORM)] | None = None
    webhook_events: tuple[Literal["selection_changed", "failed", "quarantine_grew"], ...] = (
        "selection_changed",
        "failed",
        "quarantine_grew",
    )
    webhook_key_env: Annotated[str, StringConstraints(pattern=VARIABLE_FORM)] | None = None
