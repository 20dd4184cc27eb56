"""Settings of a selection from files: the arguments of `tamis select` as sections of a tamis.toml."""

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tamis.base.errors import PermanentError, did_you_mean
from tamis.corpus.listing import PARTS, STATE, is_temporary
from tamis.corpus.remote.object_store import is_url
from tamis.settings.samplers import AWAY_SCORE, MODEL_SCORES, SAMPLERS, Sampler, find_sampler, model_of
from tamis.settings.sections import AUTO_COLUMN
from tamis.settings.values import has_glob_signs, is_glob, split_glob

STDIN = "-"
GOAL, AWAY, CHOSEN = "goal", "away", "chosen"
"""Names of the targets and the selection."""
CONTRAST = "got-d-contrast"
RULES = ("noise", "boilerplate", "form")
LINKS = "examples"
POOL, TARGET, KEPT_AWAY, KEPT_OUT = "pool", "target", "examples to keep away from", "benchmark to keep out"
"""Options whose files a call names."""
CONDITIONS = ("where", "quality")
_RANGE = r"-?[0-9.]+:-?[0-9.]+"
SCORE_FORM = "NAME=COLUMN or NAME=FOLDER, then maybe ,worse ,label=L or ,range=LOW:HIGH"


class PoolError(PermanentError):
    """Files or options of `tamis select` that cannot be used; says which, why, and what would be right."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of `tamis select` that decide the choice."""

    pool: Sequence[str]
    target: Sequence[str] = ()
    keep_away: Sequence[str] = ()
    keep_out: Sequence[str] = ()
    budget: int | str
    sampler: str | None = None
    rules: Sequence[str] = RULES
    text_column: str | Sequence[str] = AUTO_COLUMN
    format: str = "text"
    extract: str | None = None
    split: str | None = None
    per: str | None = None
    shares: dict[str, float] = field(default_factory=dict)
    scores: Sequence[dict[str, Any]] = ()
    where: str | None = None
    quality: str | None = None
    encoder: str = "static"
    tokenizer: str | None = None
    seed: int = 0
    hold_out: int = 0

    def chosen_sampler(self) -> Sampler:
        """Return the sampler; raises `PoolError` where the options do not fit it."""
        name = self.sampler or (CONTRAST if self.keep_away else "got-d")
        sampler = find_sampler(name)
        if model_of(name):
            raise PoolError(
                f"the sampler {name!r} ranks by a model of a project, which only a project has (`tamis init`)"
            )
        if sampler.needs_target and not self.target:
            without = ", ".join(
                one.name
                for one in SAMPLERS.values()
                if not one.needs_target and MODEL_SCORES.isdisjoint(one.score_columns)
            )
            raise PoolError(
                f"the sampler {name!r} needs examples of what the model should become good at: name files "
                f"with --target FILE; samplers that need none: {without}"
            )
        if self.keep_away and AWAY_SCORE not in sampler.score_columns:
            raise PoolError(
                f"the sampler {name!r} keeps away from nothing: leave out --keep-away, or use --sampler "
                f"{CONTRAST}"
            )
        if not self.keep_away and AWAY_SCORE in sampler.score_columns:
            raise PoolError(f"the sampler {name!r} needs examples to keep away from: --keep-away FILE")
        if bool(self.per) != bool(self.shares):
            raise PoolError(
                "--per divides the budget by bounds, so it goes with --maximum-share or --minimum-share, "
                "such as --per source --maximum-share 0.3"
            )
        return sampler


def read_score_option(given: str) -> dict[str, Any]:
    """Return the section of a score from `NAME=COLUMN[,worse][,label=L][,range=LOW:HIGH]`.

    An origin that is a folder is a model. Raises `PoolError` for what is of no such form.
    """
    first, *more = (part.strip() for part in given.split(","))
    name, equals, origin = first.partition("=")
    if not (name and equals and origin):
        raise PoolError(f"--score {given}: expected {SCORE_FORM}")
    section: dict[str, Any] = {"name": name}
    section |= {"model": _model(origin)} if os.path.isdir(origin) else {"column": origin}
    for part in more:
        key, _, value = part.partition("=")
        match key, value:
            case (("worse" | "better"), ""):
                section["higher"] = key
            case "label", value if value:
                section["label"] = value
            case "range", value if re.fullmatch(_RANGE, value):
                section["range"] = [float(end) for end in value.split(":")]
            case _:
                raise PoolError(f"--score {given}: {part!r} is not valid; expected {SCORE_FORM}")
    if "label" in section and "column" in section:
        raise PoolError(
            f"--score {given}: {origin!r} is no folder, so it is read as the name of a column, which has no "
            "label; expected the folder of a classifier, or no label"
        )
    return section


@dataclass(frozen=True, kw_only=True)
class Place:
    """Place of sections: `folder` holds the links to examples; paths below `root` are relative.

    `streams`: the files that standard input and pipes were saved to, by argument.
    """

    folder: Path
    streams: Mapping[str, Path] = field(default_factory=dict)
    root: Path | None = None

    def written(self, path: Path) -> str:
        """Return a path as a section has it."""
        if self.root is not None and path.is_relative_to(self.root):
            return path.relative_to(self.root).as_posix()
        return str(path)


def sections_of(call: Call, place: Place) -> dict[str, Any]:
    """Return the values of a tamis.toml that makes the choice; raises `PoolError`.

    The sizes of targets are left to `with_sizes`. Links to examples in several files are made in the folder.
    """
    sampler = call.chosen_sampler()
    reading: dict[str, Any] = {"format": call.format}
    if call.format == "text" or call.text_column != AUTO_COLUMN:
        reading["text_column"] = call.text_column
    if call.extract:
        reading["extract"] = call.extract
    own = call.target if sampler.needs_target or call.target else ()
    examples = {name: files for name, files in ((GOAL, own), (AWAY, call.keep_away)) if files}
    values: dict[str, Any] = {
        "project": {"seed": call.seed, "precision": "float32"},
        "corpus": [
            one | reading | ({"split": call.split} if call.split else {})
            for one in _corpora(call.pool, place)
        ],
        "target": [
            {"name": name, "kind": "files"} | _examples(name, files, place) | reading
            for name, files in examples.items()
        ],
        **({"keep_out": _benchmarks(call.keep_out, place)} if call.keep_out else {}),
        "encoder": {"name": _model(call.encoder)},
        "filters": {"heuristics": list(call.rules)},
        **({"score": list(call.scores)} if call.scores else {}),
        "selection": [
            {"name": CHOSEN, "sampler": sampler.name, "budget": call.budget}
            | ({"target": GOAL} if own else {})
            | ({"away_from": AWAY} if call.keep_away else {})
            | ({"per": call.per} | call.shares if call.per else {})
            | {name: value for name in CONDITIONS if (value := getattr(call, name)) is not None}
        ],
    }
    if call.tokenizer is not None:
        values["project"]["tokenizer"] = _model(call.tokenizer)
    return values


def with_sizes(values: dict[str, Any], sizes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Return the values with `train` and `held_out` of each target."""
    sized = [
        one | dict(zip(("train", "held_out"), sizes[one["name"]], strict=True)) for one in values["target"]
    ]
    return values | {"target": sized}


def streams_of(call: Call) -> list[str]:
    """Return the arguments that can be read once only: standard input, and pipes such as those of `<(...)`.

    Raises `PoolError` where standard input is named twice.
    """
    arguments = [*call.pool, *call.target, *call.keep_away, *call.keep_out]
    if arguments.count(STDIN) > 1:
        raise PoolError("- is named twice, but standard input can be read once; save it to a file")
    return [one for one in dict.fromkeys(arguments) if one == STDIN or _is_pipe(one)]


def _is_pipe(argument: str) -> bool:
    return os.path.exists(argument) and not os.path.isfile(argument) and not os.path.isdir(argument)


def paths_of(call: Call) -> Iterator[tuple[str, Path]]:
    """Yield each argument that names local files, with what it is: a pool, examples or a benchmark."""
    streams = streams_of(call)
    named = {POOL: call.pool, TARGET: call.target, KEPT_AWAY: call.keep_away, KEPT_OUT: call.keep_out}
    for what, arguments in named.items():
        for argument in arguments:
            if argument not in streams and not is_url(argument):
                yield what, Path(split_glob(argument)[0] if is_glob(argument) else argument)


def _model(name: str) -> str:
    """Return a model by name, or by the whole path of its folder or file."""
    return str(Path(name).absolute()) if os.path.exists(name) else name


def _corpora(pool: Sequence[str], place: Place) -> list[dict[str, Any]]:
    """Return a section for each folder, glob or address, and for the files of each folder together."""
    found: list[dict[str, Any]] = []
    files: dict[Path, list[Path]] = {}
    for argument in dict.fromkeys(pool):
        path = place.streams.get(argument, Path(argument))
        if is_url(argument):
            found.append({"kind": "files", "path": argument, "called": argument.rpartition("/")[2]})
        elif path.is_dir():
            saved = (path / PARTS).exists() or (path / STATE).exists()
            kind = "datasets" if saved else "files"
            found.append(
                {"kind": kind, "path": place.written(path.absolute()), "called": path.resolve().name}
            )
        elif path.exists():
            files.setdefault(path.absolute().parent, []).append(path.absolute())
        else:
            found.append(_of_glob(argument, place))
    for folder, some in files.items():
        alone = [one for one in some if has_glob_signs(one.name) or is_temporary(one.name)]
        together = [one for one in some if one not in alone]
        if len(together) == 1:
            alone, together = [*alone, *together], []
        found += [{"kind": "files", "path": place.written(one), "called": one.name} for one in alone]
        if together:
            names = sorted({one.name for one in together})
            found.append(
                {"kind": "files", "path": place.written(folder), "called": folder.name, "include": names}
            )
    if not found:
        raise PoolError(
            "no pool is named: pass the files or folders to choose from, or - for standard input, before "
            "the options"
        )
    return _named(found)


def _of_glob(argument: str, place: Place) -> dict[str, Any]:
    """Return the section of a glob; raises `PoolError` where nothing is there."""
    if not is_glob(argument):
        parent = Path(argument).parent
        known = [one.name for one in parent.iterdir()] if parent.is_dir() else []
        meant = did_you_mean(Path(argument).name, known)
        raise PoolError(f"{argument}: there is no such file or folder{meant}")
    if not glob.glob(argument, recursive=True):
        raise PoolError(f"{argument}: no file matches")
    folder, rest = split_glob(argument)
    path = Path(folder).absolute()
    return {"kind": "files", "path": place.written(path), "called": path.name, "include": [rest]}


def _named(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sections with names of their own, made of those of their files and folders."""
    named: list[dict[str, Any]] = []
    taken: set[str] = set()
    for one in found:
        stem = str(one["called"]).split(".")[0].lower()
        name = first = re.sub("_{2,}|[^a-z0-9_-]+", "-", stem).strip("._-")[:50] or "pool"
        number = 1
        while name in taken:
            number += 1
            name = f"{first}-{number}"
        taken.add(name)
        named.append({"name": name} | {key: value for key, value in one.items() if key != "called"})
    return named


def _benchmarks(arguments: Sequence[str], place: Place) -> list[dict[str, Any]]:
    """Return a section for each benchmark: a file, folder or glob; raises `PoolError` where none is there."""
    found = []
    for argument in dict.fromkeys(arguments):
        if is_url(argument):
            raise PoolError(f"{argument}: benchmarks are read from files on this machine; save it to a file")
        if argument in place.streams:
            path = place.streams[argument]
        elif is_glob(argument):
            if not glob.glob(argument, recursive=True):
                raise PoolError(f"{argument}: no file of a benchmark matches")
            path = Path(argument).absolute()
        elif os.path.exists(argument):
            path = Path(argument).absolute()
        else:
            raise PoolError(f"{argument}: there is no such file or folder of a benchmark")
        folder = split_glob(argument)[0] if is_glob(argument) else argument
        found.append({"path": place.written(path), "called": Path(folder).absolute().name})
    return _named(found)


def _examples(name: str, arguments: Sequence[str], place: Place) -> dict[str, Any]:
    """Return where a target's examples are: a file or folder, or a folder of links to several."""
    paths = []
    for argument in dict.fromkeys(arguments):
        if argument in place.streams:
            paths.append(place.streams[argument])
            continue
        if is_url(argument):
            raise PoolError(f"{argument}: examples are read from files on this machine; save them to a file")
        found = [argument] if os.path.exists(argument) else sorted(glob.glob(argument, recursive=True))
        if not found:
            raise PoolError(f"{argument}: there is no such file or folder of examples")
        paths += [Path(one).absolute() for one in found]
    if len(paths) == 1:
        return {"path": place.written(paths[0])}
    folder = place.folder / LINKS / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise PoolError(
            f"{folder} is there already, where links to several files of examples would go; move it, or name "
            "one file or folder of examples"
        ) from error
    width = len(str(len(paths)))
    for number, path in enumerate(paths, 1):
        (folder / f"{number:0{width}}-{path.name.lstrip('.~')}").symlink_to(path)
    return {"path": place.written(folder), "follow_links": True}
