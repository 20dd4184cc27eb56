"""What a sensor says at a tick, noted in the home for `tamis status` and for who waits for the first page."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from tamis.base.errors import TamisError
from tamis.base.numbers import named
from tamis.platform.resources.store import StoreResource
from tamis.store.served import note_said

MOST_NAMED = 5
GOES_ON = (
    "continues when it ends",
    "are being registered",
    "tried again shortly",
    "try again shortly",
    "waits until",
    "sensors wait",
    "asked to reload",
)
"""Words of a sensor that waits for something that passes by itself."""
Tick = dg.SensorResult | dg.SkipReason


def noted(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """Return a sensor's function that notes what the sensor says, also where it fails."""

    @functools.wraps(evaluate)
    def noting(context: dg.SensorEvaluationContext, store: StoreResource) -> Any:
        try:
            found: Tick = evaluate(context, store)
        except Exception as error:
            text = f"failed ({type(error).__name__}); its page in Dagster's UI shows why"
            _note(store, evaluate.__name__, text, asked=False, working=False)
            raise
        requests = list(found.run_requests or ()) if isinstance(found, dg.SensorResult) else []
        text = str(found.skip_message if isinstance(found, dg.SkipReason) else found.skip_reason or "")
        if requests:
            text = f"requested: {_what(requests)}"
        working = bool(requests) or any(words in text for words in GOES_ON)
        _note(store, evaluate.__name__, text, asked=bool(requests), working=working)
        return found

    return noting


def _note(store: StoreResource, sensor: str, text: str, **state: bool) -> None:
    """Note it, unless tamis.toml cannot be read, which sensors say in their own words."""
    with contextlib.suppress(TamisError):
        note_said(store.home, sensor, text, **state)


def _what(requests: Sequence[dg.RunRequest]) -> str:
    """Return what runs are requested for: the assets, or the job that a run is of."""
    assets = [key.path[-1] for request in requests for key in request.asset_selection or ()]
    jobs = [str(request.job_name) for request in requests if request.job_name]
    return named(list(dict.fromkeys([*assets, *jobs])), MOST_NAMED)
