"""A target: examples of what the model must become good at, and their split.

Examples are read as a corpus is, each distinct text once. The split puts whole groups of near-duplicates
on one side, in an order that a keyed hash gives: the held-out part does not depend on how many training
examples are asked for, and a smaller training part is the beginning of a larger one.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import polars as pl

from tamis.base.arguments import as_frame, as_whole
from tamis.base.errors import PermanentError
from tamis.base.numbers import counted, named
from tamis.base.progress import Advance, ignore
from tamis.corpus.docstrings import documented_files, read_package
from tamis.corpus.documents import Reading, ShardBatch, all_documents, batches_of, read_shard
from tamis.corpus.listing import ListingError, links_out, list_shards, require_outside
from tamis.corpus.quarantine import QUARANTINE, lost_rows
from tamis.corpus.shards import Shard, ShardGoneError, fingerprint_shard, hash_sources
from tamis.duplicates.near_duplicates import near_duplicate_groups
from tamis.duplicates.shared_text import OwnWords, own_words_of_file
from tamis.readers.conversations import Answers, system_turn_end
from tamis.readers.files import read_file
from tamis.readers.kept_columns import has_columns
from tamis.readers.rows import malformed, quarantine_frame
from tamis.readers.text_columns import columns_of_path, usual_place
from tamis.settings.config import CorpusSection, TargetSection
from tamis.settings.sections import AUTO_COLUMN
from tamis.store.tables import Store, quoted

WITHOUT_FILES = hashlib.sha256().hexdigest()
"""Fingerprint of a target whose folder contains no file with examples."""
FEW = 100
"""Training examples under which every run and status warns: two draws of 100 share .63 to .76 of the choice.

The library warns under 500, where two draws share .80 (`FEW_TARGET_POINTS` of tamis.transport), and the
comment in the template of tamis.toml names that number. A run that did so would warn of every project with
the default `train = 300`.
"""
ROWS_READ = "rows_read"
"""Key of the number of rows of a target's files, in the manifest of its examples."""
PREFIX = "target/"
BATCH_ROWS = 2_000
SHOWN = 3


def few_examples(store: Store) -> list[str]:
    """Return warnings about the sizes of all targets, a line for each that is small."""
    few = (
        store.read("target_examples", ["target"], "split = 'train'")
        .group_by("target")
        .len()
        .filter(pl.col("len") < FEW)
        .sort("target")
    )
    return [
        f"target {target}: {counted(count, 'example')} in train; with fewer than {FEW}, the selection "
        "depends too much on the particular examples, so treat it as provisional (1,000 to 2,000 are best)"
        for target, count in few.iter_rows()
    ]


class OneLabelError(PermanentError):
    """Labelled examples that are all of one class."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(
            f"all {count} labelled examples have the same label, so there is nothing to learn; "
            "add examples with another label, or set label_column to the column with the labels"
        )


def require_labels(split: pl.DataFrame) -> None:
    """Raise `OneLabelError` where the examples (split, label) that are trained and measured on have one."""
    used = split.filter(pl.col("split") != "unused")["label"].drop_nulls()
    if used.n_unique() == 1:
        raise OneLabelError(len(used))


def never_learnt(split: pl.DataFrame) -> dict[str, int]:
    """Return the labels of held-out examples (split, label) that no training example has, with counts."""
    known = split.filter(split="train")["label"].drop_nulls().implode()
    unknown = split.filter(
        pl.col("split") == "held_out", pl.col("label").is_not_null(), ~pl.col("label").is_in(known)
    )
    return dict(unknown.group_by("label").len().sort("label").iter_rows())


def label_warnings(store: Store) -> list[str]:
    """Return warnings about the labels of all targets, a line each."""
    answers = store.read("target_answers", ["target", "doc_id", "label"])
    rows = (
        store.read("target_examples", ["target", "doc_id", "split"])
        .join(answers, on=["target", "doc_id"])
        .sort("target")
    )
    return [
        f"target {target}: label {label!r} occurs in {counted(count, 'held-out example')} but in no training "
        "example, so no model can learn it; add training examples with this label, or remove the label"
        for (target,), own in rows.group_by("target", maintain_order=True)
        for label, count in never_learnt(own).items()
    ]


def place_in_target(target: str, file: str) -> str:
    """Return the name that takes the place of a shard for the rows of a target's file."""
    return f"{PREFIX}{target}/{file}"


def place_of_target(target: str) -> str:
    """Return the name that takes the place of a shard for a target as a whole."""
    return f"{PREFIX}{target}"


def target_of_place(shard: str) -> str | None:
    """Return the target that a place is in; None for a shard of a corpus."""
    return shard.removeprefix(PREFIX).split("/", 1)[0] if shard.startswith(PREFIX) else None


def rows_of_target(target: str) -> str:
    """Return the filter that finds the rows of a target in quarantine."""
    return f"starts_with(shard, {quoted(place_in_target(target, ''))})"


def quarantine_of_target(store: Store, target: str, found: pl.DataFrame) -> dict[str, int]:
    """Replace the quarantined rows of a target by these, and count them by reason."""
    scope = rows_of_target(target)
    if len(found) or store.count(QUARANTINE, scope):
        store.put(QUARANTINE, found, scope)
    return dict(found.group_by("reason").agg(lost_rows()).sort("reason").iter_rows())


class TooFewExamplesError(PermanentError):
    """A target has fewer distinct examples than its split needs; says which sizes would do.

    `groups`: sizes of its groups of near-duplicates, in the order in which they are held out. `files`: names
    of its files, for a target without any example.
    """

    def __init__(
        self,
        groups: Sequence[int],
        train: int,
        held_out: int,
        left_for_train: int,
        quarantined: int = 0,
        files: Sequence[str] = (),
    ) -> None:
        self.available, self.train, self.held_out = sum(groups), train, held_out
        bad = f" (rows in quarantine: {quarantined})" if quarantined else ""
        if not self.available and (quarantined or files):
            place = named(files, SHOWN) if files else "the target's files"
            super().__init__(
                f"no row of {place} could be read"
                if quarantined
                else f"no example in {place}; {train + held_out:,} are needed"
            )
            return
        left = ""
        if self.available > held_out:
            left = (
                f", of which {left_for_train} are left for training without the held-out examples and their "
                "near-duplicates"
            )
        super().__init__(
            f"train = {train} and held_out = {held_out} need {train + held_out} distinct examples; there are "
            f"{self.available}{bad}{left}; {_sizes_that_do(groups, train, held_out)}"
        )


def _sizes_that_do(groups: Sequence[int], train: int, held_out: int) -> str:
    """Return what to do about a split that these groups, which stay on one side, do not allow."""
    most, several = max(groups, default=0), "add examples that differ from these"
    if 2 * most > sum(groups) and most > 1:
        several += ", or raise threshold in [near_duplicates] if these differ in what matters"
    if len(groups) == 1 and most > 1:
        return f"all of them are near-duplicates of one another, so no split is possible: {several}"
    held = list(accumulate(groups))
    left = [(count, sum(groups) - count) for count in held[:-1]]  # held out at most, left for training
    smaller = [f"train to {rest}" for count, rest in left if count >= held_out][:1]
    smaller += [f"held_out to {count}" for count, rest in left if rest >= train][-1:]
    if not smaller and left:
        share = held_out / (train + held_out)
        count, rest = min(left, key=lambda sizes: abs(sizes[0] / sum(groups) - share))
        smaller = [f"held_out to {count} and train to {rest}"]
    if most <= 1:
        return ", or ".join([f"lower {' or '.join(smaller)}"] * bool(smaller) + ["add examples"])
    largest = f"the largest group of near-duplicates has {most:,} of them"
    return f"{largest}; lower {' or '.join(smaller)}, or {several}"


class TargetShrunkError(PermanentError):
    """A target lost too many of the examples that it had; `before` and `now` count them."""

    def __init__(self, target: str, before: int, now: int) -> None:
        self.target, self.before, self.now = target, before, now
        super().__init__(
            f"target {target!r} lost {before - now:,} of {counted(before, 'example')}, so the examples that "
            "are stored are kept. Restore what is missing, or, to go on with what is left, run `tamis "
            f"materialize --allow-removal target:{target}`"
        )


@dataclass(frozen=True, kw_only=True)
class TargetRows:
    """Examples and quarantine of the files of a target.

    examples: distinct ones by doc_id, columns as in `DOCUMENT_SCHEMA`, and shard: `target/NAME/FILE`, which
    no shard of a corpus can be; of a target with pairs or labels also response_at and label
    (`tamis.readers.conversations`). quarantine: the rows that cannot be used. rows: how many there are, with
    these. files: names of the files.
    """

    examples: pl.DataFrame
    quarantine: pl.DataFrame
    rows: int
    files: tuple[str, ...]


def read_target(
    target: TargetSection, root: Path, *, advance: Advance = ignore
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the examples of a target and its quarantine, and raise, as `read_target_rows` does."""
    found = read_target_rows(target, root, advance=advance)
    return found.examples, found.quarantine


def read_target_rows(target: TargetSection, root: Path, *, advance: Advance = ignore) -> TargetRows:
    """Read the files of a target.

    Of a text that occurs in several places the first (by shard and row) is kept; a row that gives it another
    label is quarantined. Raises `ListingError` and `MissingPackageError` as `list_shards` does.
    """
    examples, quarantine = [], []
    shards = list_shards(_as_corpus(target), root)
    if not shards:
        raise ListingError(target.name, root / str(target.path), "it contains no file with examples yet")
    places = {shard.key: place_in_target(target.name, shard.name) for shard in shards}
    for shard in shards:
        answers = Answers(target=target)
        batch = all_documents(_batches(shard, target, answers, advance))
        found = batch.documents.with_columns(pl.lit(shard.key).alias("shard"))
        examples.append(found.join(answers.frame(), on="row", how="left") if target.is_answered else found)
        quarantine.append(batch.quarantine.with_columns(pl.lit(places[shard.key]).alias("shard")))
    placed = pl.col("shard").replace_strict(places, return_dtype=pl.Utf8)
    ordered = pl.concat(examples).sort("doc_id", "shard", "row").with_columns(placed)
    rows = len(ordered) + sum(int(bad.select(lost_rows()).item()) for bad in quarantine)
    kept = ordered.unique("doc_id", keep="first", maintain_order=True)
    if target.label_column:
        quarantine.append(_contradicting(ordered, kept))
    files = tuple(shard.name for shard in shards)
    return TargetRows(examples=kept, quarantine=pl.concat(quarantine), rows=rows, files=files)


def _contradicting(ordered: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Return quarantine rows for texts whose label differs from that of their first occurrence."""
    found = ordered.join(kept.select("doc_id", first="label"), on="doc_id").filter(
        pl.col("label") != pl.col("first")
    )
    defects = (
        malformed(row, f"labelled {label!r} here and {other!r} where the same text was found first", text)
        for row, label, other, text in found.select("row", "label", "first", "text").iter_rows()
    )
    return quarantine_frame(defects).with_columns(found["shard"])


def fingerprint_target(target: TargetSection, root: Path) -> str:
    """Return the SHA-256, hex, of the names and bytes of a target's files; of a `module`, its files only.

    Of a folder that contains no file with examples it is `WITHOUT_FILES`.
    """
    digest = hashlib.sha256()
    for shard in list_shards(_as_corpus(target), root):
        content = (
            fingerprint_shard(shard)
            if target.module is None
            else hash_sources(documented_files(shard.path, shard.name, target.module))
        )
        digest.update(f"{shard.name}\0{content}\n".encode())
    return digest.hexdigest()


def split_target(
    examples: pl.DataFrame,
    groups: pl.DataFrame | None,
    train: int,
    held_out: int,
    seed: int,
    quarantined: int = 0,
    files: Sequence[str] = (),
) -> pl.DataFrame:
    """Return the examples with a column `split`: exactly `held_out` and `train` of them, the others "unused".

    groups: doc_id and group, for near-duplicates; an example without one is a group of its own. No group
    has examples in both parts. Raises `TooFewExamplesError`, which tells how many rows are quarantined, and
    the names of `files` if there is no example.
    """
    examples = as_frame("examples", examples)
    train, held_out = as_whole("train", train, 0), as_whole("held_out", held_out, 0)
    ordered = _in_keyed_order(examples, groups, seed)
    own_group_held = pl.col("place").min().over("group") < held_out
    placed = ordered.with_columns(
        pl.when(own_group_held).then(None).otherwise((~own_group_held).cum_sum()).alias("training_place")
    )
    left = len(placed) - placed["training_place"].null_count()
    if len(placed) < held_out or left < train:
        sizes = placed.group_by("group", maintain_order=True).len()["len"].to_list()
        raise TooFewExamplesError(sizes, train, held_out, left, quarantined, files)
    split = (
        pl.when(pl.col("place") < held_out)
        .then(pl.lit("held_out"))
        .when(pl.col("training_place") <= train)
        .then(pl.lit("train"))
        .otherwise(pl.lit("unused"))
    )
    return placed.sort("doc_id").select(*examples.columns, split=split)


def near_groups(examples: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Return `near_duplicate_groups` of examples (doc_id, text, turns if any) by their own words."""
    compared = own_words_of_examples(examples).compared().to_list()
    return near_duplicate_groups(examples["doc_id"].to_list(), compared, threshold=threshold)


def own_words_of_examples(examples: pl.DataFrame) -> OwnWords:
    """Return which words are the examples' own; columns doc_id, text, and turns of conversations."""
    turns = examples["turns"] if "turns" in examples.columns else [None] * len(examples)
    ends = [system_turn_end(json.loads(starts)) if starts else 0 for starts in turns]
    return own_words_of_file(examples["doc_id"], examples["text"], pl.Series("end", ends, pl.Int64))


def set_aside(
    examples: pl.DataFrame, groups: pl.DataFrame | None, count: int, seed: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return exactly `count` examples, and those of the others that are near-duplicates of none of them.

    groups as for `split_target`. Both in order of id.
    """
    examples, count = as_frame("examples", examples), as_whole("count", count, 0)
    ordered = _in_keyed_order(examples, groups, seed)
    shared = pl.col("place").min().over("group") < count
    columns, first = examples.columns, pl.col("place") < count
    return ordered.filter(first).sort("doc_id").select(columns), ordered.filter(~shared).sort(
        "doc_id"
    ).select(columns)


def _in_keyed_order(examples: pl.DataFrame, groups: pl.DataFrame | None, seed: int) -> pl.DataFrame:
    """Return examples with group and place (from 0): groups by a hash of seed and group, then members."""
    if groups is None:
        grouped = examples.with_columns(pl.col("doc_id").alias("group"))
    else:
        members = as_frame("groups", groups).select("doc_id", "group")
        grouped = examples.join(members, on="doc_id", how="left").with_columns(
            pl.coalesce(pl.col("group").cast(pl.Utf8), "doc_id").alias("group")
        )
    keys = [_keys(grouped[column], seed).alias(f"{column}_key") for column in ("group", "doc_id")]
    return (
        grouped.with_columns(keys)
        .sort("group_key", "group", "doc_id_key")
        .with_columns(pl.int_range(pl.len()).alias("place"))
    )


def _keys(values: pl.Series, seed: int) -> pl.Series:
    return pl.Series(
        [hashlib.sha256(f"{seed}\0{value}".encode()).hexdigest() for value in values], dtype=pl.Utf8
    )


def files_of_target(target: TargetSection, root: Path) -> list[tuple[Shard, CorpusSection]]:
    """Return the files of a target, each with the section that its rows are read by."""
    corpus = _as_corpus(target).model_copy(update={"format": target.format})
    return [(shard, corpus) for shard in list_shards(_as_corpus(target), root)]


def require_target_outside(target: TargetSection, root: Path, home: Path) -> None:
    """Raise `ListingError` where a target would read the results in the home folder as examples."""
    require_outside(_as_corpus(target), root, home)


def target_links_out(target: TargetSection, root: Path) -> list[str]:
    """Return the links below the folder of a target that lead out of it and are not followed."""
    return links_out(_as_corpus(target), root)


def _as_corpus(target: TargetSection) -> CorpusSection:
    fields = {*CorpusSection.model_fields} & {*TargetSection.model_fields} - {"format"}
    shared = target.model_dump(include=fields)
    texts = target.response_column or target.text_column
    if target.response_column == AUTO_COLUMN:
        texts = (AUTO_COLUMN,)  # the name of the column
    return CorpusSection.model_validate(shared | {"text_column": texts, "keep_columns": False})


def rows_of_examples(target: TargetSection, root: Path) -> pl.DataFrame:
    """Return doc_id and content, the row's own columns as JSON, of the rows of a target's files."""
    rows = [pl.DataFrame(schema={"doc_id": pl.String, "content": pl.String})]
    for shard in list_shards(_as_corpus(target), root):
        if shard.kind == "file" and has_columns(shard.name):
            batches = _batches(shard, target, Answers(target=target), ignore, whole=True)
            rows += [batch.documents.select("doc_id", "content").drop_nulls("content") for batch in batches]
    return pl.concat(rows)


def _batches(
    shard: Shard, target: TargetSection, answers: Answers, advance: Advance, whole: bool = False
) -> Iterator[ShardBatch]:
    """Yield the examples of a file; `whole`: with their rows' own columns, whatever their length."""
    corpus = _as_corpus(target)
    reading = Reading(batch_rows=BATCH_ROWS, advance=advance)
    if whole:
        corpus = corpus.model_copy(update={"keep_columns": True})
        reading = replace(reading, kept_bytes=float("inf"))
    if shard.kind == "file":
        if not shard.path.exists():
            raise ShardGoneError(shard.key, shard.path)
        # Columns of prompts and labels are to be read where they are nested, too.
        paths = filter(None, (target.prompt_column, target.label_column))
        columns = [column for path in paths for column in columns_of_path(path)]
        beside = {"keep_columns": whole or columns, "format": target.format}
        items = answers.read(read_file(shard.path, corpus.model_copy(update=beside)))
    elif target.module is None:
        return read_shard(shard, corpus, advance=advance)
    else:
        items = read_package(shard.path, shard.name, usual_place(corpus).name, target.module)
    return batches_of(items, shard, corpus, reading)
