"""Export for another trainer: rows in its shape, and its configuration by the recipe measured here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tamis.base.errors import NotMadeError, PermanentError, UnknownNameError
from tamis.base.files import replace_folder
from tamis.base.numbers import counted
from tamis.base.precision import BFLOAT16
from tamis.interchange import Description, describe_subset, write_descriptions
from tamis.interchange.export_paths import require_free
from tamis.interchange.trainers import Recipe, Shape, TrainingFile, configuration_files
from tamis.interchange.training_rows import TrainingRows, UnfitRowsError, training_rows
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.scaling.stage import CHOICE_STAGE
from tamis.scan.sources import value_due
from tamis.settings.budget import parse_budget
from tamis.settings.config import SelectionSection
from tamis.settings.references import named
from tamis.settings.samplers import find_sampler
from tamis.store.exports import CARD, FOR_TRAINER, description_path, rows_in_folder
from tamis.store.tables import quoted
from tamis.trainer.trials import training_options
from tamis.training.device import AUTOCAST
from tamis.training.errors import UnknownModelError
from tamis.training.models import SMOLLM2, model_files
from tamis.training.options import REFERENCE_WIDTH
from tamis.training.planned import target_of_warm_up
from tamis.training.stage import BASE_MODELS_STAGE, TRIALS
from tamis.tuning.answer import as_selection, trained_by
from tamis.tuning.stage import RECIPE_STAGE, RECIPES, TUNE_ANSWERS
from tamis.verbs.elsewhere.export import Exported, noted, publish_unless_withdrawn, read_subset
from tamis.withdrawal.since import WithdrawnSince

EMBEDDED = {SMOLLM2: "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""Ids of the hub for models that other trainers cannot read from their package."""
WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
WIDTH_OF_EMBEDDED = 576


class UnfitModelError(PermanentError):
    """No base model, or one that trainers of causal models do not take. Nothing was written."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"nothing was written: {problem}; {cure}")


class NothingToTrainError(PermanentError):
    """A selection without documents."""

    def __init__(self, selection: str) -> None:
        super().__init__(
            f"nothing was written: selection {selection!r} contains no documents to train on; the page "
            f"selection_{selection}.html says why each document was dropped"
        )


@dataclass(frozen=True, kw_only=True)
class Training:
    """The way in which a selection is to be trained on.

    model: name of a [[base_model]]; None: that of the recipe which chooses these documents, else that of the
    model choice, else the first with a path, else the first. as_text: conversations as plain text. counted:
    repetitions as a column, not as rows.
    """

    trainer: str
    model: str | None = None
    as_text: bool = False
    counted: bool = False


def export_for_trainer(
    project: Project, selection: str, training: Training, output: Path | None = None
) -> Exported:
    """Write a folder with the rows of a selection and the configuration of a trainer.

    The rows are in the order of training that the project's seed gives, in train.jsonl. With them: data card,
    Croissant description and lineage, as of other exports. `output`: the folder, if not in that of exports.

    Raises as `export_selection` does, and `UnfitModelError`, `UnfitRowsError` or `NothingToTrainError`.
    """
    form = f"{FOR_TRAINER}{training.trainer}"
    path = output.absolute() if output else project.home.exports / f"{selection}.{form}"
    require_free(project, path, form, path)
    since = WithdrawnSince(project.home)
    subset = read_subset(project, selection)
    if subset.chosen.is_empty():
        raise NothingToTrainError(selection)
    recipe, template = _recipe(project, selection, training.model)
    rows = training_rows(
        project,
        selection,
        training.trainer,
        subset.chosen,
        as_text=training.as_text,
        counted=training.counted,
    )
    talks = rows.shape == Shape.MESSAGES or (
        rows.shape == Shape.PREFERENCE and isinstance(next(iter(rows.contents.values()))["chosen"], list)
    )
    if talks and not template and training.trainer != "llama-factory":
        raise UnfitRowsError(
            selection,
            f"these are conversations, and the tokenizer of the base model {recipe.name!r} has no chat "
            f"template, by which {training.trainer} would read them",
            "name another --model, or use --text, which writes plain texts",
        )
    facts, lineage = describe_subset(project, subset.published, subset.decisions, subset.chosen)
    file = TrainingFile(selection=selection, shape=rows.shape, counted=training.counted)
    texts = configuration_files(training.trainer, recipe, file)
    since.require_none(path.name)
    with replace_folder(path) as draft:
        data = rows_in_folder(draft, form)
        schema = _write(rows, data)
        description = Description(
            facts=facts, lineage=lineage, known=frozenset(schema.names), in_training_order=True
        )
        write_descriptions(description, data, schema, data)
        for name, text in texts.items():
            (draft / name).write_text(text, "utf-8")
    publish_unless_withdrawn(project.home, path, [one for one in path.rglob("*") if one.is_file()], since)
    written, count = rows_in_folder(path, form), len(rows.contents)
    notes = noted(project.home, subset.published, facts.version, path, written, count, form)
    repeated = (
        f" of {counted(len(rows.contents), 'document')}" if len(rows.order) > len(rows.contents) else ""
    )
    return Exported(
        path=path,
        documents=count,
        notes=[
            f"{counted(len(rows.order), 'row')}{repeated}: {rows.shape}, for the base model {recipe.name}",
            *notes,
        ],
        card=description_path(written, CARD),
    )


def _write(rows: TrainingRows, path: Path) -> pa.Schema:
    """Write the rows as lines of JSON and return their columns, which all rows have."""
    first: Mapping[str, Any] = next(rows.objects())
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows.objects())
    return pl.DataFrame([first]).to_arrow(compat_level=pl.CompatLevel.oldest()).schema


def _recipe(project: Project, selection: str, wanted: str | None) -> tuple[Recipe, bool]:
    """Return the recipe of a base model, and whether its tokenizer has a chat template (True: not known)."""
    (tuned, others), sections = _tuned(project, selection), project.settings.base_model
    name = _model_name(project, selection, wanted, tuned)
    section, settings = named(sections, name), project.settings.fine_tuning
    facts = [*others]
    if section.path is None:
        value = read_current_values(project.home.store).get((BASE_MODELS_STAGE.name, name))
        if value is None:
            raise NotMadeError(name)
        folder = project.home.checkpoints / BASE_MODELS_STAGE.name / name / value.input_key[:16]
        project.home.files.fetch(folder)
        model, stated = str(folder), _stated(str(folder))
    else:
        model = project.model(section.path)
        stated = {"hidden_size": WIDTH_OF_EMBEDDED} if model in EMBEDDED else _stated(model)
    if model in EMBEDDED:
        facts.append(
            f"{model} are 4-bit weights in a package, which trainers do not read: these are the hub's."
        )
        model = EMBEDDED[model]
    kinds = [str(kind) for kind in stated.get("architectures") or ()]
    if stated.get("is_encoder_decoder") or any("MaskedLM" in kind for kind in kinds):
        raise UnfitModelError(
            f"the base model {name!r} ({', '.join(kinds) or 'an encoder-decoder'}) is not a causal model, "
            "which these trainers expect",
            "name another [[base_model]] by --model",
        )
    options = training_options(project, name)
    if tuned is not None:
        facts += _of_answer(project, tuned, name)
        if tuned["model"] == name:
            options = replace(options, learning_rate=tuned["learning_rate"])
    inner = stated.get("text_config") if isinstance(stated.get("text_config"), dict) else {}
    width = next(
        (int(values[key]) for values in (stated, inner or {}) for key in WIDTHS if key in values), None
    )
    elsewhere = project.settings.trainer is not None
    if width is None and not elsewhere:
        facts.append(
            f"The learning rate is that of a model {REFERENCE_WIDTH} wide, since the width of {model} is not "
            f"known here: multiply it by ({REFERENCE_WIDTH} / width)^0.75."
        )
    precision = project.precision if options.precision == "auto" else options.precision
    if precision == BFLOAT16:
        facts.append(
            "Trials held working weights in bfloat16; bf16, which casts in each product, is nearest."
        )
    if settings.seeds > 1:
        facts.append(f"Trials were repeated with {settings.seeds} seeds, of which this is the first.")
    if settings.validation:
        facts.append("Trials end early by a validation set, which is not exported; this runs all epochs.")
    return Recipe(
        name=name,
        model=model,
        options=options,
        # The command of [trainer] gets the rate as it is written.
        peak_rate=options.learning_rate if elsewhere else options.peak_rate(width or REFERENCE_WIDTH),
        bfloat16=precision in (BFLOAT16, AUTOCAST),
        facts=(*_measured(project, name, selection), *facts),
    ), bool(stated.get("has_template", True))


def _of_answer(project: Project, tuned: Mapping[str, Any], model: str) -> list[str]:
    """Return lines on the learning rate of a base model, by the answer of [tune] for these documents."""
    if tuned["model"] != model:
        return [
            f"The recipe for {tuned['target']} is for base model {tuned['model']}, so the learning rate is "
            f"not from that answer: {tuned['sentence']}"
        ]
    due = value_due(project, RECIPE_STAGE.name, "")
    return [
        f"The learning rate is that of the recipe found for {tuned['target']}: {tuned['sentence']}",
        *([f"That answer is out of date ({due.reason}); `tamis tune` brings it up to date."] if due else []),
    ]


def _model_name(project: Project, selection: str, wanted: str | None, tuned: Mapping[str, Any] | None) -> str:
    sections = project.settings.base_model
    if not sections:
        raise UnfitModelError(
            "tamis.toml has no [[base_model]], whose recipe a trainer is to get",
            "add one with a path (a folder or an id of the hub)",
        )
    names = [section.name for section in sections]
    if wanted is not None:
        if wanted not in names:
            raise UnknownNameError("base model", wanted, names)
        return wanted
    for chosen in (tuned and tuned["model"], _choice(project, selection)):
        if chosen in names:
            return str(chosen)
    return next((section.name for section in sections if section.path), names[0])


def _tuned(project: Project, selection: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the answer of [tune] that trains as a selection chooses, and lines on one that does not.

    Where choosing does not pay, a selection of random documents is trained as the answer's page says.
    """
    value = read_current_values(project.home.store).get((RECIPE_STAGE.name, ""))
    section = {own.name: own for own in project.settings.selection}.get(selection)
    if value is None or section is None:
        return None, []
    recipes, others, tune = project.home.store.read(RECIPES.name), [], project.settings.tune
    quality = tune.quality if tune else None
    for row in project.home.store.read(TUNE_ANSWERS.name).iter_rows(named=True):
        trained = trained_by(row, recipes)
        if trained["sampler"] is not None:
            wanted = as_selection(selection, trained, row["target"], quality)
            if _decides(section) == _decides(wanted):
                return {**row, **{name: trained[name] for name in ("model", "learning_rate")}}, []
        if section.target in (None, row["target"]):
            others.append(
                f"[tune] has an answer for {row['target']}, but this selection chooses otherwise, so base "
                f"model and learning rate are not from that answer: {row['sentence']}"
            )
    return None, others


def _decides(section: SelectionSection) -> dict[str, Any]:
    """Return the keys of a selection that decide what it chooses."""
    sampler = find_sampler(section.sampler)
    unread = sampler.ignored | (set() if sampler.needs_target else {"target"})
    return section.model_dump(exclude=unread) | {"budget": parse_budget(section.budget)}


def _choice(project: Project, selection: str) -> str | None:
    """Return the model that the search chose for the selection's target; None before it has chosen."""
    value = read_current_values(project.home.store).get((CHOICE_STAGE.name, ""))
    known = {section.name for section in project.settings.selection}
    if value is None or selection not in known or not project.settings.target:
        return None
    target, home = target_of_warm_up(project, selection), project.home
    for name in ManifestFolder.of(home).read(value.manifest).files:
        home.files.fetch((home.root / name).parent)
        choice = json.loads((home.root / name).read_text("utf-8"))
        if choice["target"] == target:
            return str(choice["model"]) if choice["model"] else None
    return None


def _measured(project: Project, model: str, selection: str) -> list[str]:
    """Return a sentence on the trial of this model on this selection, if there was one."""
    where = f"kind = 'warm_up' AND model = {quoted(model)} AND data = {quoted(selection)}"
    columns = ["trial", "held_out_bits_per_byte", "zero_shot_bits_per_byte"]
    return [
        f"The trial {trial} has a held-out loss of {after:.4g} bits per byte, the base model {before:.4g}."
        for trial, after, before in project.home.store.read(TRIALS.name, columns, where).iter_rows()
        if after is not None and before is not None
    ]


def _stated(model: str) -> dict[str, Any]:
    """Return the config.json of a model, with `has_template`; {} where the model is not on this machine."""
    try:
        root, files = model_files(model)
        stated: dict[str, Any] = json.loads((root / "config.json").read_text("utf-8"))
    except (UnknownModelError, OSError, ValueError):
        return {}
    at = {path.name: path for path in files}
    tokenizer = at.get("tokenizer_config.json")
    template = "chat_template.jinja" in at or "chat_template.json" in at
    if tokenizer is not None and not template:
        template = bool(json.loads(tokenizer.read_text("utf-8")).get("chat_template"))
    return stated | {"has_template": template}
