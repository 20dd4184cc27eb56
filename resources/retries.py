"""What a step tries again, and how an error leaves it."""

import contextlib
from collections.abc import Iterator

import dagster as dg

from tamis.base.errors import may_pass
from tamis.graph.failed_steps import PartitionsFailedError
from tamis.platform.resources.work_errors import StepError, failure, failure_of

MOST_RETRIES, RETRY_SECONDS = 2, 2.0


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
