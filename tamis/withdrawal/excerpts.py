"""Quarantined rows that show a piece of a withdrawn text: they are withdrawn with it, under their own id."""

import re
import unicodedata
from collections.abc import Sequence

import polars as pl

from tamis.corpus.refusing import WITHHELD, content_ids, withheld
from tamis.corpus.stage import QUARANTINE
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

TABLE = QUARANTINE.name


def excerpts_showing(store: Store, texts: Sequence[str], shards: Sequence[str] = ()) -> pl.DataFrame:
    """Return quarantined rows, with content ids, that show a piece of the texts or are in the shards."""
    found = store.read(TABLE, schema_of(TABLE).names).filter(pl.col("detail") != WITHHELD)
    if not len(found):
        return found.with_columns(doc_id=pl.Series([], dtype=pl.String))
    shown = [f"{detail}\n{excerpt}" for detail, excerpt in found.select("detail", "excerpt").iter_rows()]
    held = pl.Series(showing(shown, texts)) | found["shard"].is_in(list(shards))
    return found.with_columns(content_ids(found)).filter(held)


def excerpts_with_ids(store: Store, content: Sequence[str]) -> pl.DataFrame:
    """Rows of the quarantine, with their content ids, that have one of these."""
    found = store.read(TABLE, schema_of(TABLE).names)
    return found.with_columns(content_ids(found)).filter(pl.col("doc_id").is_in(list(content)))


def withhold(store: Store, rows: pl.DataFrame) -> None:
    """Let these rows of the quarantine show nothing of the raw input any more."""
    if len(rows):
        schema = schema_of(TABLE)
        blank = withheld(rows, pl.lit(True)).select(schema.names)
        store.merge(TABLE, blank.to_arrow().cast(schema))


SHORT, WINDOW = 12, 24
_CODES = re.compile(r"\\+u([0-9a-fA-F]{4})|\\+x([0-9a-fA-F]{2})")
_UNSTABLE = re.compile(r"\\+[abfnrtv0]?|[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\"'<>&]+")
"""What rows in JSON, CSV or Python write in more ways than one, and excerpts leave out."""


def showing(shown: Sequence[str], texts: Sequence[str]) -> list[bool]:
    """Of each excerpt, whether it shares a run of 24 characters with a text, or holds all of a short one."""
    bare = [_bare(one) for one in shown]
    windows = [[one[start : start + WINDOW] for start in range(len(one) - WINDOW + 1)] for one in bare]
    if not bare or not texts:
        return [False] * len(shown)
    looked_for = [_bare(text) for text in texts]
    patterns = sorted({window for some in windows for window in some})
    shared = set(_found(pl.Series(looked_for), patterns))
    short = [text for text in looked_for if len(text) < WINDOW and len(text.encode()) >= SHORT]
    return [
        any(window in shared for window in some) or any(text in one for text in short)
        for one, some in zip(bare, windows, strict=True)
    ]


def _bare(text: str) -> str:
    """The text as far as JSON, CSV, Python and an excerpt of any of them show it alike."""
    plain = _CODES.sub(lambda code: chr(int(code[1] or code[2], 16)), text)
    joined = plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return unicodedata.normalize("NFC", _UNSTABLE.sub("", joined))


def _found(contents: pl.Series, patterns: Sequence[str]) -> list[str]:
    if not patterns:
        return []
    found = contents.str.extract_many(list(patterns), overlapping=True).explode()
    return found.drop_nulls().unique().to_list()
