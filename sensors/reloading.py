"""Definitions that follow tamis.toml: a broken one fails a check, one that uses something else is loaded.

Dagster's webserver and daemon share one code server: what the one has loaded again, the other uses.
"""

import time
from pathlib import Path

import dagster as dg

from tamis.base.progress import complain
from tamis.corpus.stage import RAW_STAGE
from tamis.graph.used_stages import Used, loaded_with, used_by
from tamis.platform.resources.store import StoreResource
from tamis.runtime.checks import PROJECT_FILE, log_evaluation
from tamis.runtime.runs import LOCATION
from tamis.runtime.services import ask_reload
from tamis.settings.config import home_folder
from tamis.store.home import Home
from tamis.store.served import served

LOADING_SECONDS = 60.0
"""How long loading may take before it is asked for again."""
KEYS = {
    "owner": "owner in [project]",
    "interval_seconds": "interval_seconds in [automation]",
    "trial_budget": "share in [trial_budget]",
    "trainer": "[trainer]",
    "webhook": "webhook in [automation]",
}
"""Settings that the definitions state."""
BY_HAND = (
    "reload the definitions in Dagster's UI (Deployment > Code locations > Reload), or restart the process "
    "that serves them"
)


def log_check(instance: dg.DagsterInstance, project_file: Path, problem: str) -> None:
    """Log whether tamis.toml can be used, unless that is what was logged last; the terminal shows it, too."""
    home = Home(home_folder(project_file))
    key = dg.AssetCheckKey(dg.AssetKey(RAW_STAGE.name), PROJECT_FILE)
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).get(key)
    said = record.event.asset_check_evaluation if record and record.event else None
    evaluation = dg.AssetCheckEvaluation(
        asset_key=key.asset_key, check_name=key.name, passed=not problem, description=problem or None
    )
    if log_evaluation(instance, home, evaluation, record) and (problem or (said and said.description)):
        complain(problem or "tamis.toml can be used again; the sensors continue")


def _uses(context: dg.SensorEvaluationContext, store: StoreResource) -> tuple[Used, Used]:
    """Return the use at the time when the definitions of this process were loaded, and the present one."""
    assert context.repository_def is not None
    return loaded_with(context.repository_def.metadata or {}), used_by(store.project)


def defined(context: dg.SensorEvaluationContext, store: StoreResource) -> list[str]:
    """Return the assets that the project uses and that were defined when this process loaded them."""
    before, now = _uses(context, store)
    return [name for name in now.assets if name in before.assets]


def undefined(context: dg.SensorEvaluationContext, store: StoreResource) -> set[str]:
    """Return the assets that the project uses and that are not defined yet: no run may name them."""
    before, now = _uses(context, store)
    return set(now.assets).difference(before.assets)


def changed_use(context: dg.SensorEvaluationContext, store: StoreResource) -> str:
    """Return the difference between the use that tamis.toml makes and the definitions, "" for none."""
    before, now = _uses(context, store)
    if before == now:
        return ""
    added = ", ".join(name for name in now.assets if name not in before.assets)
    gone = ", ".join(name for name in before.assets if name not in now.assets)
    said = [
        *([f"now uses {added}"] if added else []),
        *([f"no longer uses {gone}"] if gone else []),
        *(f"changed {key}" for name, key in KEYS.items() if getattr(now, name) != getattr(before, name)),
    ]
    return f"tamis.toml {' and '.join(said)}"


def load_again(context: dg.SensorEvaluationContext, store: StoreResource) -> str:
    """Have the definitions loaded by the webserver, if `tamis ui` runs; returns why it does not, or ""."""
    wanted = used_by(store.project).text
    asked, _, what = (context.cursor or "").partition(" ")
    if what == wanted and time.time() - float(asked) < LOADING_SECONDS:
        return ""
    if (webserver := served(store.home)) is None:
        return f"no `tamis ui` is running here: {BY_HAND}"
    origin = context.code_location_origin
    if problem := ask_reload(webserver.host, webserver.port, origin.location_name if origin else LOCATION):
        return f"{problem}: {BY_HAND}"
    context.update_cursor(f"{time.time():.0f} {wanted}")
    return ""
