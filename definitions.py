"""Everything Dagster loads: assets, checks and sensors that the project uses, and the five resources."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import dagster as dg

from tamis.base.errors import BadArgumentError, PermanentError
from tamis.base.imports import import_well, importing
from tamis.graph.used_stages import LOADED_WITH, used_by
from tamis.platform import assets
from tamis.platform.assets.current import current_checks
from tamis.platform.assets.removal import removal
from tamis.platform.assets.shards import shards
from tamis.platform.resources.encoder import EncoderResource
from tamis.platform.resources.engine import EngineResource
from tamis.platform.resources.judge import JudgeResource
from tamis.platform.resources.store import StoreResource
from tamis.platform.resources.tracker import TrackerResource
from tamis.platform.sensors.defined import sensors_of
from tamis.project import Project, load_project, open_project, quiet_environment, quiet_libraries
from tamis.training.stage import TRIALS_STAGE

ON_REQUEST = "Train the trials of [comparison.on_request], which only this job trains."


@cache
def declared() -> tuple[list[dg.AssetsDefinition], list[dg.AssetChecksDefinition]]:
    """Return every asset that a step of its own makes, and every check that does not come with an asset."""
    found = dg.load_assets_from_package_module(assets)
    alone = [one for one in found if isinstance(one, dg.AssetsDefinition)]
    return alone, list(dg.load_asset_checks_from_package_module(assets))


def resources_of(project_file: Path) -> dict[str, dg.ConfigurableResource]:
    """Return what assets and sensors ask for; a test or a deployment replaces one of them."""
    return {
        "store": StoreResource(project_file=str(project_file)),
        "encoder": EncoderResource(),
        "judge": JudgeResource(),
        "tracker": TrackerResource(),
        "engine": EngineResource(),
    }


class ClashError(PermanentError):
    """Definitions of others have names that Tamis gives, too; `clashes`: the names by kind."""

    def __init__(self, clashes: Mapping[str, Sequence[str]]) -> None:
        self.clashes = clashes
        named = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in clashes.items())
        super().__init__(
            f"the definitions to merge with have names of Tamis's own ({named}); rename yours, or load Tamis "
            "as a code location of its own: `- python_module: tamis.platform.definitions` in "
            "workspace.yaml (docs/your-own-dagster.md)"
        )


def definitions_of(
    project: Project,
    replaced: Mapping[str, dg.ConfigurableResource] = MappingProxyType({}),
    executor: dg.ExecutorDefinition | None = dg.in_process_executor,
) -> dg.Definitions:
    """Return the definitions of what a project uses, over its home, with resources `replaced` by name."""
    used = used_by(project)
    keys = {dg.AssetKey(name) for name in used.assets}

    def of_project(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(
            owners=[used.owner], deps=[dep for dep in spec.deps if dep.asset_key in keys]
        )

    def complete(one: dg.AssetsDefinition) -> bool:
        return keys.issuperset({*one.keys, *(check.asset_key for check in one.check_keys)})

    alone, checks = declared()
    by_hand = dg.define_asset_job("trials_on_request", selection=[TRIALS_STAGE.name], description=ON_REQUEST)
    return dg.Definitions(
        assets=[one.map_asset_specs(of_project) for one in (shards(used.assets), *alone) if complete(one)],
        asset_checks=[*(check for check in checks if complete(check)), current_checks(used.assets)],
        jobs=[removal, by_hand] if TRIALS_STAGE.name in used.assets else [removal],
        sensors=sensors_of(used, removal),
        resources={**resources_of(project.file), **replaced},
        executor=executor,
        metadata={LOADED_WITH: used.text},
    )


def definitions_to_merge(folder: Path, merge_with: dg.Definitions | None = None) -> dg.Definitions:
    """Return the definitions of the project in a folder without an executor, merged with others if given.

    Raises `ClashError` where both name the same, `BadArgumentError` where `merge_with` is none of Dagster's
    definitions, and what opening the project raises.
    """
    if not isinstance(merge_with, dg.Definitions | None):
        expected = "a dagster.Definitions, such as dagster.Definitions(assets=[...])"
        raise BadArgumentError("merge_with", type(merge_with).__name__, expected)
    project = open_project(folder)
    quiet_libraries(project)
    with importing():
        ours = definitions_of(project, executor=None)
    if merge_with is None:
        return ours
    names = [_names(definitions) for definitions in (ours, merge_with)]
    clashes = {kind: sorted(names[0][kind] & names[1][kind]) for kind in names[0]}
    if any(clashes.values()):
        raise ClashError({kind: both for kind, both in clashes.items() if both})
    return dg.Definitions.merge(merge_with, ours)


def _names(definitions: dg.Definitions) -> dict[str, set[str]]:
    """Return the names that must be unique in a code location, by kind."""
    keys: set[dg.AssetKey] = set()
    for asset in definitions.assets or ():
        if isinstance(asset, dg.AssetsDefinition):
            keys |= asset.keys
        elif isinstance(asset, dg.AssetSpec | dg.SourceAsset):
            keys.add(asset.key)
    return {
        "assets": {key.to_user_string() for key in keys},
        "resources": set(definitions.resources or {}),
        "jobs": {job.name for job in definitions.jobs or ()},
        "sensors": {sensor.name for sensor in definitions.sensors or ()},
    }


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions of the project as tamis.toml is, or last was good."""
    project, problem = load_project()
    quiet_environment(project)
    if problem:
        logging.getLogger("dagster").error("%s; the last valid tamis.toml is used instead", problem)
    import_well()
    with importing():
        return definitions_of(project)
