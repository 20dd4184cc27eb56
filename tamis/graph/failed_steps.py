"""Steps that failed: the last reason of each value, kept where `tamis status` can read it.

Dagster's runs say it too, but they may be deleted, and a person who comes back asks for the status. What is
told of is what would fail again: a value with other inputs, or one that was made since, is not. Trials keep
their own account, with attempts and cost (`failures`). One write for a failure, none where all goes well.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa

from tamis.base.errors import PermanentError, TamisError, TransientError
from tamis.base.kept_errors import kept_message
from tamis.graph.plan import Due, input_key, label
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.records.current_values import CurrentValues
from tamis.store.schemas import schema_of
from tamis.store.tables import Store
from tamis.training.failures import shortened
from tamis.training.stage import TRIALS_STAGE

TABLE, TRIALS = "step_failures", TRIALS_STAGE.name
MOST_NOTED = 100  # values of one step: a broken disk fails a step of 10,000 shards
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class FailedStep:
    """A value that could not be made, of which inputs, and why."""

    asset: str
    partition: str
    input_key: str
    reason: str
    failed_at: datetime

    @property
    def line(self) -> str:
        """What failed and why, for a person."""
        return f"failed: {label(self.asset, self.partition)}: {self.reason}"


class _PartitionsError(TamisError):
    """Partitions of a step that could not be made; the others were. `failed`: the reason of each."""

    def __init__(self, asset: str, failed: Mapping[str, str], count: int) -> None:
        self.asset, self.failed, self.count = asset, dict(failed), count
        shown = "; ".join(f"{partition}: {reason}" for partition, reason in [*failed.items()][:SHOWN])
        others = len(failed) - SHOWN
        more = f"; and {others:,} more, which `tamis status` names" if others > 0 else ""
        super().__init__(f"{len(failed):,} of {count:,} partitions of {asset} failed: {shown}{more}")


class PartitionsFailedError(_PartitionsError, PermanentError):
    """Partitions that would fail in the same way again."""


class PartitionsToRetryError(_PartitionsError, TransientError):
    """Partitions of which one may succeed when it is tried again."""


@contextlib.contextmanager
def failed_step_noted(
    store: Store, asset: str, keys: Callable[[], Mapping[str, str | None]]
) -> Iterator[None]:
    """Note why a step failed while inside, for the partitions whose input keys `keys` gives; raise it again.

    Of trials nothing is noted here.
    """
    try:
        yield
    except _PartitionsError:
        raise  # noted one by one
    except Exception as error:
        with contextlib.suppress(Exception):  # what failed matters more than that it could not be noted
            if asset != TRIALS:
                note_failed_step(store, asset, keys(), error)
        raise


def note_failed_step(store: Store, asset: str, keys: Mapping[str, str | None], error: BaseException) -> None:
    """Note the same reason of all of these partitions."""
    write_failed_steps(store, asset, keys, dict.fromkeys(keys, reason_of(error)))


def reason_of(error: BaseException) -> str:
    """Return why something failed as it may be stored; the class of an error of Tamis adds nothing."""
    return str(error) if isinstance(error, TamisError) else kept_message(error)


def write_failed_steps(
    store: Store, asset: str, keys: Mapping[str, str | None], reasons: Mapping[str, str]
) -> None:
    """Note the reason of each partition in one commit; one without an input key did not fail but waits."""
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
    if rows:
        store.merge(TABLE, pa.Table.from_pylist(rows, schema=schema_of(TABLE)))


def failed_steps(
    store: Store, snapshot: ProjectSnapshot, current: CurrentValues, due: Sequence[Due]
) -> list[FailedStep]:
    """What failed at the inputs that it would have now, is due and was not made since; in order of names."""
    wanted = {(one.asset, one.partition) for one in due}
    found = [FailedStep(**row) for row in store.read(TABLE).sort("asset", "partition").iter_rows(named=True)]
    return [
        one
        for one in found
        if (one.asset, one.partition) in wanted
        and one.input_key == input_key(stages()[one.asset], one.partition, snapshot, current)
        and not _made_since(one, current)
    ]


def _made_since(failed: FailedStep, current: CurrentValues) -> bool:
    value = current.get((failed.asset, failed.partition))
    return value is not None and value.input_key == failed.input_key
