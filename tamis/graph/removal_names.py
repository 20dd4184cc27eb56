"""Names by which a person allows a removal: a bare name, `KIND:NAME`, or a reserved word.

A corpus, a selection and a target may have the same name, and one of them may be called `all`. So a name that
fits losses of several kinds is refused, and what is printed has its kind where the bare name would not do.
"""

from collections.abc import Collection, Mapping, Set

from tamis.base.errors import PermanentError
from tamis.corpus.shards import SEPARATOR
from tamis.mixture.stage import SWARM_SETS

CORPUS, FILE, TARGET, MODEL, SELECTION = "corpus", "file", "target", "model", "selection"
TABLE = "table"
"""A table of the home that is gone: its name always needs the kind, since it is no name of tamis.toml."""
KINDS = (CORPUS, FILE, TARGET, MODEL, SELECTION, TABLE)
ALL, TRIALS, RECORDS = "all", "trials", "records"
"""`records`: manifests of earlier results that are gone."""
RESERVED = frozenset({ALL, TRIALS, RECORDS, *SWARM_SETS})
KIND_SEPARATOR = ":"
_NAMED_LAST = {"law": TARGET, "direct": TARGET, "warm-up": SELECTION, "two-stage": SELECTION}
"""By the first part of a trial's name: the kind of the name at its end."""
Losses = Mapping[str, Set[tuple[str, str]]]
"""By each bare name that a person may give: kind and name of the losses that it fits."""


class AmbiguousRemovalError(PermanentError):
    """A name that fits losses of several kinds; says the names that tell them apart."""

    def __init__(self, name: str, names: Collection[str]) -> None:
        self.name, self.names = name, sorted(names)
        super().__init__(
            f"nothing was removed: {name!r} fits several losses that are held back; say which of them may be "
            f"removed: {' or '.join(f'`--allow-removal {one}`' for one in self.names)}"
        )


def with_kind(kind: str, name: str) -> str:
    """Return `KIND:NAME`."""
    return f"{kind}{KIND_SEPARATOR}{name}"


def is_bare(name: str) -> bool:
    """Return whether a name can stand alone: it is no reserved word and does not begin with a kind.

    Keys of groups hold colons, too, and begin with the name of their corpus.
    """
    first, separator, _rest = name.partition(KIND_SEPARATOR)
    return name not in RESERVED and not (separator and first in KINDS)


def allows(allowed: Collection[str], kind: str, *names: str) -> bool:
    """Return whether one of the names of a loss is allowed, with its kind or alone."""
    return any(with_kind(kind, name) in allowed or (is_bare(name) and name in allowed) for name in names)


def allows_trial(allowed: Collection[str], trial: str) -> bool:
    """Return whether the removal of a trial is allowed: by `trials`, or its model, target or selection."""
    first, _, rest = trial.partition(SEPARATOR)
    last = _NAMED_LAST.get(first)
    parts = f"{trial}{SEPARATOR}"
    return TRIALS in allowed or any(
        (is_bare(name) and f"{SEPARATOR}{name}{SEPARATOR}" in parts)
        or (name.startswith(with_kind(MODEL, "")) and rest.startswith(f"{_named(name)}{SEPARATOR}"))
        or (last and name.startswith(with_kind(last, "")) and rest.endswith(f"{SEPARATOR}{_named(name)}"))
        for name in allowed
    )


def _named(name: str) -> str:
    return name.partition(KIND_SEPARATOR)[2]


def to_print(kind: str, name: str, losses: Losses) -> str:
    """Return the name by which a message lets a loss go, with its kind where the name alone would not do."""
    kinds = {found for found, _name in losses.get(name, ())}
    return name if is_bare(name) and len(kinds) < 2 and kind != TABLE else with_kind(kind, name)


def with_kinds(names: Collection[str], losses: Losses) -> frozenset[str]:
    """Return the names that a person gave, with their kinds where they fit a loss that is held back.

    Others stay as they are: a loss may be found by reading a file. Raises `AmbiguousRemovalError`.
    """
    if ALL in names:
        return frozenset({ALL})
    found: set[str] = set()
    for name in names:
        fits = set() if name in RESERVED else set(losses.get(name, ()))
        kind, _, rest = name.partition(KIND_SEPARATOR)
        fits |= {one for one in losses.get(rest, ()) if one[0] == kind}
        if len({one[0] for one in fits}) > 1:
            raise AmbiguousRemovalError(name, {with_kind(*one) for one in fits} - {name})
        found |= {with_kind(*one) for one in fits} or {name}
    return frozenset(found)
