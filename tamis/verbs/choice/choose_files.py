"""`tamis select`: documents chosen from files, without a project.

A temporary project is made of the arguments, the steps up to its selection run in this process, and the
chosen rows are written. The home goes with the command; one that a kill left behind goes with the next.
"""

import shutil
import sys
import warnings
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tamis.base.files import write_atomically
from tamis.base.numbers import counted, named, percent
from tamis.base.precision import FLOAT32, computing_in
from tamis.base.progress import Progress, complain, say
from tamis.corpus.listing import reads
from tamis.corpus.quarantine import QUARANTINE
from tamis.corpus.stage import DOCUMENTS, DOCUMENTS_STAGE
from tamis.corpus.targets import TargetRows, near_groups, read_target_rows, set_aside
from tamis.embedding.unknown import unknown_lines
from tamis.graph.plan import upstream
from tamis.project import Project, quiet_libraries
from tamis.report.selection import selection_page
from tamis.report.selection_data import Division, selection_report
from tamis.scan.markup import markup_lines
from tamis.scan.precheck import missing_packages
from tamis.scan.quarantine import quarantine_lines, reading_notes
from tamis.scan.sources import scan_files
from tamis.scores.storing import score_lines
from tamis.selection.choosing import Chosen
from tamis.selection.errors import BudgetExceedsPool
from tamis.selection.filtering import corpora_lost, files_lost
from tamis.selection.keep_out import benchmark_lines, benchmark_warnings
from tamis.selection.pool import stored_count
from tamis.selection.stage import SELECTION_STAGE
from tamis.settings.budget import parse_budget
from tamis.settings.config import PROJECT_FILE, Settings, parse_settings
from tamis.settings.references import named as section_named
from tamis.settings.samplers import find_sampler
from tamis.settings.tokenizer import counting_tokenizer
from tamis.store.home import Home, placed, writing
from tamis.store.unwritable import CannotWriteError, storing_file, write_problem
from tamis.verbs.choice.advice import errors_in_options, in_options
from tamis.verbs.choice.chosen_rows import (
    ENDINGS,
    ending_of,
    places_of,
    scored,
    write_chosen,
    write_decisions,
)
from tamis.verbs.choice.from_files import (
    AWAY,
    CHOSEN,
    POOL,
    STDIN,
    Call,
    Place,
    PoolError,
    paths_of,
    sections_of,
    streams_of,
    with_sizes,
)
from tamis.verbs.choice.temporary import temporary_folder
from tamis.verbs.steps import Steps, made, samplers_of_files

PAGES = (".html", ".htm")
MOST_EXAMPLES = 2_000
"""Examples of a target that count: more make the choice no better and the scores slower."""
FEW = 100
"""Examples under which a line warns, as of a project."""
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Written:
    """Files that `tamis select` writes."""

    output: Path
    decisions: Path | None = None
    page: Path | None = None

    @property
    def paths(self) -> list[tuple[str, Path]]:
        """The files with the options that name them."""
        named_by = {"--output": self.output, "--decisions": self.decisions, "--page": self.page}
        return [(option, path) for option, path in named_by.items() if path is not None]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Counts of a choice: documents, of how many, and how many have each reason."""

    output: Path
    chosen: int
    documents: int
    reasons: Mapping[str, int]

    @property
    def lines(self) -> list[str]:
        """The result for a person."""
        share = f" ({percent(self.chosen / self.documents)})" if self.documents else ""
        first = f"{self.output}: {self.chosen:,} of {counted(self.documents, 'document')}{share}"
        return [first, *(f"  {reason}: {count:,}" for reason, count in self.reasons.items())]


def select_files(call: Call, written: Written) -> Summary:
    """Choose documents of files and write them; raises `PoolError` and what the steps raise.

    Nothing that is written is ever half there.
    """
    sampler = call.chosen_sampler()
    parse_budget(call.budget)
    _require_writable(call, written)
    with errors_in_options(), temporary_folder() as folder:
        streams = {one: _saved(one, folder, number) for number, one in enumerate(streams_of(call), 1)}
        values = sections_of(call, Place(folder=folder, streams=streams))
        values["project"] |= {"name": "select"}
        values["automation"] = {"settle_seconds": 0.0}
        settings = parsed(with_sizes(values, {one["name"]: (1, 0) for one in values["target"]}))
        _require_outside(settings, written)
        read = read_examples(settings, folder)
        settings = parsed(with_sizes(values, sizes_of(settings, read, call.hold_out)))
        project = Project(file=folder / PROJECT_FILE, settings=settings, home=placed(Home(folder / "home")))
        quiet_libraries(project)
        for line in missing_packages(project):
            raise PoolError(line)
        with writing(project.home, "tamis select"), computing_in(FLOAT32):
            return _selected(project, read, sampler.name, written, streams)


def read_examples(settings: Settings, root: Path) -> dict[str, TargetRows]:
    """Return the rows of each target; raises `PoolError` where nothing can be read of one."""
    read: dict[str, TargetRows] = {}
    for section in settings.target:
        with Progress("reading examples"):
            read[section.name] = read_target_rows(section, root)
        rows = read[section.name]
        if rows.examples.is_empty():
            first = f": {rows.quarantine['detail'][0]}" if len(rows.quarantine) else ""
            raise PoolError(in_options(f"no example could be read of {section.path}{first}"))
    return read


def sizes_of(settings: Settings, read: Mapping[str, TargetRows], hold_out: int) -> dict[str, tuple[int, int]]:
    """Return `train` and `held_out` of each target: all examples that are left for training, up to a limit.

    Raises `PoolError` where as many cannot be held out.
    """
    sizes = {}
    for name, rows in read.items():
        option = "--keep-away" if name == AWAY else "--target"
        held_out = hold_out if name == settings.target[0].name else 0
        count = left = len(rows.examples)
        if held_out:
            groups = near_groups(rows.examples, settings.near_duplicates.threshold)
            left = (
                len(set_aside(rows.examples, groups, held_out, settings.project.seed)[1])
                if held_out < count
                else 0
            )
        if not left:
            raise PoolError(
                f"--hold-out {held_out} leaves nothing to choose by, of "
                f"{counted(count, 'example')}; hold out fewer"
            )
        train = min(left, MOST_EXAMPLES)
        if left > train:
            say(f"{option}: {train:,} of {left:,} examples count, drawn at random")
        if train < FEW:
            complain(
                f"{option}: {counted(train, 'example')}; with fewer than {FEW}, the choice depends too much "
                "on the particular examples, so treat it as provisional (500 to 2,000 are best)"
            )
        sizes[name] = (train, held_out)
    return sizes


def _selected(
    project: Project,
    read: Mapping[str, TargetRows],
    sampler: str,
    written: Written,
    streams: Mapping[str, Path],
) -> Summary:
    with Progress("listing files"):
        snapshot = scan_files(project)
    for key, why in snapshot.held.items():
        complain(in_options(f"{key} is left out: {why}"))
    needed = {name for name, _partition in upstream(snapshot, (SELECTION_STAGE.name, CHOSEN))}
    if needed - made():
        raise PoolError(
            f"the sampler {sampler!r} needs the scores of a model, which only a project has (`tamis init`); "
            f"samplers that need files alone: {', '.join(samplers_of_files())}"
        )
    steps = Steps(project=project, snapshot=snapshot, read=read)
    store, section = project.home.store, section_named(project.settings.selection, CHOSEN)
    # Both raise for a model that is not there: before everything is read.
    _ = find_sampler(sampler).reads_vectors and snapshot.encoder_identity
    _ = counting_tokenizer(project.settings) and snapshot.tokenizer_identity
    steps.documents("")
    _say_what_was_read(steps)
    if store.count(DOCUMENTS.name) == 1:
        raise PoolError("the pool has a single text, so there is nothing to choose from; name another pool")
    for line in markup_lines(project.settings.corpus, [*snapshot.files.values()]):
        complain(in_options(line))
    steps.run(CHOSEN, done=(DOCUMENTS_STAGE.name,))
    for line in benchmark_lines(store):
        say(in_options(line))
    for line in (*benchmark_warnings(store), *score_lines(store, project.settings.column_scores)):
        complain(in_options(line))
    if find_sampler(sampler).reads_vectors:
        for line in unknown_lines(project):
            complain(in_options(line))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BudgetExceedsPool)
        chosen = steps.choose(section)
    for line in (
        *(str(one.message) for one in caught if one.category is BudgetExceedsPool),
        *chosen.shortfalls,
    ):
        complain(in_options(line))
    decided = scored(chosen.decided, section)
    for line in (*files_lost(store, decided), *corpora_lost(store, decided)):
        say(in_options(line))
    _require_eligible(decided)
    places = places_of(snapshot)
    # The chosen rows last: where another file fails, the choice is not there either.
    with Progress("writing"):
        if written.decisions is not None:
            with storing_file(written.decisions):
                write_decisions(snapshot, decided, places, written.decisions, streams)
        if written.page is not None:
            with storing_file(written.page):
                write_atomically(written.page, _page(project, chosen).encode())
        with storing_file(written.output):
            for line in write_chosen(snapshot, decided, places, written.output):
                say(line)
    counts = decided.group_by("reason").len().sort("len", "reason", descending=[True, False])
    return Summary(
        output=written.output,
        chosen=int((decided["verdict"] == "selected").sum()),
        documents=len(decided),
        reasons=dict(counts.iter_rows()),
    )


def _page(project: Project, chosen: Chosen) -> str:
    """Return the page of the selection, which links to no other page."""
    section = section_named(project.settings.selection, CHOSEN)
    division = None
    if chosen.shares is not None:
        division = Division(per=chosen.shares.per, shortfalls=chosen.shortfalls)
    filters = project.settings.filters
    decided = chosen.decided
    if "count" in decided.columns:
        decided = decided.with_columns(stored_count("count"))
    report = selection_report(project.home.store, section, decided, filters, division)
    return selection_page(replace(report, alone=True, warnings=[*map(in_options, unknown_lines(project))]))


def _say_what_was_read(steps: Steps) -> None:
    """Say from which columns texts are, and which files and rows are left out; raises where all are."""
    store, snapshot = steps.store, steps.snapshot
    for key, error in steps.unread.items():
        complain(in_options(f"{snapshot.shards[key].path} is left out: {error}"))
    for line in reading_notes(snapshot):
        say(in_options(line))
    rows = store.read(QUARANTINE).sort("shard", "row").to_dicts()
    lines = quarantine_lines(rows, snapshot)
    for line in lines:
        complain(in_options(f"left out: {line}"))
    if not store.count(DOCUMENTS.name):
        if not snapshot.shards:
            folders = named([str(corpus.path) for corpus in snapshot.project.settings.corpus], 3)
            raise PoolError(f"the pool has no file: {folders}; name another folder, or files")
        files = named([str(shard.path) for shard in snapshot.shards.values()], 3)
        without = "" if rows or steps.unread else ": no row has a text"
        raise PoolError(f"no document could be read from the pool ({files}){without}")


def _require_eligible(decided: pl.DataFrame) -> None:
    """Raise `PoolError` where nothing was chosen: no document is eligible, or none fits the budget."""
    if (decided["verdict"] == "selected").any():
        return
    if decided["rank"].count():
        raise PoolError(
            "nothing was chosen: the budget is smaller than the first document; pass a larger one"
        )
    reasons = dict(decided.group_by("reason").len().sort("len", descending=True).iter_rows())
    if list(reasons) == ["target_example"]:
        raise PoolError(
            "nothing was chosen: every document of the pool is an example of the target; name another pool"
        )
    shown = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
    raise PoolError(f"nothing was chosen: no document may be chosen ({shown}); --rules none applies no rules")


def parsed(values: Mapping[str, Any]) -> Settings:
    """Return settings; their errors name the option and not a file that nobody wrote."""
    with errors_in_options():
        return parse_settings(dict(values), "tamis select")


def _require_writable(call: Call, written: Written) -> None:
    """Raise `PoolError` for files that cannot be named so, or that the pool or the target would lose.

    Raises `CannotWriteError` before the work where the disk of a file is full or may only be read.
    """
    taken: dict[Path, str] = {}
    for option, path in written.paths:
        if option == "--page" and path.suffix.lower() not in PAGES:
            raise PoolError(f"--page {path}: a page is HTML; valid endings: {', '.join(PAGES)}")
        if option != "--page" and ending_of(path) is None:
            raise PoolError(f"{option} {path}: the name says no format; valid endings: {', '.join(ENDINGS)}")
        if path.is_dir():
            raise PoolError(f"{option} {path} is a folder; name a file in it")
        if not path.absolute().parent.is_dir():
            raise PoolError(
                f"{option} {path}: the folder {path.absolute().parent} does not exist; make it first"
            )
        if (problem := write_problem(path.absolute().parent)) is not None:
            raise CannotWriteError(path, problem.strerror or "permission denied")
        if (other := taken.setdefault(path.resolve(), option)) != option:
            raise PoolError(f"{option} and {other} name the same file {path}")
        for what, read in paths_of(call):
            if read.exists() and read.resolve() == path.resolve():
                raise PoolError(f"{option} {path} would overwrite a file of the {what}; name another file")
    named = [(what, read.resolve()) for what, read in paths_of(call)]
    pool = {read for what, read in named if what == POOL}
    for what, read in named:
        if what != POOL and read in pool:
            raise PoolError(
                f"{read} is both pool and {what}, so nothing is left to choose; name another file for one of "
                "them"
            )


def _require_outside(settings: Settings, written: Written) -> None:
    """Raise `PoolError` where a file would be written that the same call reads the next time."""
    for option, path in written.paths:
        for section in settings.corpus:
            folder = Path(str(section.path)).resolve()
            whole = path.resolve()
            if section.kind != "files" or not folder.is_dir() or not whole.is_relative_to(folder):
                continue
            if reads(section, whole.relative_to(folder).as_posix()):
                raise PoolError(
                    f"{option} {path} is inside the pool {section.path}, where the next call would read it "
                    "as documents; name a file elsewhere"
                )


def _saved(argument: str, folder: Path, number: int) -> Path:
    """Save standard input or a pipe under a name whose ending says what its first bytes are."""
    is_stdin = argument == STDIN
    with nullcontext(sys.stdin.buffer) if is_stdin else open(argument, "rb") as stream:
        if not (first := stream.read(_BLOCK)):
            where = "standard input" if is_stdin else argument
            raise PoolError(f"{where} is empty; pipe documents into it, or name files")
        path = folder / f"{'stdin' if is_stdin else f'pipe{number}'}{_ending_of(first)}"
        with path.open("wb") as file:
            file.write(first)
            shutil.copyfileobj(stream, file, _BLOCK)
    return path


def _ending_of(first: bytes) -> str:
    """Return the ending of a file that begins so: Parquet, Arrow, JSON, lines of JSON, or else CSV."""
    for magic, ending in ((b"PAR1", ".parquet"), (b"ARROW1", ".arrow")):
        if first.startswith(magic):
            return ending
    for magic, codec, ending in ((b"\x1f\x8b", "gzip", ".gz"), (b"\x28\xb5\x2f\xfd", "zstd", ".zst")):
        if first.startswith(magic):
            with suppress(pa.ArrowException, OSError):
                stream = pa.CompressedInputStream(pa.BufferReader(first), codec)
                return f"{_ending_of(stream.read(64))}{ending}"
            return f".jsonl{ending}"
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    return ".jsonl" if text.startswith(b"{") else ".json" if text.startswith(b"[") else ".csv"
