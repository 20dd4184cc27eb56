"""The sensors of a project, with how often they look."""

import inspect
from collections.abc import Callable
from typing import Any

import dagster as dg

from tamis.graph.automation import SUBMITTED, stages_made
from tamis.graph.used_stages import Used
from tamis.platform.sensors.arrivals import arrivals
from tamis.platform.sensors.failures import failures
from tamis.platform.sensors.notifications import notifications
from tamis.platform.sensors.noting import noted
from tamis.platform.sensors.reselection import reselection
from tamis.platform.sensors.trial_budget import trial_budget
from tamis.stage import Automation
from tamis.training.stage import TRIALS_STAGE

DELIVERY_SECONDS = 10
KEPT = (Automation.ALWAYS, Automation.WHEN_READ, Automation.ONCE_SELECTED)
"""What reselection keeps current, as far as selections or reports call for it."""


def sensors_of(used: Used, removal: dg.JobDefinition) -> list[dg.SensorDefinition]:
    """Return the sensors of what a project uses: that of the trial budget where it has something to spend or
    a [trainer] to poll, those that notify where there is a webhook. An idle one would tick all day.

    `removal`: the job that removes what left.
    """
    seconds = used.interval_seconds
    trained = {TRIALS_STAGE.name, *stages_made(Automation.ONCE_SEARCHED)} if used.trial_budget else set()
    trained |= SUBMITTED.intersection(used.assets) if used.trainer else set()
    kept = dg.AssetSelection.assets(*set(used.assets).intersection(stages_made(*KEPT)))
    budget = _running(trial_budget, seconds, asset_selection=dg.AssetSelection.assets(*trained))
    return [
        _running(arrivals, seconds, jobs=[removal]),
        _running(reselection, seconds, asset_selection=kept),
        *([failures, _running(notifications, DELIVERY_SECONDS)] if used.webhook else []),
        *([budget] if trained else []),
    ]


def _running(evaluate: Callable[..., Any], seconds: int, **targets: Any) -> dg.SensorDefinition:
    """Return a sensor that runs unless somebody stops it; its docstring describes it in the UI."""
    return dg.sensor(
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=inspect.getdoc(evaluate),
        **targets,
    )(noted(evaluate))
