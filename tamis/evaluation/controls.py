"""Controls: texts off the goal, whose loss says what a choice of training documents costs elsewhere.

A [[control]] names files. Without one, the control is a part of the pool, drawn by a hash of seed and id from
the documents that no compared model has trained on. Texts stay in memory; tables get losses alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from tamis.base.errors import PermanentError
from tamis.base.numbers import counted
from tamis.corpus.intake import texts_of
from tamis.corpus.quarantine import lost_rows
from tamis.corpus.stage import DOCUMENTS
from tamis.corpus.targets import fingerprint_target, read_target_rows, require_target_outside
from tamis.coverage.sampling import keyed_uniform
from tamis.readers.text import normalised_id
from tamis.selection.pool import exclusions
from tamis.settings.config import ControlSection, FiltersSection, TargetSection
from tamis.store.digests import canonical_digest
from tamis.store.tables import Store, one_of
from tamis.store.withdrawn import withdrawn_ids
from tamis.training.stage import TRAINED_ON

POOL = "pool"
"""Name of the control that is drawn from the pool."""
MOST_DOCUMENTS, MOST_BYTES = 200, 400_000
"""A control ends with the document that reaches one of these: about 100,000 tokens, so measuring is cheap."""
FEWEST_OF_POOL = 20
"""Under this many documents that no model trained on, there is no control from the pool."""


class ControlError(PermanentError):
    """A control without texts to measure on."""

    def __init__(self, control: str, problem: str) -> None:
        self.control, self.problem = control, problem
        super().__init__(f"control {control!r} of [[control]]: {problem}")


@dataclass(frozen=True, kw_only=True)
class Control:
    """Texts to measure on, in order of their ids; `digest` identifies them.

    `unread`: rows of its files without a text that can be used.
    """

    name: str
    texts: Sequence[str]
    digest: str
    unread: int = 0


def read_control(section: ControlSection, root: Path, store: Store, seed: int) -> Control:
    """Read a control's files; withdrawn documents are left out, and of many a part is drawn by hash.

    `root`: folder that relative paths start from. Raises `ControlError`, and `ListingError` as targets do.
    """
    read = read_target_rows(_as_target(section), root)
    rows = read.examples.filter(~pl.col("doc_id").is_in(withdrawn_ids(store).implode()))
    if rows.is_empty():
        raise ControlError(
            section.name,
            f"none of its {counted(read.rows, 'row')} ({section.path}) has a text to measure on; correct "
            "path or text_column",
        )
    texts = dict(rows.select("doc_id", "text").iter_rows())
    unread = int(read.quarantine.select(lost_rows()).item())
    return replace(_control(section.name, texts, seed), unread=unread)


def texts_in_pool(control: Control, store: Store) -> int:
    """Return how many texts of a control are documents of the pool, which a selection may choose."""
    ids = [normalised_id(text) for text in control.texts]
    return store.count(DOCUMENTS.name, one_of("doc_id", ids)) if store.exists(DOCUMENTS.name) else 0


def draw_control(
    store: Store, filters: FiltersSection, checkpoints: Iterable[str], seed: int
) -> Control | None:
    """Return the part of the pool that is the control, from documents that a selection could choose.

    `checkpoints`: names of the models that are measured, none of which may have trained on it. None where
    fewer than `FEWEST_OF_POOL` documents are left.
    """
    seen = store.read(TRAINED_ON.name, ["doc_id"], one_of("checkpoint", list(checkpoints)))
    pool = store.read(DOCUMENTS.name, ["doc_id"])
    left = pool.join(pl.concat([exclusions(store, filters).select("doc_id"), seen]), on="doc_id", how="anti")
    if len(left) < FEWEST_OF_POOL:
        return None
    return _control(POOL, texts_of(store, _drawn(left["doc_id"], seed)), seed)


def _drawn(doc_ids: pl.Series, seed: int) -> list[str]:
    """Return at most `MOST_DOCUMENTS` ids in an order that depends on seed and id alone."""
    place = pl.Series("place", keyed_uniform(doc_ids, seed, "control"))
    ordered = pl.DataFrame([doc_ids.alias("doc_id"), place]).sort("place", "doc_id")
    return ordered["doc_id"].head(MOST_DOCUMENTS).to_list()


def _control(name: str, texts: dict[str, str], seed: int) -> Control:
    """Return the control of the first texts in drawn order, up to the limits."""
    taken: list[str] = []
    size = 0
    for doc_id in _drawn(pl.Series(list(texts), dtype=pl.String), seed):
        if size >= MOST_BYTES:
            break
        taken.append(doc_id)
        size += len(texts[doc_id].encode())
    taken.sort()
    return Control(
        name=name, texts=[texts[doc_id] for doc_id in taken], digest=canonical_digest("\n".join(taken))
    )


def fingerprint_control(section: ControlSection, root: Path) -> str:
    """Return the SHA-256, hex, of the names and bytes of a control's files; raises `ListingError`."""
    return fingerprint_target(_as_target(section), root)


def require_control_outside(section: ControlSection, root: Path, home: Path) -> None:
    """Raise `ListingError` where a control would read the results in the home folder as texts."""
    require_target_outside(_as_target(section), root, home)


def _as_target(section: ControlSection) -> TargetSection:
    return TargetSection(
        name=section.name,
        kind="files",
        path=section.path,
        text_column=section.text_column,
        train=1,
        held_out=0,
    )
