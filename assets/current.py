"""Whether an asset is current, as Dagster shows it: one check an asset, and the planner answers.

With them comes the check of tamis.toml, which belongs to no asset alone. What is logged outside of runs is in
`tamis/runtime/checks.py`.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

import dagster as dg

from tamis.corpus.stage import RAW_STAGE
from tamis.graph.plan import out_of_date
from tamis.platform.resources.store import StoreResource
from tamis.project import broken_file
from tamis.runtime.checks import CURRENT, PROJECT_FILE

VALID = "tamis.toml is valid. While the file is not valid, Tamis uses its last valid version."
DESCRIPTION = (
    "The files, settings, code and inputs of the asset have not changed since its last materialization."
)


def current_checks(assets: Collection[str]) -> dg.AssetChecksDefinition:
    """Return the checks of these assets, which one step evaluates at the end of a run."""
    specs = [dg.AssetCheckSpec(CURRENT, asset=name, description=DESCRIPTION) for name in assets]
    if RAW_STAGE.name in assets:
        specs.append(dg.AssetCheckSpec(PROJECT_FILE, asset=RAW_STAGE.name, description=VALID))

    @dg.multi_asset_check(name=CURRENT, specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext, store: StoreResource) -> Iterator[dg.AssetCheckResult]:
        found = out_of_date(*store.at_end_of(context.run))
        for key in context.selected_asset_check_keys:
            of_file = key.name == PROJECT_FILE
            reason = broken_file(Path(store.project_file)) if of_file else found.get(key.asset_key.path[-1])
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=not reason,
                severity=dg.AssetCheckSeverity.ERROR if of_file else dg.AssetCheckSeverity.WARN,
                description=reason or None,
            )

    return check
