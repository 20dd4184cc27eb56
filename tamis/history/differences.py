"""Differences between two versions of a selection, and the list of its versions, for `tamis diff`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.base.errors import PermanentError
from tamis.history.versions import Version, decisions_of, find_version, is_kept, read_versions, settings_then
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.records.listed_rows import lost_decisions
from tamis.records.manifest import Manifest, ManifestFolder
from tamis.selection.changes import changes
from tamis.selection.stage import SELECTION_STAGE
from tamis.store.home import Home
from tamis.tokens.stage import TOKEN_COUNTS_STAGE

SHOWN = 10
SETTING_SHOWN = 120
WORDS = {
    "new_document": "new",
    "removed_document": "removed from the corpora",
    "budget": "the cut moved",
    "others": "other documents ranked above it",
    "score": "its score changed",
}


class OneVersionError(PermanentError):
    """A selection with a single version: it was made once, or has chosen the same documents ever since."""

    def __init__(self, selection: str) -> None:
        self.selection = selection
        super().__init__(
            f"{selection!r} has only one version so far, so there is nothing to compare; a new version "
            "is created when the selection chooses different documents"
        )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two versions of a selection, the settings that differ, and the documents that came in or went out."""

    before: Version
    after: Version
    settings: dict[str, tuple[Any, Any]]
    kept: int
    changes: pl.DataFrame

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of documents by change ("in", "out") and cause, most frequent first."""
        grouped = (
            self.changes.group_by("change", "cause").len().sort("len", "cause", descending=[True, False])
        )
        found: dict[str, dict[str, int]] = {"in": {}, "out": {}}
        for change, cause, number in grouped.iter_rows():
            found[change][cause] = number
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON values, with every document that came in or went out."""
        counts = self.counts()
        return {
            "selection": self.after.selection,
            "from": version_json(self.before),
            "to": version_json(self.after),
            "settings": {name: list(values) for name, values in self.settings.items()},
            "counts": {change: sum(causes.values()) for change, causes in counts.items()}
            | {"kept": self.kept},
            "causes": counts,
            "changes": self.changes.to_dicts(),
        }

    def lines(self, limit: int = SHOWN, begins: Mapping[str, str] | None = None) -> list[str]:
        """Return the difference as lines for a person: counts, then at most `limit` documents.

        `begins`: how the texts of documents begin, by id.
        """
        before, after, counts = self.before, self.after, self.counts()
        lines = [
            f"{after.selection}: version {before.version} ({_moment(before)}) to version {after.version} "
            f"({_moment(after)})",
            f"chose {before.documents:,} of {before.pool:,} documents, then {after.documents:,} of "
            f"{after.pool:,}: {sum(counts['in'].values()):,} in, {sum(counts['out'].values()):,} out, "
            f"{self.kept:,} kept",
        ]
        lines += [f"setting {name}: {_shown(a)}, then {_shown(b)}" for name, (a, b) in self.settings.items()]
        for change, causes in counts.items():
            listed = ", ".join(f"{_words(change, cause)} ({number:,})" for cause, number in causes.items())
            lines += [f"{change}: {listed}"] if listed else []
        for row in self.changes.head(limit).iter_rows(named=True):
            text = (begins or {}).get(row["doc_id"])
            lines.append(_document_line(row) + (f'  "{text}"' if text else ""))
        if len(self.changes) > limit:
            lines.append(
                f"  and {len(self.changes) - limit:,} more; --limit {len(self.changes)} or --json lists all"
            )
        return lines


def difference(
    project: Project, selection: str, start: int | None = None, end: int | None = None
) -> Difference:
    """Compare version `start` of a selection with `end`: by default the one before it with the latest.

    Raises `OneVersionError`, `UnknownVersionError`, `VersionLostError`, `NotMadeError`, `UnknownNameError`.
    """
    store, names = project.home.store, [section.name for section in project.settings.selection]
    after = find_version(store, selection, end, names)
    if start is None and after.version == 1:
        raise OneVersionError(selection)
    before = find_version(store, selection, after.version - 1 if start is None else start, names)
    decided = [_decided(project.home, version) for version in (before, after)]
    chosen = [frame.filter(pl.col("verdict") == "selected") for frame in decided]
    folder = ManifestFolder.of(project.home)
    return Difference(
        before=before,
        after=after,
        settings=_settings(folder, *(folder.read(version.decisions) for version in (before, after))),
        kept=len(chosen[0].join(chosen[1], on="doc_id", how="semi")),
        changes=changes(decided[0], decided[1], store.read("withdrawals", ["doc_id"])),
    )


def _decided(home: Home, version: Version) -> pl.DataFrame:
    """Return the decisions of a version; of documents that were withdrawn since, doc_id and verdict only."""
    kept = decisions_of(home, version)
    lost = lost_decisions(home, version.selection, version.rows, version.subset)
    return pl.concat([kept, lost.join(kept, on="doc_id", how="anti")], how="diagonal")


def _settings(folder: ManifestFolder, before: Manifest, after: Manifest) -> dict[str, tuple[Any, Any]]:
    """Return the settings, the tokenizer, the seed and the code version in which two decisions differ."""
    sides = [
        {
            **settings_then(folder, one),
            "tokenizer": _tokenizer(folder, one),
            "seed": one.seed,
            "code_version": one.code_version,
        }
        for one in (before, after)
    ]
    pairs = {name: (sides[0].get(name), sides[1].get(name)) for name in (*sides[0], *sides[1])}
    return {name: values for name, values in pairs.items() if values[0] != values[1]}


def _tokenizer(folder: ManifestFolder, decisions: Manifest) -> str:
    """Return by what the tokens of a choice were counted: a fingerprint, since a folder keeps its name."""
    counts = next((one for one in decisions.inputs if one.asset == TOKEN_COUNTS_STAGE.name), None)
    if counts is None:
        return "none, tokens estimated as bytes / 4"
    return str(folder.read(counts.manifest).config.get("tokenizer", "that of the presets"))


def history(project: Project, selection: str) -> list[dict[str, Any]]:
    """Return all versions of a selection, oldest first, as JSON values.

    Raises `NotMadeError`, `UnknownNameError`.
    """
    store = project.home.store
    latest = find_version(store, selection, None, [section.name for section in project.settings.selection])
    made = (SELECTION_STAGE.name, selection) in read_current_values(store)
    return [
        version_json(version)
        | {"current": made and version == latest, "kept": is_kept(project.home, version)}
        for version in read_versions(store, selection)
    ]


def history_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for a person for each version, from the rows of `history`."""
    lines = []
    for row in rows:
        marks = [
            *([f"repeats version {row['pinned_to']}"] if row["pinned_to"] else []),
            *(["current"] if row["current"] else []),
            *([] if row["kept"] else ["decisions no longer kept"]),
        ]
        line = f"{row['version']}: {row['made_at']}, {row['documents']:,} of {row['pool']:,} documents"
        lines.append(", ".join([line, *marks]))
    return lines


def version_json(version: Version) -> dict[str, Any]:
    """Return a version as JSON values."""
    return {
        "version": version.version,
        "made_at": _moment(version),
        "documents": version.documents,
        "pool": version.pool,
        "data_version": version.data_version,
        "manifest": version.decisions,
        "pinned_to": version.pinned_to,
    }


def _moment(version: Version) -> str:
    return f"{version.made_at:%Y-%m-%d %H:%M:%S} UTC"


def _shown(value: Any) -> str:
    """Return a setting as text, cut off after `SETTING_SHOWN` characters."""
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= SETTING_SHOWN else f"{text[:SETTING_SHOWN]}…"


def _words(change: str, cause: str) -> str:
    if change == "in" and cause == "others":
        return "other documents made room"
    word = cause.replace("_", " ")
    return WORDS.get(cause, f"no longer {word}" if change == "in" else word)


def _document_line(row: dict[str, Any]) -> str:
    line = f"  {'+' if row['change'] == 'in' else '-'} {row['doc_id']}  {_words(row['change'], row['cause'])}"
    line += f" ({row['detail']})" if row["detail"] else ""
    line += f" of {row['duplicate_of']}" if row["duplicate_of"] else ""
    line += f"; {_ranks(row['rank_before'], row['rank_after'])}"
    margins = [row[name] for name in ("margin_before", "margin_after") if row[name] is not None]
    return line + (f"; margin {' to '.join(f'{one:.4g}' for one in margins)}" if margins else "")


def _ranks(before: int | None, after: int | None) -> str:
    if before is None:
        return "was not ranked" if after is None else f"was not ranked, now rank {after:,}"
    return f"was rank {before:,}, now not ranked" if after is None else f"rank {before:,} to {after:,}"
