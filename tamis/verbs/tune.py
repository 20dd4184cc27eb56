"""The section [tune] of tamis.toml, as `tamis tune` writes it, and the answer that is stored for its target.

Everything else in the file stays byte for byte: each edit is parsed, and counts only if no other value
differs.
"""

import io
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.files import whole_file
from tamis.base.numbers import named
from tamis.project import Project
from tamis.settings.budget import parse_compute
from tamis.settings.config import Settings, parse_settings
from tamis.settings.training_sections import TuneSection
from tamis.tuning.parts import divide
from tamis.tuning.stage import RECIPES, TUNE_ANSWERS

_HEADER = re.compile(
    r"""^[ \t]*\[[ \t]*(?:tune|"tune"|'tune')[ \t]*\][ \t]*(?:#[^\r\n]*)?(?=\r?$)""", re.MULTILINE
)
_TARGET = re.compile(
    r"""^([ \t]*)target[ \t]*=[ \t]*(?:"[^"\r\n]*"|'[^'\r\n]*')[ \t]*(?:#[^\r\n]*)?(?=\r?$)""", re.MULTILINE
)
_BUDGET = re.compile(
    r"""^([ \t]*(?:budget|"budget"|'budget')[ \t]*=[ \t]*)(?:"(?:[^"\\\r\n]|\\.)*"|'[^'\r\n]*')""",
    re.MULTILINE,
)
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n\Z")
_BOM = "\ufeff"


class TuneSectionError(PermanentError):
    """tamis.toml contradicts the call, or cannot be changed; the message says what to write there."""


def write_section(project: Project, target: str | None, budget: str | None) -> str:
    """Have [tune] of tamis.toml name the target and the budget of a call; return a line on what was changed.

    The line is "" where the section names both already. Raises, with the file unchanged, `BadComputeError`,
    `UnknownNameError`, `TuneSectionError`, `TooFewExamplesError`, and `ConfigurationError` where the section
    would be wrong.
    """
    if budget is not None:
        parse_compute(budget)
    tune = project.settings.tune
    _require_examples(project.settings, tune.target if tune else target)
    if tune is None:
        return _append(project, target, budget)
    if target is not None and target != tune.target:
        raise TuneSectionError(
            f"[tune] of {project.file} has target = {json.dumps(tune.target)}, not {target!r}; run "
            f"`tamis tune`, or change target there to have the recipe for another [[target]]"
        )
    if budget is None or (tune.budget is not None and parse_compute(tune.budget) == parse_compute(budget)):
        return ""
    return _change_budget(project, tune, budget)


def read_recipe(project: Project) -> dict[str, Any]:
    """Return the stored answer for the target of [tune], with all recipes by their place in the search."""
    tune, store = project.settings.tune, project.home.store
    assert tune is not None
    [answer] = store.read(TUNE_ANSWERS.name).filter(target=tune.target).to_dicts()
    return answer | {"recipes": store.read(RECIPES.name).sort("place", "recipe").to_dicts()}


def _require_examples(settings: Settings, target: str | None) -> None:
    """Raise `TooFewExamplesError` for a target whose split has no room for validation and the guard."""
    for section in settings.target:
        if section.name == target:
            divide(section.train, section.held_out)


def _append(project: Project, target: str | None, budget: str | None) -> str:
    settings = project.settings
    targets = [section.name for section in settings.target]
    if target is None:
        raise TuneSectionError(
            f"{project.file} has no [tune], so name the target: `tamis tune TARGET` adds the section "
            f"(targets: {', '.join(sorted(targets)) or 'none; add a [[target]] first'})"
        )
    if target not in targets:
        raise UnknownNameError("target", target, targets)
    models, adapted = _models(settings)
    if not models:
        instead = f"; {_with_lora(adapted)}, and runs of [tune] train all weights" if adapted else ""
        raise TuneSectionError(
            f"{project.file} has no [[base_model]] that [tune] could train{instead}; add one, such as "
            '[[base_model]] with name = "small" and preset = "llama-0.8m"'
        )
    values = {"target": target, "models": models} | ({"budget": budget} if budget else {})
    text = _read(project.file)
    end = _line_end(text)
    table = end.join(["[tune]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""])
    ended = text.endswith(("\n", "\r"))
    gap = "" if _BLANK_LINE.search(text) else end if ended else end * 2
    _write(project, text, [text + gap + table], values, "append a section [tune] to it")
    paid = f", budget = {_toml(budget)}" if budget else ""
    without = f" ({_with_lora(adapted)}, and runs of [tune] train all weights)" if adapted else ""
    return (
        f"added [tune] to {project.file}: target = {_toml(target)}, models = {_toml(models)}{paid}{without}"
    )


def _models(settings: Settings) -> tuple[list[str], list[str]]:
    """Return the names of the base models that [tune] takes, and of those it refuses.

    Where [scaling] says which models are to be chosen among, the others are left out: they may be far dearer.
    """
    wanted = settings.scaling.models or [section.name for section in settings.base_model]
    sections = [section for section in settings.base_model if section.name in wanted]
    return (
        [section.name for section in sections if not section.lora_rank],
        [section.name for section in sections if section.lora_rank],
    )


def _with_lora(names: Sequence[str]) -> str:
    return f"{named(names)} {'has' if len(names) == 1 else 'have'} lora_rank"


def _change_budget(project: Project, tune: TuneSection, budget: str) -> str:
    text = _read(project.file)
    values = _parsed(text)["tune"] | {"budget": budget}
    drafts = _replaced(text, budget) if tune.budget is not None else _inserted(text, budget)
    _write(project, text, drafts, values, f"set budget = {_toml(budget)} in its [tune]")
    former = f", was {_toml(tune.budget)}" if tune.budget else ""
    return f"set budget = {_toml(budget)} in [tune] of {project.file}{former}"


def _replaced(text: str, budget: str) -> Iterator[str]:
    """Yield the text with the value of each line that may be the budget of [tune] replaced."""
    for line in _BUDGET.finditer(text):
        yield text[: line.end(1)] + _toml(budget) + text[line.end() :]


def _inserted(text: str, budget: str) -> Iterator[str]:
    """Yield the text with a budget after each line that may be the target, or else the heading, of [tune]."""
    end = _line_end(text)
    for line in (*_TARGET.finditer(text), *_HEADER.finditer(text)):
        indent = line[1] if line.re is _TARGET else ""
        yield f"{text[: line.end()]}{end}{indent}budget = {_toml(budget)}{text[line.end() :]}"


def _write(
    project: Project, before: str, drafts: Iterator[str] | Sequence[str], tune: Mapping[str, Any], task: str
) -> None:
    """Write the first draft that has this [tune] and otherwise the values of the file before."""
    file = project.file
    wanted = _parsed(before) | {"tune": dict(tune)}
    draft = next((draft for draft in drafts if _has_values(draft, wanted)), None)
    if draft is None:
        raise TuneSectionError(f"{file} is written in a way that `tamis tune` does not edit; {task}")
    parse_settings(wanted, str(file), project.root)
    path = file.resolve()  # the file may be a link, which stays
    try:
        if not os.access(path, os.W_OK):  # replacing asks for rights on the folder alone
            raise PermissionError("it is read-only")
        with whole_file(path) as copy:
            copy.write_bytes(draft.encode())
            shutil.copymode(path, copy)
    except OSError as error:
        problem = error.strerror or str(error)
        raise TuneSectionError(
            f"{file} cannot be written ({problem}); make it writable, or {task}"
        ) from error


def _has_values(draft: str, values: Mapping[str, Any]) -> bool:
    try:
        return _parsed(draft) == values
    except tomllib.TOMLDecodeError:
        return False


def _read(file: Path) -> str:
    """Return the text of tamis.toml with its own line ends, and the mark of its encoding, if it has one."""
    return file.read_bytes().decode()


def _parsed(text: str) -> dict[str, Any]:
    """Return the values of a text, read as `load_settings` reads the file."""
    return tomllib.loads(io.StringIO(text.removeprefix(_BOM), newline=None).read())


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _toml(value: object) -> str:
    """Return a string or a list of strings as TOML."""
    return json.dumps(value, ensure_ascii=False)
