"""Failed steps: the last reason why each value could not be made, stored where `tamis status` can read it.

Dagster's runs hold the reason too, but runs may be deleted. Only failures that would happen again are shown:
not those of a value that has other inputs now, or that was made since. Trials have their own table, with
attempts and cost (`failures`). A failed step costs one write, a successful one none.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from tamis.base.errors import PermanentError, TamisError, TransientError
from tamis.base.kept_errors import kept_message
from tamis.graph.plan import Due, input_key, label
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.records.current_values import CurrentValues
from tamis.store.tables import Store
from tamis.training.failures import shortened
from tamis.training.stage import TRIALS_STAGE

TABLE, TRIALS = "step_failures", TRIALS_STAGE.name
MOST_NOTED = 100  # values of one step: a broken disk fails a step of 10,000 shards
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class FailedStep:
    """A value that could not be made: with which input key, why and when."""

    asset: str
    partition: str
    input_key: str
    reason: str
    failed_at: datetime

    @property
    def line(self) -> str:
        """A line for a person: the value and the reason."""
        return f"failed: {label(self.asset, self.partition)}: {self.reason}"


class _PartitionsError(TamisError):
    """Partitions of a step that could not be made, while the others were; `failed`: the reason of each."""

    def __init__(self, asset: str, failed: Mapping[str, str], count: int) -> None:
        self.asset, self.failed, self.count = asset, dict(failed), count
        shown = "; ".join(f"{partition}: {reason}" for partition, reason in [*failed.items()][:SHOWN])
        others = len(failed) - SHOWN
        more = f"; `tamis status` lists {others:,} more" if others > 0 else ""
        super().__init__(f"{len(failed):,} of {count:,} partitions of {asset} failed: {shown}{more}")


class PartitionsFailedError(_PartitionsError, PermanentError):
    """Partitions that would fail in the same way again."""


class PartitionsToRetryError(_PartitionsError, TransientError):
    """Partitions of which at least one may succeed when it is tried again."""


@contextlib.contextmanager
def failed_step_noted(
    store: Store, asset: str, keys: Callable[[], Mapping[str, str | None]]
) -> Iterator[None]:
    """Note why the enclosed step failed, for each partition in `keys()`, and raise the error again.

    `keys` returns the input key of each partition. Trials are not noted here.
    """
    try:
        yield
    except _PartitionsError:
        raise  # noted one by one
    except Exception as error:
        with contextlib.suppress(Exception):  # the failure itself matters more than a note that fails, too
            if asset != TRIALS:
                note_failed_step(store, asset, keys(), error)
        raise


def note_failed_step(store: Store, asset: str, keys: Mapping[str, str | None], error: BaseException) -> None:
    """Note the same reason for all of these partitions."""
    write_failed_steps(store, asset, keys, dict.fromkeys(keys, reason_of(error)))


def reason_of(error: BaseException) -> str:
    """Return the reason of an error in a form that may be stored.

    Messages of Tamis hold no document text and are kept whole; of other errors the message is reduced.
    """
    return str(error) if isinstance(error, TamisError) else kept_message(error)


def write_failed_steps(
    store: Store, asset: str, keys: Mapping[str, str | None], reasons: Mapping[str, str]
) -> None:
    """Note the reason of each partition in one commit, without those that have no input key: they wait."""
    rows = [
        asdict(
            FailedStep(
                asset=asset,
                partition=partition,
                input_key=key,
                reason=shortened(reasons[partition]),
                failed_at=datetime.now(UTC).replace(tzinfo=None),
            )
        )
        for partition, key in sorted(keys.items())[:MOST_NOTED]
        if key is not None
    ]
    store.merge_values(TABLE, rows)


def failed_steps(
    store: Store, snapshot: ProjectSnapshot, current: CurrentValues, due: Sequence[Due]
) -> list[FailedStep]:
    """Return the failures that would happen again, sorted by name.

    Their values are due, would be made with the same input key, and were not made since.
    """
    wanted = {(one.asset, one.partition) for one in due}
    found = [FailedStep(**row) for row in store.read(TABLE).sort("asset", "partition").iter_rows(named=True)]
    return [
        failure
        for failure in found
        if (failure.asset, failure.partition) in wanted
        and failure.input_key == input_key(stages()[failure.asset], failure.partition, snapshot, current)
        and not _made_since(failure, current)
    ]


def _made_since(failed: FailedStep, current: CurrentValues) -> bool:
    value = current.get((failed.asset, failed.partition))
    return value is not None and value.input_key == failed.input_key
