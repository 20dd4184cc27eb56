"""How a step fails: what Dagster is given of an error, what is tried again, and what a step lacks.

Dagster stores an error with its message, its notes and its whole chain of causes. What other libraries say
may quote a document, so a step ends in a fresh error that says what `kept_message` allows.
"""

import contextlib
import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from tamis.base.errors import PermanentError, TamisError, did_you_mean, may_pass
from tamis.base.kept_errors import NOT_KEPT, ReducedError, kept_message
from tamis.base.numbers import named
from tamis.graph.failures import PartitionsFailedError

_withheld: dict[str, str] = {}
FAILED = "failed"
"""Metadata of an error that ends a step: the reason of each asset that failed in it, as JSON."""
MOST_RETRIES, RETRY_SECONDS = 2, 2.0


class InputMissingError(PermanentError):
    """An input of a partition has not been made, or its blocking check failed."""

    def __init__(self, asset: str, missing: Sequence[str]) -> None:
        self.asset, self.missing = asset, list(missing)
        shown = ", ".join(self.missing[:5]) + (", …" if len(self.missing) > 5 else "")
        super().__init__(f"{asset} needs {shown} first; materialize these inputs, or run `tamis materialize`")


class InactiveStageError(PermanentError):
    """The project does not use this asset."""

    def __init__(self, asset: str) -> None:
        self.asset = asset
        super().__init__(
            f"{asset} is not used in this project: no section of tamis.toml requests it; "
            "docs/settings.md lists the sections"
        )


class PartitionGoneError(PermanentError):
    """What a run was asked to make is not in the project, or waits to be at rest; `known`: what is there."""

    def __init__(self, asset: str, partition: str, known: Sequence[str] | None = None) -> None:
        self.asset, self.partition, self.known = asset, partition, known
        why = "the file of this shard is missing or still being written"
        if known is not None:
            there = named(known) or "nothing of this kind"
            why = f"{partition!r} is not in tamis.toml, which defines {there}{did_you_mean(partition, known)}"
        super().__init__(f"cannot materialize {asset}[{partition}]: {why}")


class NothingDueError(Exception):
    """A step has nothing to make: all of it is `current`, or what it reads is left for the next run.

    `passed`: whether the checks of what is current did.
    """

    def __init__(self, asset: str, current: bool, passed: bool) -> None:
        self.asset, self.current, self.passed = asset, current, current and passed
        why = "is current" if current else "waits for inputs that the next run materializes"
        super().__init__(f"{asset} {why}")


class StepError(TamisError):
    """An error of a step as Dagster may store it: with the traceback of the original, without its chain."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(kept_message(error))
        self.__traceback__ = error.__traceback__
        withhold(error)


class StepFailedError(dg.Failure, ReducedError):
    """The end of a step, in words that may be stored."""


def failure(error: BaseException) -> dg.Failure:
    """Return the error that ends a step for good, as Dagster may store it; raise it `from None`."""
    withhold(error)
    return StepFailedError(kept_message(error), allow_retries=False).with_traceback(error.__traceback__)


def failure_of(failed: Mapping[str, str]) -> dg.Failure:
    """Return the error that ends a step for good in which these assets failed, each with the reason."""
    said = "; ".join(failed.values())
    return StepFailedError(said, metadata={FAILED: json.dumps(dict(failed))}, allow_retries=False)


def failed_assets(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the assets that failed in a step with their reasons; none where its error does not say."""
    stated = (metadata or {}).get(FAILED)
    found: dict[str, str] = json.loads(getattr(stated, "value", stated)) if stated is not None else {}
    return found


def withhold(error: BaseException) -> None:
    """Hold in memory what is not stored of an error, for the terminal of `tamis materialize`."""
    kept = kept_message(error)
    said = error.withheld if isinstance(error, TamisError) else ""
    if said or NOT_KEPT in kept:
        _withheld.setdefault(kept, said or _messages(error))


def take_withheld() -> dict[str, str]:
    """Return what was withheld since the last call, by what is stored of each error."""
    found = dict(_withheld)
    _withheld.clear()
    return found


@contextlib.contextmanager
def retried(attempt: int) -> Iterator[None]:
    """Ask Dagster to try again what may succeed then (`may_pass`), and fail at once for everything else.

    In place of a retry policy, which would also start a step again that a person has just cancelled.
    """
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except PartitionsFailedError as error:  # its reasons may be stored as they are
        raise failure_of({error.asset: str(error)}) from None
    except Exception as error:
        if not may_pass(error):
            raise failure(error) from None
        waits = RETRY_SECONDS * 2**attempt
        raise dg.RetryRequested(MOST_RETRIES, seconds_to_wait=waits) from StepError(error)


@contextlib.contextmanager
def tried_once() -> Iterator[None]:
    """Leave what fails inside to those who count how often it did; what may pass is tried again."""
    try:
        yield
    except Exception as error:
        if may_pass(error):
            raise
        raise failure(error) from None


def _messages(error: BaseException | None) -> str:
    """Messages and notes of an error and of what caused it; Dagster's log has the traceback."""
    found: list[str] = []
    while error is not None:
        found += traceback.format_exception_only(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "".join(found).rstrip()
