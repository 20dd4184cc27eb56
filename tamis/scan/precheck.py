"""Precheck: what can be counted before anything runs, so that a mistake is found in seconds."""

import contextlib
import importlib.util
import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.base.errors import MissingPackageError, PermanentError, TamisError
from tamis.base.installation import install_command
from tamis.base.numbers import counted, named
from tamis.base.trust import UntrustedError, unaccepted
from tamis.corpus.documents import DOCUMENT_SCHEMA, Reading, all_documents, batches_of
from tamis.corpus.listing import ListingError, files_below, leaves_out, place_of_files, reads
from tamis.corpus.quarantine import lost_rows
from tamis.corpus.remote.http_file import SCHEMES
from tamis.corpus.remote.object_store import is_url
from tamis.corpus.shards import Shard, is_one_text
from tamis.corpus.stage import DOCUMENTS_STAGE, EXAMPLES_STAGE, OCCURRENCES
from tamis.corpus.targets import (
    TargetRows,
    TooFewExamplesError,
    near_groups,
    place_in_target,
    read_target_rows,
    split_target,
)
from tamis.embedding.identity import require_known
from tamis.embedding.multilingual import NAME, PACKAGE
from tamis.embedding.stage import STAGES as EMBEDDING_STAGES
from tamis.embedding.unknown import SAMPLE, unknown_lines
from tamis.graph.failures import FailedStep
from tamis.graph.plan import Due, label, plugins_of
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.mixture.stage import SWARM_SETS
from tamis.project import Project
from tamis.readers import pages, repair
from tamis.readers.files import is_readable, read_file
from tamis.readers.rows import WHOLE_SHARD
from tamis.readers.streams import LINES, PAGES, SINGLE, ending_of, holds_pages
from tamis.records.current_values import CurrentValues
from tamis.records.registered import RegisteredNameError, read_registered
from tamis.scan.markup import markup_lines
from tamis.scan.quarantine import quarantine_lines
from tamis.scan.remedies import among, lost_files, lost_lines, unread_of
from tamis.scan.unread_rows import (
    CORPUS,
    TARGET,
    Foreseen,
    Share,
    next_reading,
    read_quarantine,
    unread_line,
    unread_shares,
)
from tamis.selection.filtering import unknown_language_lines
from tamis.selection.pool import Tokens, token_sizes, tokens_of
from tamis.settings.budget import parse_budget
from tamis.settings.config import CorpusSection, TargetSection, storage_url
from tamis.settings.references import named as entry_named
from tamis.settings.samplers import TARGET_PATH, model_of
from tamis.settings.tokenizer import BYTES_PER_TOKEN, counting_tokenizer
from tamis.training.stage import TRAINED_ON, TRIALS_STAGE
from tamis.training.tracking import require_experiment, require_tracker
from tamis.trust import CURE, PLUGIN_CURE, asked_by, plugins_asked

FILES, ROWS, BYTES = 20, 20, 20_000_000
"""Files of a corpus that are looked at, rows of each, and the largest file."""
MOST_LOOKED_AT = 10_000
"""Files looked at below a folder: the page of all pages asks at each tick of the sensors."""
SHOWN = 3
EXAMPLES_COMPARED = 5_000
"""Targets up to this size are split as the step splits them; of larger ones the examples are counted."""
BYTES_COUNTED = 1_000_000_000
CAUSAL = ("ForCausalLM", "LMHeadModel")
"""Ends of the names that transformers gives to models that predict the next token."""
LOGGED = frozenset({TRIALS_STAGE.name, *SWARM_SETS})
"""Stages whose results are logged to MLflow."""


def first_rows(corpus: CorpusSection, shards: Sequence[Shard]) -> pl.DataFrame:
    """Return text and language of the first rows of a corpus's files; those that cannot be read have none."""
    found = [pl.DataFrame(schema={name: DOCUMENT_SCHEMA[name] for name in ("text", "language")})]
    local = [one for one in shards if one.kind == "file" and one.remote is None and is_readable(one.name)]
    for shard in among(local, FILES):
        with contextlib.suppress(Exception):  # said by the step that reads it
            if shard.path.stat().st_size <= BYTES:
                rows = batches_of(islice(read_file(shard.path, corpus), ROWS), shard, corpus, Reading())
                found.append(all_documents(rows).documents.select("text", "language"))
    return pl.concat(found)


def uncovered_lines(project: Project) -> list[str]:
    """Return a line for each folder with files that no corpus and no target reads or excludes.

    Of formats that are read; in the folder of the project of those with rows alone, since README.md and its
    like are there for people. Folders below are looked at where a section reads them.
    """
    stated: list[CorpusSection | TargetSection] = [*project.settings.corpus, *project.settings.target]
    sections = [
        (section, (project.root / section.path).resolve())
        for section in stated
        if section.kind == "files" and section.path and not is_url(section.path)
    ]
    lines = []
    for folder, whole in _folders([path for _section, path in sections]).items():
        lost = [
            path
            for path in _readable(project, folder, whole)
            if not any(_covers(*one, path) for one in sections)
        ]
        if lost:
            place = os.path.relpath(folder, project.root)
            names = named([path.relative_to(folder).as_posix() for path in lost], SHOWN)
            lines.append(
                f"no [[corpus]] or [[target]] reads {counted(len(lost), 'file')} in "
                f"{'the folder of the project' if place == '.' else place} ({names}): add a section or widen "
                "`include`; files named in the `exclude` of a corpus there are not mentioned"
            )
    return lines


def _folders(places: list[Path]) -> dict[Path, bool]:
    """Return the folders that hold what sections read, and whether the folders below are read, too."""
    whole = {path for path in places if path.is_dir()}
    single = {path.parent for path in places if path.is_file()} - whole
    outer = {path: path in whole for path in (*sorted(whole), *sorted(single))}
    return {path: below for path, below in outer.items() if whole.isdisjoint(path.parents)}


def _readable(project: Project, folder: Path, whole: bool) -> Iterator[Path]:
    home, of_project = project.home.root.resolve(), folder == project.root.resolve()
    with contextlib.suppress(ListingError):  # reading says so
        for name in islice(files_below(folder, whole=whole), MOST_LOOKED_AT):
            path = folder / name
            is_read = is_readable(name) and not (of_project and _is_for_people(name))
            if is_read and not path.is_relative_to(home):
                yield path


def _is_for_people(name: str) -> bool:
    """Return whether a file in the folder of a project is a note or a report, and no corpus."""
    return is_one_text(name) or ending_of(name) in PAGES


def _covers(section: CorpusSection | TargetSection, place: Path, path: Path) -> bool:
    """Return whether a section reads a file, or leaves it out by its `exclude`."""
    folder = place if place.is_dir() else place.parent
    if path == place or not path.is_relative_to(folder):
        return path == place
    if isinstance(section, TargetSection):
        return folder == place
    relative = path.relative_to(folder).as_posix()
    return leaves_out(section, relative) or (folder == place and reads(section, relative))


class UnmetTargetsError(PermanentError):
    """Targets that were never made and cannot be made of their files; nothing was begun."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)
        super().__init__("; ".join(lines) + ". Nothing was materialized")


@dataclass(frozen=True, kw_only=True)
class Precheck:
    """What was found: targets that cannot be made, and what is likely a mistake, a line each.

    `shares`: rows of each corpus that cannot be read now, or would not be.
    """

    unmet: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)

    @property
    def too_many(self) -> list[str]:
        """Return a line for each corpus and target with more unreadable rows than tamis.toml allows."""
        return [share.line for share in self.shares if share.is_over]

    @property
    def unread(self) -> list[str]:
        """Return a line with the number of unreadable rows, none where all can be read."""
        return [line] if (line := unread_line(self.shares)) else []

    @property
    def lines(self) -> list[str]:
        """All of it for a person."""
        return [
            *self.unread,
            *(f"problem: {line}" for line in (*self.unmet, *self.too_many)),
            *(f"warning: {line}" for line in self.warnings),
        ]


def precheck(snapshot: ProjectSnapshot, current: CurrentValues, plan: Sequence[Due]) -> Precheck:
    """Look at what a plan is about to read; targets that were made before are no reason to stop.

    Raises `UnknownTokenizerError` where the tokenizer that is to count tokens is not found, and
    `UnknownNameError` where a step needs an encoder that cannot exist.
    """
    project = snapshot.project
    tokenizer = counting_tokenizer(project.settings)
    if tokenizer is not None and tokenizer.path is not None and plan:
        _ = snapshot.tokenizer_identity  # so that it is found missing now, not after the documents
    due = {
        asset: [one.partition for one in plan if one.asset == asset] for asset in (one.asset for one in plan)
    }
    if not due.keys().isdisjoint(stage.name for stage in EMBEDDING_STAGES):
        require_known(project.model(project.settings.encoder.name))
    shards = [
        file
        for key in due.get(DOCUMENTS_STAGE.name, ())
        if key in snapshot.shards
        for file in snapshot.shards[key].files
        if file.key in snapshot.files
    ]
    unmet: list[str] = []
    warnings = [
        *missing_packages(project),
        *_not_causal(project),
        *_other_samplers(project),
        *_without_tracker(project, due),
        *untrusted_lines(snapshot, plan),
        *registered_lines(snapshot, plan),
    ]
    read: dict[str, TargetRows] = {}
    foreseen: dict[tuple[str, str], Foreseen] = {}
    for target in project.settings.target:
        if target.name not in due.get(EXAMPLES_STAGE.name, ()):
            continue
        problem, made = target_problem(target, project, read), (EXAMPLES_STAGE.name, target.name) in current
        if problem:
            (warnings if made else unmet).append(problem)
        if target.name in read and (made or not problem):
            foreseen[TARGET, target.name] = _of_target(read[target.name])
    if unmet and not snapshot.shards:
        places = [
            f"corpus {one.name}: {place_of_files(one, project.root)}" for one in project.settings.corpus
        ]
        unmet.insert(0, f"no corpus contains a file that it can read now; put files into {named(places)}")
    entries, reading = read_quarantine(project.home.store), next_reading(snapshot, plan)
    left = {entry["shard"] for entry in entries if not reading.includes(entry["shard"])}
    stay_bad = {snapshot.files[key].corpus for key in left if key in snapshot.files}
    for corpus in project.settings.corpus:
        due_files = [one for one in shards if one.corpus == corpus.name]
        lost, rows = lost_files(corpus, due_files, corpus.name in stay_bad)
        if rows is not None:
            foreseen[CORPUS, corpus.name] = rows
        unread = unread_of(corpus, lost, due_files, snapshot)
        warnings += [*unread.unsupported_lines(), *lost_lines(lost, unread)]
    warnings += [
        *_unread_pages(shards),
        *markup_lines(project.settings.corpus, shards),
        *uncovered_lines(project),
        *_not_understood(project, shards, {name: rows.examples for name, rows in read.items()}),
        *_budgets_above(snapshot, current, shards),
    ]
    shares = unread_shares(snapshot, current, entries, reading=replace(reading, foreseen=foreseen))
    for share in shares:
        if share.kind == TARGET and share.foreseen and share.is_over:
            warnings += quarantine_lines(read[share.name].quarantine.to_dicts(), snapshot)
    return Precheck(unmet=unmet, warnings=warnings, shares=shares)


def unmet_targets(
    snapshot: ProjectSnapshot, current: CurrentValues, plan: Iterable[Due], failed: Iterable[FailedStep] = ()
) -> list[str]:
    """Return a line for each target that was never made and cannot be; none where no corpus holds a file.

    `failed`: steps; of theirs nothing is said, since they have said it.
    """
    if not snapshot.shards:
        return []
    due = {one.partition for one in plan if one.asset == EXAMPLES_STAGE.name}
    said = {one.partition for one in failed if one.asset == EXAMPLES_STAGE.name}
    left = due.difference(said, (name for asset, name in current if asset == EXAMPLES_STAGE.name))
    targets = (target for target in snapshot.project.settings.target if target.name in left)
    return [line for target in targets if (line := target_problem(target, snapshot.project))]


def _of_target(found: TargetRows) -> Foreseen:
    return Foreseen(bad=int(found.quarantine.select(lost_rows()).item()), rows=found.rows)


def _without_tracker(project: Project, due: Collection[str]) -> Iterator[str]:
    """Say why trials that are due cannot be logged; nothing where none is due, or what stops all is said."""
    try:
        if not LOGGED.isdisjoint(due) and not unaccepted(asked_by(project)):
            require_tracker(project.tracking_uri)
            require_experiment(project.tracking_uri, project.settings.tracking.experiment)
    except TamisError as error:
        yield f"trials will fail: {error}"


def registered_lines(snapshot: ProjectSnapshot, plan: Iterable[Due]) -> list[str]:
    """Return a line for each checkpoint to be trained whose name a registered one has, too."""
    names = {one.checkpoint for one in read_registered(snapshot.project.home.store)}
    return [
        f"{label(one.asset, one.partition)}: {RegisteredNameError(one.partition)}"
        for one in plan
        if one.partition in names and TRAINED_ON in stages()[one.asset].tables
    ]


def untrusted_lines(snapshot: ProjectSnapshot, plan: Iterable[Due]) -> Iterator[str]:
    """Say what nobody has accepted of what tamis.toml does, and of the plug-ins that a plan runs."""
    plugins = plugins_asked(snapshot.project, plugins_of(snapshot, plan))
    for asked, cure in ((asked_by(snapshot.project), CURE), (plugins, PLUGIN_CURE)):
        if missing := unaccepted(asked):
            yield f"`tamis materialize` will stop: {UntrustedError(missing, cure)}"


def _not_understood(
    project: Project, shards: Sequence[Shard], examples: Mapping[str, pl.DataFrame]
) -> list[str]:
    """Return lines on texts that the encoder does not know, and on stated languages that are no codes.

    Of what is stored, and of the first rows of the files that are to be read.
    """
    rows = {
        one.name: first_rows(one, [shard for shard in shards if shard.corpus == one.name])
        for one in project.settings.corpus
    }
    unread = {(CORPUS, name): frame["text"].to_list()[:SAMPLE] for name, frame in rows.items()}
    unread |= {(TARGET, name): frame["text"].to_list()[:SAMPLE] for name, frame in examples.items()}
    languages = {name: frame["language"] for name, frame in rows.items()}
    stated = unknown_language_lines(project.home.store, project.settings, languages)
    return [*unknown_lines(project, unread), *stated]


def target_problem(
    target: TargetSection, project: Project, read: dict[str, TargetRows] | None = None
) -> str | None:
    """Return why a target cannot be split as tamis.toml asks; None where it can, as far as is known.

    `read`: where its rows are put, by its name.
    """
    try:
        rows = read_target_rows(target, project.root)
        if read is not None:
            read[target.name] = rows
        examples, bad = rows.examples, _of_target(rows).bad
        threshold = project.settings.near_duplicates.threshold
        groups = near_groups(examples, threshold) if len(examples) <= EXAMPLES_COMPARED else None
        split_target(examples, groups, target.train, target.held_out, project.seed, bad, rows.files)
    except TooFewExamplesError as error:
        return f"target {target.name}: {error}{_first_unread(target, rows)}"
    except TamisError as error:
        return str(error)
    except Exception:  # what cannot be read is left to the step
        return None
    return None


def _first_unread(target: TargetSection, rows: TargetRows) -> str:
    """Return the first row of a target that cannot be read, as part of a sentence; "" if all can be."""
    if rows.quarantine.is_empty():
        return ""
    first = rows.quarantine.row(0, named=True)
    row = f", row {first['row']:,}" if first["row"] != WHOLE_SHARD else ""
    file = first["shard"].removeprefix(place_in_target(target.name, ""))
    return f"; the first that could not be read: {file}{row}: {first['detail']}"


def _other_samplers(project: Project) -> Iterator[str]:
    """Yield the selections that follow [mixture] by another sampler than the one its runs followed."""
    mixture = project.settings.mixture
    for section in project.settings.selection:
        if mixture is not None and section.mixture and section.sampler != mixture.sampler:
            yield (
                f"selection {section.name}: its sampler is {section.sampler}, but the shares of [mixture] "
                f"are measured on documents chosen by {mixture.sampler}; to measure the shares "
                f'with the same sampler, set sampler = "{section.sampler}" in [mixture]'
            )


def _budgets_above(snapshot: ProjectSnapshot, current: CurrentValues, due: Sequence[Shard]) -> Iterator[str]:
    """Yield the selections whose budget in documents or tokens is more than the pool can hold."""
    asked = {one.name: parse_budget(one.budget) for one in snapshot.project.settings.selection}
    units = {budget.unit for budget in asked.values()}
    documents = _documents_at_most(snapshot, current, due) if units - {"percent"} else None
    if documents is None:
        return
    tokens = _tokens_at_most(snapshot, due, documents) if "tokens" in units else None
    for name, budget in asked.items():
        if budget.unit == "documents" and budget.amount > documents:
            whole, most = f"{int(budget.amount):,} documents", f"{documents:,}"
        elif budget.unit == "tokens" and tokens is not None and budget.amount > tokens.tokens:
            whole, most = f"{int(budget.amount):,} tokens", tokens.words
        else:
            continue
        yield (
            f"selection {name}: its budget of {whole} is larger than the pool, which has at most {most}; "
            "every eligible document will be chosen"
        )


def _documents_at_most(snapshot: ProjectSnapshot, current: CurrentValues, due: Sequence[Shard]) -> int | None:
    """Return how many documents the pool can have, None where that takes reading a file."""
    read_again = {shard.key for shard in due}
    unread = [key for key in snapshot.shards if (DOCUMENTS_STAGE.name, key) not in current]
    if any(file.key not in read_again for key in unread for file in snapshot.shards[key].files):
        return None  # the plan is of a run that does not read them
    frame = snapshot.project.home.store.read(OCCURRENCES.name, ["shard"]).group_by("shard").len()
    stored = sum(count for key, count in frame.iter_rows() if key not in read_again)
    split = {corpus.name for corpus in snapshot.project.settings.corpus if corpus.split}
    if any(shard.corpus in split for shard in due):
        return None
    rows = list(_rows_at_most(due))
    return None if None in rows else stored + sum(count or 0 for count in rows)


def _tokens_at_most(snapshot: ProjectSnapshot, due: Sequence[Shard], documents: int) -> Tokens | None:
    """Return how many tokens the pool can have, `documents` at most; None where that takes counting them.

    Estimated ones need no reading: of lines and plain text, a file has more bytes than its documents.
    """
    known = token_sizes(snapshot.project.home.store)
    found = tokens_of(known, known)
    if not due:
        return found
    names = [Path(shard.name.lower()).suffix for shard in due if is_readable(shard.name)]
    if counting_tokenizer(snapshot.project.settings) or not {*names}.issubset((*LINES, *SINGLE)):
        return None
    new = math.ceil(sum(_size(shard.path) for shard in due) / BYTES_PER_TOKEN) + documents
    return Tokens(tokens=found.tokens + new, documents=documents, estimated=documents)


def _rows_at_most(shards: Sequence[Shard]) -> Iterator[int | None]:
    """Yield how many documents each file can have at most, None where that takes reading it."""
    left = BYTES_COUNTED
    for shard in shards:
        ending = Path(shard.name.lower()).suffix
        try:
            if not is_readable(shard.name) and shard.kind == "file":
                yield 0
            elif shard.kind != "file" or (ending in LINES and (left := left - _size(shard.path)) < 0):
                yield None
            elif ending in LINES:
                count, last = 0, b"\n"
                with shard.path.open("rb") as file:
                    while block := file.read(1 << 20):
                        count, last = count + block.count(b"\n"), block[-1:]
                yield count + (last != b"\n")
            elif ending == ".parquet":
                yield pq.read_metadata(shard.path).num_rows
            else:
                yield 1 if ending in SINGLE else None
        except (OSError, ValueError, pa.ArrowException):
            yield None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _unread_pages(shards: Sequence[Shard]) -> Iterator[str]:
    """Yield at most one line: the files of web pages that are not read without the package for them."""
    names = [shard.name for shard in shards if holds_pages(shard.name)]
    if names and not pages.is_installed():
        files = f"{counted(len(names), 'file')} of web pages ({named(names, SHOWN)})"
        yield f"{files} would not be read: {pages.not_installed().detail}"


def _target_paths(project: Project) -> dict[str, str]:
    """Return the samplers that warm a base model up on the target, and the names of these models."""
    asked = {name: model_of(name) for name in project.settings.ranking_samplers}
    return {name: found.model for name, found in asked.items() if found and found.family == TARGET_PATH}


def _not_causal(project: Project) -> Iterator[str]:
    """Yield the samplers whose base model predicts no next token, by what its config.json names."""
    for sampler, model in _target_paths(project).items():
        path = entry_named(project.settings.base_model, model).path
        file = Path(project.model(path)) / "config.json" if path else None
        with contextlib.suppress(OSError, ValueError, AttributeError):  # said by the step that reads it
            names = json.loads(file.read_text()).get("architectures") if file else None
            if names and not any(name.endswith(CAUSAL) for name in names):
                yield (
                    f"the sampler {sampler} will fail: [[base_model]] {model} is a {names[0]}, and it "
                    "needs a causal model, which predicts the next token"
                )


def missing_packages(project: Project) -> Iterator[str]:
    """Yield the optional packages that tamis.toml asks for and that are not installed, with the command."""
    settings, paths = project.settings, [f"the sampler {name}" for name in _target_paths(project)]
    adapters = ["lora_rank"] * any(model.lora_rank for model in settings.base_model) + paths
    asked: Mapping[str, tuple[bool, str, str]] = {
        "ray": (settings.engine.kind == "ray", '[engine] kind = "ray"', install_command("ray")),
        PACKAGE: (settings.encoder.name == NAME, f"the encoder {NAME!r}", install_command("multilingual")),
        "peft": (bool(adapters), named(adapters, SHOWN), install_command("lora")),
        pages.PACKAGE: (
            any(one.extract for one in settings.corpus) or any(one.extract for one in settings.target),
            'extract = "html"',
            pages.INSTALL,
        ),
        repair.PACKAGE: (any(one.repair for one in settings.corpus), 'repair = "ftfy"', repair.INSTALL),
        "obstore": (
            storage_url(settings) is not None
            or any(is_url(one.path) and not str(one.path).startswith(SCHEMES) for one in settings.corpus),
            "an object store",
            install_command("object-store"),
        ),
        "huggingface_hub": (
            any(one.hub for one in settings.corpus),
            "a dataset on the hub",
            "pip install huggingface_hub",
        ),
    }
    for package, (is_asked, needed_for, command) in asked.items():
        if is_asked and importlib.util.find_spec(package) is None:
            yield str(MissingPackageError(package, needed_for, command))
