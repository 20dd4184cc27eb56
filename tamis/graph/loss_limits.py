"""Limits of losses: how many files or documents may go before a person has to allow it."""

from tamis.corpus.shards import is_group_key

FEWEST_FILES, FILES_SHARE = 5, 5
"""Held back are at least `FEWEST_FILES` lost files that are more than one in `FILES_SHARE`."""
FEWEST_DOCUMENTS, DOCUMENTS_SHARE = 20, 5
"""Held back are at least `FEWEST_DOCUMENTS` lost documents that are more than one in `DOCUMENTS_SHARE`."""
OF_A_FILE = 2
"""Of a single file, which may be a small part of its corpus: more than one document in `OF_A_FILE`."""


def lost_too_many(lost: int, had: int) -> bool:
    """Return whether the loss of `lost` of `had` files of a corpus is held back."""
    return lost == had or (lost >= FEWEST_FILES and FILES_SHARE * lost > had)


def lost_too_many_documents(lost: int, had: int) -> bool:
    """Return whether a corpus that loses `lost` of `had` documents is held back, or a target of examples."""
    return lost == had > 0 or (lost >= FEWEST_DOCUMENTS and DOCUMENTS_SHARE * lost > had)


def mostly_found(lost: int, had: int) -> bool:
    """Return whether all but a fifth of the documents of lost files were found elsewhere: no loss."""
    return DOCUMENTS_SHARE * lost <= had


def shrank_too_much(before: int, now: int) -> bool:
    """Return whether a file that had `before` documents and now yields `now` is held back."""
    emptied = before > 0 and not now
    return emptied or (before - now >= FEWEST_DOCUMENTS and OF_A_FILE * now < before)


def too_few_left(shard: str, before: int, now: int) -> bool:
    """Return whether what a shard lost is held back: documents of a file, emptied files of a group."""
    if is_group_key(shard):
        return before > 0 and lost_too_many(before - now, before)
    return shrank_too_much(before, now)
