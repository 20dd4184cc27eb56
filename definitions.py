"""Everything Dagster loads: assets, checks, sensors and the five resources."""

import dagster as dg

import assets
from resources.encoder import EncoderResource
from resources.engine import EngineResource
from resources.environment import quiet_environment
from resources.judge import JudgeResource
from resources.removal import removal
from resources.store import StoreResource
from resources.tracker import TrackerResource
from sensors import arrivals, failures, notifications, reselection, trial_budget
from tamis.project import open_project

PROJECT = open_project()
quiet_environment(PROJECT)

ON_REQUEST = "Train chosen trials by hand: those of [comparison.on_request] are made by this job alone."
defs = dg.Definitions(
    assets=[
        found.map_asset_specs(lambda spec: spec.replace_attributes(owners=[PROJECT.settings.project.owner]))
        for found in dg.load_assets_from_package_module(assets)
        if isinstance(found, dg.AssetsDefinition)
    ],
    asset_checks=dg.load_asset_checks_from_package_module(assets),
    jobs=[dg.define_asset_job("trials_on_request", selection=["trials"], description=ON_REQUEST), removal],
    sensors=[
        arrivals.arrivals,
        reselection.reselection,
        trial_budget.trial_budget,
        failures.failures,
        notifications.notifications,
    ],
    resources={
        "store": StoreResource(project_file=str(PROJECT.file)),
        "encoder": EncoderResource(),
        "judge": JudgeResource(),
        "tracker": TrackerResource(),
        "engine": EngineResource(),
    },
    executor=dg.in_process_executor,
)
