"""Notifications: tell a webhook of changed selections, failed runs and new rows in quarantine.

What could not be delivered stays in the outbox and is tried again, five times at most, with growing pauses;
nothing else waits for it.
"""

import json
from dataclasses import asdict

import dagster as dg

from tamis.base.posting import Webhook
from tamis.platform.resources.store import StoreResource
from tamis.platform.sensors.outbox import deliver, put
from tamis.platform.sensors.requests import broken
from tamis.trust import require_trusted
from tamis.verbs.notices import Mark, mark_now, notices, wanted


def notifications(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SkipReason:
    """Notify the webhook of [automation] of what has happened since the last tick."""
    if problem := broken(store):
        return dg.SkipReason(problem)
    section = store.project.settings.automation
    if section.webhook is None:
        context.update_cursor("")
        return dg.SkipReason("tamis.toml names no webhook")
    now, before = mark_now(store.project), context.cursor
    context.update_cursor(json.dumps({"mark": asdict(now)}))
    if not before:
        return dg.SkipReason("watching starts now")
    found = notices(store.project, Mark(**json.loads(before)["mark"]), now)
    for body in wanted(found, section.webhook_events):
        put(store.home, body)
    require_trusted(store.project)
    hook = Webhook(url=section.webhook, key_env=section.webhook_key_env)
    return dg.SkipReason(deliver(context, hook, store.home))
