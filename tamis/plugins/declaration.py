"""The declaration of a plug-in: the arguments of its decorator, checked in one place for readers and runs."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tamis.base.errors import PermanentError, did_you_mean

Kind = Literal["score", "sampler"]
NAME_FORM = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
TEXT, VECTORS, GOAL = "text", "vectors", "goal"
READS: Mapping[Kind, tuple[str, ...]] = {"score": (TEXT,), "sampler": (TEXT, VECTORS, GOAL)}
"""Inputs that a plug-in of each kind may read."""
_REQUIRED: Mapping[Kind, tuple[str, ...]] = {
    "score": ("name", "version"),
    "sampler": ("name", "version", "reads"),
}
_ARGUMENTS: Mapping[Kind, tuple[str, ...]] = {
    "score": ("name", "version", "reads", "higher", "range", "meaning", "citation", "cost"),
    "sampler": ("name", "version", "reads", "meaning", "citation", "cost"),
}


class PluginError(PermanentError):
    """A plug-in cannot be used; the message says where and why."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """A plug-in as its decorator describes it.

    `version`: raised by its author when the same input gives other answers. `reads`: see `READS`. `higher`,
    `range`: of a score, the better end and the ends of its scale. `meaning`: of an answer, for people.
    `cost`: seconds for 1,000 documents on one core, None where it is not stated.
    """

    kind: Kind
    name: str
    version: str
    reads: tuple[str, ...]
    higher: Literal["better", "worse"] = "better"
    range: tuple[float, float] | None = None
    meaning: str = ""
    citation: str = ""
    cost: float | None = None


def declare(kind: Kind, arguments: Mapping[str, Any]) -> Declaration:
    """Return the declaration that these arguments of a decorator make.

    Raises `PluginError`, a clause that begins with the argument at fault.
    """
    known = _ARGUMENTS[kind]
    for name in arguments:
        if name not in known:
            valid = f"valid: {', '.join(known)}{did_you_mean(name, known)}"
            raise PluginError(f"{name} is no argument of @{kind}; {valid}")
    for name in _REQUIRED[kind]:
        if name not in arguments:
            raise PluginError(f"{name} is missing")
    for name in ("name", "version", "meaning", "citation"):
        if not isinstance(text := arguments.get(name, ""), str):
            raise _wrong(name, text, "a text")
        if not text.isascii() and text != text.encode(errors="replace").decode():
            raise _wrong(name, text, "a text without halves of surrogate pairs")
    if not NAME_FORM.fullmatch(arguments["name"]):
        raise _wrong(
            "name", arguments["name"], 'small letters, digits, ".", "-" and "_", such as "short-first"'
        )
    if not arguments["version"].strip():
        raise _wrong("version", arguments["version"], 'a text such as "1"')
    given = dict(arguments) | {"reads": _reads(kind, arguments.get("reads", TEXT))}
    if kind == "score":
        if arguments.get("higher", "better") not in ("better", "worse"):
            raise _wrong("higher", arguments["higher"], '"better" or "worse"')
        given["range"] = _range(arguments.get("range"))
    given["cost"] = _cost(arguments.get("cost"))
    return Declaration(kind=kind, **given)


def _reads(kind: Kind, value: object) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    valid = READS[kind]
    if not isinstance(names, tuple | list) or not names or any(name not in valid for name in names):
        quoted = [f'"{name}"' for name in valid]
        raise _wrong("reads", value, quoted[0] if len(valid) == 1 else f"some of {', '.join(quoted)}")
    return tuple(name for name in valid if name in names)


def _range(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    ends = [float(end) for end in value if _is_number(end)] if isinstance(value, tuple | list) else []
    if len(ends) != 2 or not isinstance(value, tuple | list) or len(value) != 2 or ends[0] >= ends[1]:
        raise _wrong("range", value, "the lower and the upper end of the scale, such as (0, 5)")
    return ends[0], ends[1]


def _cost(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not _is_number(value) or value < 0:
        raise _wrong("cost", value, "seconds for 1,000 documents on one core, such as 2.5")
    return float(value)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number over 1.8e308
        return False


def _wrong(argument: str, value: object, expected: str) -> PluginError:
    return PluginError(f"{argument} = {value!r} is not valid; expected {expected}")
