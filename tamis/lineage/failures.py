"""Failed trials: how often each failed at what it would be made from, and the last reason.

Kept apart from Dagster's runs, which may be deleted, and which a pure function cannot read. A trial that
succeeds later, or has other inputs, is judged anew.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa

from tamis.errors import PermanentError, TransientError
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted

TABLE = "trial_failures"
LONGEST_REASON = 300


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What is known of a trial that failed; `permanent`: trying again would change nothing."""

    trial: str
    input_key: str
    attempts: int
    permanent: bool
    reason: str
    failed_at: datetime


def failures_of(store: Store) -> list[Failure]:
    """All that are noted, by the name of the trial."""
    return [Failure(**row) for row in store.read(TABLE).sort("trial").iter_rows(named=True)]


@contextlib.contextmanager
def failure_noted(store: Store, trial: str, input_key: str) -> Iterator[None]:
    """Note why a trial failed while inside; what is wrong with disk or network is not the trial's failure."""
    try:
        yield
    except (OSError, TransientError):
        raise
    except Exception as error:
        note_failure(store, trial, input_key, error, permanent=isinstance(error, PermanentError))
        raise


def forget_failures(store: Store) -> int:
    """Forget all failures, so that the trials are tried again; how many there were."""
    return store.delete(TABLE, "attempts >= 0")


def note_failure(
    store: Store,
    trial: str,
    input_key: str,
    error: BaseException | str,
    *,
    permanent: bool,
) -> Failure:
    """Note that a trial failed; counts on while its input key is the same."""
    before = store.read(TABLE, where=f"trial = {quoted(trial)}")
    same = before.filter(before["input_key"] == input_key)
    told = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    failure = Failure(
        trial=trial,
        input_key=input_key,
        attempts=1 + (int(same["attempts"][0]) if len(same) else 0),
        permanent=permanent,
        reason=" ".join(told.split())[:LONGEST_REASON],
        failed_at=datetime.now(UTC).replace(tzinfo=None),
    )
    store.merge(TABLE, pa.Table.from_pylist([asdict(failure)], schema=schema_of(TABLE)))
    return failure
