"""Failed trials: how often each failed at what it would be made from, and the last reason.

Kept apart from Dagster's runs, which may be deleted, and which a pure function cannot read. A trial that
succeeds later, or has other inputs, is judged again.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from tamis.base.errors import PermanentError, may_pass
from tamis.base.kept_errors import kept_message
from tamis.store.tables import Store, quoted

TABLE = "trial_failures"
LONGEST_REASON = 300


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Record of a trial that failed; `permanent`: trying again would change nothing.

    `spent_seconds`: on all attempts that failed at these inputs.
    """

    trial: str
    input_key: str
    attempts: int
    permanent: bool
    reason: str
    failed_at: datetime
    spent_seconds: float | None = None

    @property
    def line(self) -> str:
        """One line that says what failed, how often and why."""
        often = "once" if self.attempts == 1 else f"{self.attempts} times"
        return f"trial {self.trial} failed {often}: {self.reason}"


def failures_of(store: Store) -> list[Failure]:
    """All that are noted, by the name of the trial."""
    return [Failure(**row) for row in store.read(TABLE).sort("trial").iter_rows(named=True)]


@contextlib.contextmanager
def failure_noted(store: Store, trial: str, input_key: str) -> Iterator[None]:
    """Note why a trial failed while inside; what is wrong with disk or network is not the trial's failure."""
    began = time.monotonic()
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if may_pass(error):
            raise
        permanent, seconds = isinstance(error, PermanentError), time.monotonic() - began
        seconds += getattr(error, "spent_seconds", 0.0)  # of a command, before this step
        note_failure(store, trial, input_key, error, permanent=permanent, seconds=seconds)
        raise


def forget_failures(store: Store) -> list[Failure]:
    """Forget all failures, but not what they cost: the trials are tried again. Those that there were."""
    found = [one for one in failures_of(store) if one.attempts or one.permanent]
    store.merge_values(TABLE, [asdict(replace(one, attempts=0, permanent=False)) for one in found])
    return found


def note_failure(
    store: Store,
    trial: str,
    input_key: str,
    error: BaseException | str,
    *,
    permanent: bool,
    seconds: float = 0.0,
) -> Failure:
    """Note that a trial failed after so many seconds; counts on while its input key is the same."""
    before = store.read(TABLE, where=f"trial = {quoted(trial)}")
    same = before.filter(before["input_key"] == input_key)
    spent = (same["spent_seconds"][0] or 0.0) if len(same) and "spent_seconds" in same.columns else 0.0
    failure = Failure(
        trial=trial,
        input_key=input_key,
        attempts=1 + (int(same["attempts"][0]) if len(same) else 0),
        permanent=permanent,
        reason=shortened(error if isinstance(error, str) else kept_message(error)),
        failed_at=datetime.now(UTC).replace(tzinfo=None),
        spent_seconds=spent + seconds,
    )
    store.merge_values(TABLE, [asdict(failure)])
    return failure


def shortened(reason: str) -> str:
    """A reason as it is kept: in one line, and no longer than a person reads."""
    return " ".join(reason.split())[:LONGEST_REASON]
