"""The tables of tamis.toml about models, their training, and what is learnt from it."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from tamis.base.own_command import placeholders
from tamis.settings.sections import Section
from tamis.settings.values import Budget, Compute, Duration, Name, Names, Pattern, ScoreName, refuse

Preset = Literal["llama-0.3m", "llama-0.8m", "llama-2.5m", "llama-6m", "llama-22m"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
"""Shapes that the graph trains itself, smallest first."""
MOST_RUNS = 2_000
"""Of one mixture: each is a partition, and the largest published swarm has half as many."""
LEAST_PAIRS = 3
"""Of runs, for an interval that counts the luck of seeds."""
SPEC = "spec"
"""Placeholder in the command of [trainer]: the path of the file that says what to train."""
FOLDERS = ("checkpoint", "out")
"""Names in braces in the command of [evaluation]: the model's folder, and the folder to write to."""
Word = Annotated[str, StringConstraints(min_length=1)]
"""A word of a command, passed as it is: no shell reads it."""
OWN_RECIPE = {"learning_rate", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets"}


class BaseModelSection(Section):
    """A shape the graph pre-trains on the pool (`preset`), or an existing model (`path`: folder or id)."""

    name: Name
    preset: Preset | None = None
    path: str | None = None
    checkpoints: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    learning_rate: float | None = Field(None, gt=0)
    lora_rank: int | None = Field(None, ge=1)
    lora_alpha: int | None = Field(None, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_targets: tuple[Pattern, ...] = ()

    def recipe(self) -> dict[str, Any]:
        """Return the settings of its trainings that differ from [fine_tuning]; empty without such keys."""
        return self.model_dump(include=OWN_RECIPE, exclude_defaults=True)

    @model_validator(mode="after")
    def _keys_fit(self) -> "BaseModelSection":
        given = {key: getattr(self, key) for key in ("lora_alpha", "lora_dropout", "lora_targets")}
        refuse(
            *(
                (self.lora_rank is None and value, key, value, "no value without lora_rank")
                for key, value in given.items()
            ),
            (
                (self.preset is None) == (self.path is None),
                "preset",
                self.preset,
                "either preset (trained on the pool) or path (an existing model), not both",
            ),
            (
                self.path is not None and self.checkpoints,
                "checkpoints",
                list(self.checkpoints),
                "no value, since path names a model that is already trained",
            ),
        )
        return self


class PretrainingSection(Section):
    tokens: int = Field(700_000, ge=1_000)
    vocabulary: int = Field(4_096, ge=512)
    sequence_length: int = Field(256, ge=32)
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    compile: bool = False

    def recipe(self) -> dict[str, Any]:
        """What a pre-training depends on; `compile` only where it is set."""
        return self.model_dump(exclude={"compile"}) | self.model_dump(
            include={"compile"}, exclude_defaults=True
        )


class FineTuningSection(Section):
    """How trials are trained; `kept_states` concerns the cache alone."""

    epochs: int = Field(3, ge=1)
    sequence_length: int = Field(256, ge=32)
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    accumulation: int = Field(1, ge=1)
    precision: Literal["auto", "float32", "bfloat16", "autocast"] = "auto"
    compile: bool = False
    pooling: Literal["last", "mean"] = "last"
    seeds: int = Field(1, ge=1, le=20)
    validation: int = Field(0, ge=0)
    patience: int = Field(3, ge=1)
    evaluations: int = Field(4, ge=1)
    kept_states: int = Field(4, ge=1)

    def shared(self) -> dict[str, Any]:
        """Return what every training depends on, those of sampler trials too."""
        always = self.model_dump(include={"epochs", "sequence_length", "batch_size", "learning_rate"})
        return always | self.model_dump(include={"compile"}, exclude_defaults=True)

    def recipe(self) -> dict[str, Any]:
        """Return what a trial depends on; other keys only where they are not at their default and in use, so
        that a key which nobody uses makes nothing again."""
        unused = {"kept_states"} | (set() if self.validation else {"patience", "evaluations"})
        return self.shared() | self.model_dump(exclude=unused, exclude_defaults=True)


class TrainerSection(Section):
    """A command of the user's that trains in place of Tamis; `time_limit`: of one run."""

    command: tuple[Pattern, ...]
    at_once: int = Field(1, ge=1)
    time_limit: Duration = 86_400.0

    @property
    def seconds(self) -> float:
        """The time limit of one run, seconds."""
        return float(self.time_limit)

    @model_validator(mode="after")
    def _command_takes_a_spec(self) -> "TrainerSection":
        names = placeholders(self.command)
        refuse(
            (
                names != [SPEC] or not self.command,
                "command",
                list(self.command),
                'a list of words with the placeholder {spec} alone, such as ["python", "train.py", "{spec}"]',
            )
        )
        return self


class CheckpointsSection(Section):
    """Which checkpoints stay that a later training of the same trial has superseded; all where unset."""

    keep_superseded: int | None = Field(None, ge=0)


class ScalingSection(Section):
    """Trials for the law: models x sizes of nested random subsets of each target's training set."""

    target: Name | tuple[Name, ...] | None = None
    models: tuple[Name, ...] = ()
    sizes: tuple[Annotated[int, Field(gt=0)], ...] = (6, 12, 25, 50, 100, 200)
    predict_at: int | None = Field(None, gt=0)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, each once, in the order given."""
        return tuple(dict.fromkeys([self.target] if isinstance(self.target, str) else self.target or ()))


class TrialBudgetSection(Section):
    """How much of the full cost the trials of [scaling] may take; a search then chooses among them."""

    share: float | None = Field(None, gt=0, le=1)
    maximum_attempts: int = Field(3, ge=1, le=10)


class OnRequestSection(Section):
    """Warm-ups of every model on every selection here, made by `tamis materialize --on-request` alone."""

    models: tuple[Name, ...] = ()
    selections: tuple[Name, ...] = ()


class ComparisonSection(Section):
    """Selections that the model is warmed up on, to see what the choice of documents buys."""

    model: Name | None = None
    selections: tuple[Name, ...] = ()
    two_stage: bool = False
    on_request: OnRequestSection = OnRequestSection()


class EvaluationSection(Section):
    """The user's own evaluation of checkpoints: a command that writes scores by task and example.

    `metric`: of lm-eval's samples the only one to read. `time_limit`: seconds of one command.
    """

    command: tuple[Word, ...] = ()
    metric: Pattern | None = None
    time_limit: int = Field(86_400, ge=1)

    @model_validator(mode="after")
    def _command_names_its_folders(self) -> "EvaluationSection":
        named = placeholders(self.command)
        missing = [f"{{{name}}}" for name in FOLDERS if self.command and name not in named]
        unknown = sorted({*named} - {*FOLDERS})
        shown = list(self.command)
        refuse(
            (
                missing,
                "command",
                shown,
                f"a list of words with {' and '.join(missing)}, such as "
                '["python", "evaluate.py", "{checkpoint}", "{out}"]',
            ),
            (
                unknown,
                "command",
                shown,
                f"no names in braces but {{checkpoint}} and {{out}} (found: {{{''.join(unknown[:1])}}})",
            ),
        )
        return self


class MixtureSection(Section):
    """How much of each source to train on: a law fitted to runs of a small model on different mixtures.

    `model`, `agreement_model`: a preset, or a [[base_model]] that has one. `run_tokens`: of each run;
    `train_tokens`: of the training that the mixture is for. `agreement_model` unset: the next larger preset.
    `pairs`: of new runs that test the mixture against the natural shares; 0: it is not tested.
    """

    target: Names
    model: Name
    sampler: str = "random"
    sources: Literal["corpora", "source", "topics"] = "corpora"
    runs: int | None = Field(None, ge=1, le=MOST_RUNS)
    run_tokens: int = Field(500_000, ge=1_000)
    train_tokens: int = Field(ge=1_000)
    max_repetition: float = Field(4.0, ge=1, le=1_000)
    stay_near: float = Field(0.05, ge=0, le=1_000)
    agreement_model: Name | None = None
    pairs: int = Field(3, ge=0, le=100)

    @model_validator(mode="after")
    def _pairs_can_test(self) -> "MixtureSection":
        few = 0 < self.pairs < LEAST_PAIRS
        refuse((few, "pairs", self.pairs, f"{LEAST_PAIRS} or more, or 0, which leaves the mixture untested"))
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, each once, in the order given."""
        return tuple(dict.fromkeys([self.target] if isinstance(self.target, str) else self.target))


class TuneSection(Section):
    """The recipe to train by for a target: recipes that are searched, the budget, and the test of the best.

    `learning_rates`: none = that of the model. `tokens`: of a run that tests; runs of the search have as many
    or fewer. `train_tokens`: of the training that the recipe is for, of whose compute `budget` may be a
    percentage; unset, all tokens that may be chosen. `budget` unset: the test, and a run of each recipe.
    """

    target: Name
    models: tuple[Name, ...] = Field(min_length=1)
    samplers: tuple[str, ...] = Field(("got-d", "knn", "classifier"), min_length=1)
    shares: tuple[Budget, ...] = Field(("10%",), min_length=1)
    quality: ScoreName | None = None
    quality_weights: tuple[Annotated[float, Field(ge=0, le=1e6)], ...] = (1.0,)
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = ()
    from_scratch: bool = False
    tokens: int = Field(200_000, ge=1_000)
    train_tokens: int | None = Field(None, ge=1_000)
    recipes: int = Field(12, ge=2, le=24)
    pairs: int = Field(3, ge=LEAST_PAIRS, le=100)
    budget: Compute | None = None


class SamplerTrialsSection(Section):
    """One small model trained on what every sampler chooses, with several seeds, in pairs."""

    model: Name | None = None
    target: Name | None = None
    from_scratch: bool = True
    samplers: tuple[str, ...] = ("got-d", "knn", "density")
    budgets: tuple[Budget, ...] = ("10%",)
    data_seeds: int = Field(3, ge=1, le=100)
    training_seeds: int = Field(2, ge=1, le=100)
    tokens: int = Field(200_000, ge=1_000)
    evaluations: int = Field(8, ge=1)
    pool_share: float = Field(0.5, gt=0, le=1)
    held_out: int = Field(150, ge=10)
