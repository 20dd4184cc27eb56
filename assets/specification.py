"""What Dagster is given of each asset: the declaration of its stage, and the step that makes it."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from tamis.graph.stages import ancestors, stages
from tamis.platform.resources.encoder import EncoderResource
from tamis.platform.resources.engine import EngineResource
from tamis.platform.resources.store import StoreResource
from tamis.runtime.failures import NothingDueError, failed_assets, failure_of
from tamis.runtime.record import logged_by_hand
from tamis.runtime.runs import PARTITION_SETS
from tamis.selection.stage import SELECTION_STAGE
from tamis.stage import Stage
from tamis.training.stage import TRIALS_STAGE

ACCELERATED = frozenset({"torch", "transformers"})
ACCELERATOR_POOL = "gpu"
"""Pool of the steps that compute on an accelerator where there is one; its limit is the number of devices."""
SINGLE_RUN = dg.BackfillPolicy.single_run()
"""All partitions of a backfill are one run; of trials each is one, since each takes long."""
BEFORE_REPORTS = {"dagster/priority": "1"}
"""Of the steps of a run that could go on, those of selections do: people wait for them."""


def asset(
    name: str,
    kinds: Sequence[str],
    checks: Sequence[tuple[str, str, bool]] = (),
    description: str = "",
) -> Callable[[Callable[..., Iterator[Any]]], dg.AssetsDefinition]:
    """Return a decorator of the step that makes a stage; each check is (name, description, blocking).

    Its inputs are those that the stage declares. The description is the docstring, where none is given.
    """
    spec = specified(name, kinds, description)

    def decorated(make: Callable[..., Iterator[Any]]) -> dg.AssetsDefinition:
        said = spec.replace_attributes(description=description or inspect.getdoc(make) or "")
        return step(name, [said], _checks(name, checks))(make)

    return decorated


def step(
    name: str,
    specs: Sequence[dg.AssetSpec],
    checks: Sequence[dg.AssetCheckSpec],
    pooled: bool = False,
) -> Callable[[Callable[..., Iterator[Any]]], dg.AssetsDefinition]:
    """Return a decorator of the step that makes these assets of the same partitions, all of them or none.

    Of several, a run may name one alone, so that the UI asks for no consent; the step makes the others too.
    Where nothing of them is due it makes nothing, and what comes after it in the run goes on. `pooled`: it
    computes on an accelerator, though its kinds do not say so.
    """
    accelerated = pooled or any(ACCELERATED.intersection(spec.kinds) for spec in specs)
    partitions, chosen_by = specs[0].partitions_def, ancestors(SELECTION_STAGE.name)

    def decorated(make: Callable[..., Iterator[Any]]) -> dg.AssetsDefinition:
        @functools.wraps(make)
        def made(context: dg.AssetExecutionContext, **resources: Any) -> Iterator[Any]:
            try:
                yield from make(context, **resources)
            except NothingDueError as reason:
                context.log.info(str(reason))
                if reason.current:
                    yield from (logged_by_hand(key) for key in context.selected_asset_keys)
                yield from _not_made(context, checks, reason)

        return dg.multi_asset(
            name=name,
            specs=specs,
            check_specs=checks,
            partitions_def=partitions,
            can_subset=len(specs) > 1,
            op_tags=BEFORE_REPORTS if chosen_by.intersection(spec.key.path[-1] for spec in specs) else None,
            pool=ACCELERATOR_POOL if accelerated else None,
            backfill_policy=SINGLE_RUN if partitions and partitions != PARTITION_SETS["trials"] else None,
        )(made)

    return decorated


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stage as its asset module has it, for a step that makes it together with others.

    `make`: takes the work, and the encoder where it has a parameter of that name.
    """

    name: str
    kinds: Sequence[str]
    checks: Sequence[tuple[str, str, bool]]
    make: Callable[..., Iterator[Any]]


def part(
    name: str, kinds: Sequence[str], checks: Sequence[tuple[str, str, bool]] = ()
) -> Callable[[Callable[..., Iterator[Any]]], Part]:
    """Return a decorator of the function that makes a stage; arguments as those of `asset`."""
    return lambda make: Part(name=name, kinds=kinds, checks=checks, make=make)


def together(step: str, *parts: Part) -> dg.AssetsDefinition:
    """Return the step that makes these stages of the same partitions, in this order: one run for many.

    A partition that fails in one stage is left out of those that read it; the step fails at its end.
    """
    first = stages()[parts[0].name]
    assert first.partitions is not None

    @dg.multi_asset(
        name=step,
        specs=[specified(one.name, one.kinds, inspect.getdoc(one.make) or "") for one in parts],
        check_specs=[check for one in parts for check in _checks(one.name, one.checks)],
        partitions_def=PARTITION_SETS[first.partitions],
        can_subset=True,
        pool=ACCELERATOR_POOL if any(ACCELERATED.intersection(one.kinds) for one in parts) else None,
        backfill_policy=SINGLE_RUN,
    )
    def made(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        encoder: EncoderResource,
        engine: EngineResource,
    ) -> Iterator[Any]:
        failed: dict[str, str] = {}
        given = {"encoder": encoder}
        for one in parts:
            if dg.AssetKey(one.name) not in context.selected_asset_keys:
                continue
            try:
                with store.work(context, one.name) as work, engine.running(work):
                    asked = inspect.signature(one.make).parameters
                    yield from one.make(work, **{name: given[name] for name in given if name in asked})
            except NothingDueError as reason:
                context.log.info(str(reason))
                if reason.current:
                    yield logged_by_hand(dg.AssetKey(one.name))
                yield from _not_made(context, _checks(one.name, one.checks), reason)
            except dg.Failure as error:
                failed |= failed_assets(error.metadata) or {one.name: error.description or ""}
                if len(context.partition_keys) == 1:
                    break
        if failed:
            raise failure_of(failed)

    return made


def _not_made(
    context: dg.AssetExecutionContext, checks: Sequence[dg.AssetCheckSpec], reason: NothingDueError
) -> Iterator[dg.AssetCheckResult]:
    """Yield the checks of what a step had no reason to make: Dagster wants a result of each."""
    for check in checks:
        if check.key in context.selected_asset_check_keys:
            yield dg.AssetCheckResult(
                asset_key=check.asset_key,
                check_name=check.name,
                passed=reason.passed,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"not_made": str(reason)},
            )


def _checks(name: str, checks: Sequence[tuple[str, str, bool]]) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(check, asset=name, description=text, blocking=blocking)
        for check, text, blocking in checks
    ]


def specified(name: str, kinds: Sequence[str], description: str) -> dg.AssetSpec:
    """Return the specification of the asset of a stage."""
    stage = stages()[name]
    return dg.AssetSpec(
        name,
        description=description,
        skippable=True,
        group_name=stage.group,
        code_version=stage.code_version,
        partitions_def=PARTITION_SETS[stage.partitions] if stage.partitions else None,
        deps=dependencies(stage),
        kinds=set(kinds),
    )


def dependencies(stage: Stage) -> list[dg.AssetDep]:
    """Upstream assets with their partition mappings: identity within a set, all partitions across sets."""
    found = []
    for name in dict.fromkeys(edge.asset for edge in stage.edges):
        upstream = stages()[name].partitions
        mapping: dg.PartitionMapping | None
        if upstream is None:
            mapping = None
        elif upstream == stage.partitions and stage.name != TRIALS_STAGE.name:
            mapping = dg.IdentityPartitionMapping()
        else:
            mapping = dg.AllPartitionMapping()
        found.append(dg.AssetDep(name, partition_mapping=mapping))
    return found
