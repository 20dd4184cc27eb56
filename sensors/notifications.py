"""Notifications: tell a webhook of changed selections, failed runs and new rows in quarantine.

What could not be delivered stays in the cursor and is tried again, five times at most, with growing pauses;
nothing else waits for it.
"""

import json
import time
from dataclasses import asdict
from typing import Any

import dagster as dg

from resources.failures import Until, failed_runs
from resources.platform import Platform
from tamis.base.errors import TamisError
from tamis.base.webhook import Webhook
from tamis.notices import FAILED, Mark, mark_now, notice, notices, wanted

TRIES = 5
PAUSE_SECONDS = 10.0
KEPT = 100


@dg.sensor(minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING)
def notifications(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    """Tell the webhook of [automation] what happened since the last look."""
    section = platform.project.settings.automation
    if section.webhook is None:
        context.update_cursor("")
        return dg.SkipReason("tamis.toml names no webhook")
    now = mark_now(platform.project)
    if not context.cursor:
        until = Until(moment=time.time())
        context.update_cursor(_cursor(now, until, []))
        return dg.SkipReason("watching from now on")
    known = json.loads(context.cursor)
    since = Until(moment=known["until"]["moment"], runs=tuple(known["until"]["runs"]))
    facts, until = failed_runs(context.instance, since)
    found = notices(platform.project, Mark(**known["mark"]), now)
    found += [notice(platform.project, FAILED, fact) for fact in facts]
    pending = known["pending"] + [
        {"body": body, "tries": 0, "not_before": 0.0} for body in wanted(found, section.webhook_events)
    ]
    hook = Webhook(url=section.webhook, key_env=section.webhook_key_env)
    left, told = _deliver(context, hook, pending)
    context.update_cursor(_cursor(now, until, left[-KEPT:]))
    return dg.SkipReason(told)


def _deliver(
    context: dg.SensorEvaluationContext, hook: Webhook, pending: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], str]:
    """Send what is due in order, until one fails; what is left for later, and what was done in a line."""
    sent, left, problem = 0, [], ""
    for message in pending:
        if problem or message["not_before"] > time.time():
            left.append(message)
            continue
        try:
            hook.send(message["body"])
            sent += 1
        except TamisError as error:
            problem, tries = str(error), message["tries"] + 1
            context.log.warning(problem)
            if tries < TRIES:
                later = time.time() + PAUSE_SECONDS * 2**tries
                left.append({"body": message["body"], "tries": tries, "not_before": later})
            else:
                context.log.error(f"given up after {tries} times: {message['body']}")
    told = [f"{sent} delivered"] if sent else []
    told += [f"{len(left)} wait: {problem or 'tried again shortly'}"] if left else []
    return left, "; ".join(told) or problem or "nothing to tell"


def _cursor(mark: Mark, until: Until, pending: list[dict[str, Any]]) -> str:
    return json.dumps({"mark": asdict(mark), "until": asdict(until), "pending": pending})
