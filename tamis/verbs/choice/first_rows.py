"""Settings that the first rows of files suggest: where the texts are, and how many examples are held out."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from tamis.base.numbers import counted, named, percent
from tamis.base.progress import complain
from tamis.corpus import Shard, list_shards
from tamis.corpus.documents import Reading, all_documents, batches_of
from tamis.corpus.looking import is_looked_at, look_at
from tamis.corpus.remote.object_store import is_url
from tamis.corpus.targets import TargetRows
from tamis.filters.form.model import default_model, limit_for
from tamis.filters.form.statistics import form
from tamis.readers import arrow_rows, pages, parquet_rows
from tamis.readers.files import is_readable, raw_items, read_file
from tamis.readers.markup import kind_of
from tamis.readers.rows import Item, Row, with_texts
from tamis.readers.streams import COLUMNAR, Content, holds_pages
from tamis.readers.text_columns import Sample, conversations_in, fitting, sample_of
from tamis.scan.remedies import among as some_of
from tamis.scan.remedies import as_glob, without_advice
from tamis.settings.config import CorpusSection, Settings
from tamis.settings.sections import AUTO_COLUMN, COLUMN_OF_FORMAT, RowFormat
from tamis.settings.values import is_glob
from tamis.verbs.choice.choose_files import FEW, sizes_of
from tamis.verbs.choice.from_files import GOAL, Call, PoolError

FILES, TEXTS, LEAST_TEXTS = 20, 400, 20
"""Files of a corpus that are looked at, texts of all of them together, and of each at least."""
MOST_BYTES = 1 << 23
"""Decompressed bytes of a file that are read at most: also of long rows it shows several."""
SHOWN = 3
MOST_HELD_OUT = 500
MOST_OTHER = 0.1
"""Share of texts that are no English prose above which a line warns of the rule `form`."""
EXAMPLES, CHARACTERS = 500, 20_000
"""Examples of a target that are judged by their form, and leading characters of a text as code."""
Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """Sections with the keys that first rows suggest, and sentences on them; `texts`: of each corpus."""

    values: dict[str, Any]
    lines: list[str]
    texts: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A file: what its rows are, the columns with texts or turns, the best first, and all that it has."""

    file: Shard
    form: RowFormat = "text"
    fits: tuple[str, ...] = ()
    columns: frozenset[str] = frozenset()

    @property
    def counts(self) -> bool:
        """Return whether the file says what its section should be."""
        return bool(self.fits) or not is_looked_at(self.file)


def suggested(values: Values, call: Call, root: Path) -> Suggested:
    """Return the sections of `sections_of` as the first rows of their files suggest.

    A key that the call states stays. Raises `PoolError` where no file of a section can be read, where a
    section would need two formats, and where the pool has no file but those of the target.
    """
    goal = next(one for one in values["target"] if one["name"] == GOAL)
    (goal_section, of_goal), *_ = _looked([goal], call, root)
    examples = {shard.path.resolve() for shard in list_shards(_parsed(goal), root)}
    corpora, lines, texts = [], [], {}
    for one in values["corpus"]:
        apart, said = _without(one, examples, root)
        lines += said
        for section, seen in _looked(apart, call, root):
            corpora.append(section)
            lines.append(f"corpus {section['name']}: {_sentence(section, seen)}")
            texts[section["name"]] = _first_texts(_parsed(section), seen)
    if not corpora:
        raise PoolError(
            f"{goal['path']} is both pool and target, so nothing is left to choose; name another pool or "
            "target"
        )
    lines.append(f"target {GOAL}: {_sentence(goal_section, of_goal)}")
    return Suggested(values={**values, "corpus": corpora, "target": [goal_section]}, lines=lines, texts=texts)


def suggested_sizes(
    settings: Settings, read: Mapping[str, TargetRows], call: Call
) -> dict[str, tuple[int, int]]:
    """Return `train` and `held_out` of the target: a third of the examples is held out, at most 500.

    Nothing is held out of fewer than 100 examples, or of near-duplicates alone, unless the call says so.
    """
    if call.hold_out:
        return sizes_of(settings, read, call.hold_out)
    count = len(read[GOAL].examples)
    if count >= FEW:
        try:
            return sizes_of(settings, read, min(count // 3, MOST_HELD_OUT))
        except PoolError:
            complain(f"{GOAL}: the examples repeat one another nearly word for word, so none is held out")
    return sizes_of(settings, read, 0)


def other_than_prose(texts: Mapping[str, Sequence[str]], examples: Sequence[str]) -> Iterator[str]:
    """Yield a line for each corpus of whose texts over a tenth are no English prose.

    The rule `form` would judge them as English prose, by the limit of the examples, or say nothing of them.
    """
    model = default_model()
    limit = limit_for(model, form(pl.Series(examples[:EXAMPLES], dtype=pl.String)))
    for name, some in texts.items():
        stats = form(pl.Series(some, dtype=pl.String))
        rows = pl.DataFrame(
            {
                "language": stats["language"],
                "dropped": (model.judge(stats)["form_logit"] > limit).fill_null(False),
                "kind": [kind_of(text[:CHARACTERS]) for text in some],
            }
        )
        kind = (
            pl.when(pl.col("kind") != "")
            .then("kind")
            .when(~pl.col("language").is_in([*model.languages, "none", "short"]))
            .then(pl.lit("other languages"))
            .when("dropped")
            .then(pl.lit("written like damaged texts"))
        )
        kinds = rows.select(kind=kind, dropped="dropped").filter(pl.col("kind").is_not_null())
        if len(kinds) <= MOST_OTHER * len(rows):
            continue
        parts = (
            kinds["kind"]
            .value_counts(sort=True, name="count")
            .sort("count", "kind", descending=[True, False])
        )
        shown = ", ".join(f"{what} {percent(count / len(rows), 0)}" for what, count in parts.iter_rows())
        dropped = int(rows["dropped"].sum())
        drops = f"would drop {percent(dropped / len(rows), 0)}" if dropped else "drops none of those"
        silent = ", and says nothing of other languages" if "other languages" in shown else ""
        yield (
            f"corpus {name}: {percent(len(kinds) / len(rows), 0)} of the {counted(len(rows), 'text')} looked "
            f"at are no English prose ({shown}). The rule form, which is made for English prose, {drops}"
            f'{silent}; if it drops what you want, remove "form" from heuristics in [filters]'
        )


def _parsed(values: Values) -> CorpusSection:
    """Return a section to look at files by; of a target what a corpus has, too."""
    return CorpusSection.model_validate(
        {key: value for key, value in values.items() if key in CorpusSection.model_fields}
    )


def _without(values: Values, examples: Iterable[Path], root: Path) -> tuple[list[Values], list[str]]:
    """Return a corpus without the files of examples, none if it has no other, and a line that says so."""
    if is_url(values["path"]):
        return [values], []
    examples, shards = {*examples}, list_shards(_parsed(values), root)
    own = [shard.name for shard in shards if shard.path.resolve() in examples]
    if not shards:
        raise PoolError(f"{values['path']}: no file is in it that can be read; name files, or a glob")
    if len(own) == len(shards):
        return [], [f"{values['path']} is left out of the pool, since it holds the examples"]
    if not own:
        return [values], []
    line = f"corpus {values['name']}: without {named(own, SHOWN)}, the examples of the target"
    if _is_by_name(values):
        return [{**values, "include": [name for name in values["include"] if name not in own]}], [line]
    return [{**values, "exclude": [as_glob(name) for name in own]}], [line]


def _is_by_name(values: Values) -> bool:
    """Return whether the files of a section were named one by one."""
    return bool(values.get("include")) and not any(map(is_glob, values["include"]))


def _looked(sections: Sequence[Values], call: Call, root: Path) -> Iterator[tuple[Values, list[_Seen]]]:
    """Yield sections with what says how their files are read, and what was seen of these.

    A section of files that were named one by one is divided where some hold conversations and others texts.
    """
    stated: dict[str, Any] = {"format": call.format} if call.format != "text" else {}
    if call.text_column != AUTO_COLUMN:
        stated["text_column"] = call.text_column
    for values in sections:
        bare = {key: value for key, value in values.items() if key not in ("format", "text_column")}
        if is_url(bare["path"]):
            yield bare | (stated or {"text_column": AUTO_COLUMN}), []
            continue
        files = [one for one in list_shards(_parsed(bare), root) if is_readable(one.name)]
        seen = [_seen(file, _parsed(bare)) for file in some_of(files, FILES)]
        forms = dict.fromkeys(one.form for one in seen if one.counts)
        if stated or len(forms) <= 1:
            section = bare | (stated or _reading(seen))
            _require_readable(section, seen)
            yield section, seen
            continue
        if not _is_by_name(bare):
            raise _mixed(bare, seen, forms)
        for number, rows in enumerate(forms):
            own = [one.file.name for one in seen if one.counts and one.form == rows]
            name = f"{bare['name']}-{rows}" if number else bare["name"]
            part = {**bare, "name": name, "include": [as_glob(one) for one in own]}
            yield from _looked([part], call, root)


def _mixed(values: Values, seen: Sequence[_Seen], forms: Iterable[RowFormat]) -> PoolError:
    first = {rows: next(one.file.name for one in seen if one.counts and one.form == rows) for rows in forms}
    which = ", ".join(
        f"{'texts' if rows == 'text' else f'conversations ({rows})'} in {name}"
        for rows, name in first.items()
    )
    return PoolError(
        f"{values['path']} holds {which}; name each kind by a glob of its own, or state "
        "--format for all of them"
    )


def _seen(file: Shard, section: CorpusSection) -> _Seen:
    try:
        sample = _sample(file, section)
    except OSError:  # said by the look that asks whether a file can be read
        sample = {}
    columns = frozenset(sample)
    if (talk := conversations_in(sample)) is not None:
        return _Seen(file=file, form=talk[0], fits=(talk[1],), columns=columns)
    return _Seen(file=file, fits=tuple(fitting(sample)), columns=columns)


def _reading(seen: Sequence[_Seen]) -> dict[str, Any]:
    """Return `format` and `text_column` for files of one kind; nothing for files that are a text each."""
    best = [one for one in seen if one.fits]
    if not best:
        return {"text_column": AUTO_COLUMN} if any(is_looked_at(one.file) for one in seen) else {}
    columns = [column for column, _count in Counter(one.fits[0] for one in best).most_common()]
    # A row takes the first of several columns that it has.
    differ = any(next(name for name in columns if name in one.columns) != one.fits[0] for one in best)
    column = AUTO_COLUMN if differ else columns if len(columns) > 1 else columns[0]
    if (rows := best[0].form) == "text":
        return {"text_column": column}
    return {"format": rows} | ({"text_column": column} if column != COLUMN_OF_FORMAT[rows] else {})


def _require_readable(values: Values, seen: Sequence[_Seen]) -> None:
    """Complain of files of which nothing would be read; raise `PoolError` where that is all of them."""
    section, problems = _parsed(values), {}
    for one in seen:
        if holds_pages(one.file.name) and not pages.is_installed():
            problems[one.file.name] = pages.not_installed().detail
            continue
        try:
            defect = look_at(one.file, section) if is_looked_at(one.file) else None
        except OSError as error:
            problems[one.file.name] = str(error.strerror or error)
        else:
            if defect is not None:
                # Rows are those of the look, and no number to tell.
                detail = defect.detail.replace(f" in any of its {defect.rows or 0:,} rows", "", 1)
                problems[one.file.name] = without_advice(detail)[0]
    if not seen:
        raise PoolError(f"{values['path']}: none of its files has an ending that is read (docs/corpora.md)")
    first = next(iter(problems.items()), None)
    if first and len(problems) == len(seen):
        raise PoolError(
            f"{values['path']}: no text can be read. {first[0]}: {first[1]}. Name the column with "
            "--text-column, or the kind of conversations with --format"
        )
    for name, problem in problems.items():
        complain(f"{values['name']}: {name} cannot be read so: {problem}")


def _sentence(values: Values, seen: Sequence[_Seen]) -> str:
    """Return what is in the files of a section, and which other columns of them hold texts."""
    if not seen:
        return f"{values['path']} was not looked at; each file says which column holds its text"
    files = counted(len(seen), "file") + (" looked at" if len(seen) == FILES else "")
    column, rows = values.get("text_column"), values.get("format", "text")
    if column is None and rows == "text":
        return f"{files}, each a text"
    what = "texts" if rows == "text" else f"conversations (format = {json.dumps(rows)})"
    if column == AUTO_COLUMN:
        return f'{files}, {what} in different columns, so each file says which (text_column = "auto")'
    columns = column if isinstance(column, list) else [column or COLUMN_OF_FORMAT[rows]]
    where = f"{'column' if len(columns) == 1 else 'columns'} {', '.join(map(repr, columns))}"
    others = [one for one in dict.fromkeys(fit for file in seen for fit in file.fits) if one not in columns]
    more = f"; {named([repr(one) for one in others], SHOWN)} would do, too (--text-column)" if others else ""
    return f"{files}, {what} in {where}{more}"


def _first_texts(section: CorpusSection, seen: Sequence[_Seen]) -> list[str]:
    """Return the first texts of each file that can be read."""
    rows = max(LEAST_TEXTS, TEXTS // max(1, len(seen)))
    texts: list[str] = []
    for one in seen:
        try:
            texts += _texts(one.file, section, rows)
        except OSError:  # said before
            continue
    return texts


def _sample(file: Shard, section: CorpusSection) -> Sample:
    """Return values of the columns of the first rows of a file; none where no row can be read."""
    if not is_looked_at(file):
        return {}
    name = file.path.name.lower()
    if name.endswith(COLUMNAR):
        reader = parquet_rows if name.endswith(".parquet") else arrow_rows
        return reader.sample_of_file(file.path)
    anything = section.model_copy(update={"text_column": AUTO_COLUMN})
    items = _first_items(file, anything, LEAST_TEXTS)
    return sample_of(item.values for item in items if isinstance(item, Row))


def _texts(file: Shard, section: CorpusSection, rows: int) -> list[str]:
    """Return the texts of at most so many of the first rows of a file, of those that can be read."""
    if not is_looked_at(file) or file.path.name.lower().endswith(COLUMNAR):
        items = list(islice(read_file(file.path, section), rows))
    else:
        items = list(with_texts(_first_items(file, section, rows), section))
    texts: list[str] = all_documents(batches_of(items, file, section, Reading())).documents["text"].to_list()
    return texts


def _first_items(file: Shard, section: CorpusSection, rows: int) -> list[Item]:
    """Return at most so many of the first rows of a file, without one that the look may have cut off."""
    with Content(file.path, MOST_BYTES) as content:
        items = list(islice(raw_items(content, file.path, section), rows))
        return items[:-1] if content.cut and len(items) < rows else items
