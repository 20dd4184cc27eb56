"""What Dagster is given of each asset: the declaration of its stage, and the step that makes it."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import dagster as dg

from tamis.graph.stages import ancestors, stages
from tamis.runtime.failures import NothingDueError, failed_assets, failure_of
from tamis.runtime.record import logged_by_hand
from tamis.runtime.runs import PARTITION_SETS
from tamis.runtime.step import Work
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
GIVEN = ("encoder", "judge", "tracker")
"""Resources that the function of a stage is given where it has a parameter of that name."""
GIVEN_TOGETHER = ("encoder",)
"""Those of a stage that is made together with others."""
Check = tuple[str, str, bool]
Make = Callable[..., Iterator[Any]]


def asset(
    name: str,
    kinds: Sequence[str],
    checks: Sequence[Check] = (),
    description: str = "",
    engine: bool = False,
) -> Callable[[Make], dg.AssetsDefinition]:
    """Return a decorator of the function that makes a stage; each check is (name, description, blocking).

    Its inputs are those that the stage declares. The function takes the work, and `encoder`, `judge` or
    `tracker` where it has a parameter of that name. The description is the docstring, where none is given.
    `engine`: the work goes through blocks on the project's engine. Raises as `step` and `specified`.
    """

    def decorated(make: Make) -> dg.AssetsDefinition:
        spec = specified(name, kinds, description or inspect.getdoc(make) or "")
        return step(name, [spec], _checks(name, checks), engine=engine)(make)

    return decorated


def per_partition(make: Make) -> Make:
    """Return the function that makes each partition of a step by itself: an error holds no other one back.

    `make`: takes the work, the key of the partition, and resources as the function of an asset does.
    Raises `TypeError` where it takes anything else.
    """
    parameters = _require_parameters(make, ("work", "key"), GIVEN)

    @functools.wraps(make)
    def made(work: Work, **resources: Any) -> Iterator[Any]:
        for key in work.partitions:
            with work.apart(key):
                yield from make(work, key, **resources)

    own = [one for one in parameters if one.name != "key"]
    made.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    return made


def step(
    name: str,
    specs: Sequence[dg.AssetSpec],
    checks: Sequence[dg.AssetCheckSpec],
    pooled: bool = False,
    engine: bool = False,
) -> Callable[[Make], dg.AssetsDefinition]:
    """Return a decorator of the function that makes assets of the same partitions, all of them or none.

    Of several, a run may name one alone, so that the UI asks for no consent; the step makes the others too.
    Where nothing of them is due it makes nothing, and what comes after it in the run goes on. `pooled`: it
    computes on an accelerator, though its kinds do not say so. `engine`: as in `asset`. Raises `TypeError`
    where the function takes anything but the work and what it can be given.
    """
    accelerated = pooled or any(ACCELERATED.intersection(spec.kinds) for spec in specs)
    partitions, chosen_by = specs[0].partitions_def, ancestors(SELECTION_STAGE.name)

    def decorated(make: Make) -> dg.AssetsDefinition:
        _require_parameters(make, ("work",), GIVEN)

        @dg.multi_asset(
            name=name,
            description=inspect.getdoc(make),
            specs=specs,
            check_specs=checks,
            partitions_def=partitions,
            can_subset=len(specs) > 1,
            required_resource_keys={"store", *_resources_of(make), *(["engine"] if engine else [])},
            op_tags=BEFORE_REPORTS if chosen_by.intersection(spec.key.path[-1] for spec in specs) else None,
            pool=ACCELERATOR_POOL if accelerated else None,
            backfill_policy=SINGLE_RUN if partitions and partitions != PARTITION_SETS["trials"] else None,
        )
        def made(context: dg.AssetExecutionContext) -> Iterator[Any]:
            yield from _made(context, name, make, checks, context.selected_asset_keys, engine)

        return made

    return decorated


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stage as its asset module has it, for a step that makes it together with others.

    `make`: takes the work, and the encoder where it has a parameter of that name.
    """

    name: str
    kinds: Sequence[str]
    checks: Sequence[Check]
    make: Make


def part(name: str, kinds: Sequence[str], checks: Sequence[Check] = ()) -> Callable[[Make], Part]:
    """Return a decorator of the function that makes a stage; arguments and errors as those of `asset`."""

    def decorated(make: Make) -> Part:
        _require_parameters(make, ("work",), GIVEN_TOGETHER)
        return Part(name=name, kinds=kinds, checks=checks, make=make)

    return decorated


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
        required_resource_keys={"store", "engine", *GIVEN_TOGETHER},
        pool=ACCELERATOR_POOL if any(ACCELERATED.intersection(one.kinds) for one in parts) else None,
        backfill_policy=SINGLE_RUN,
    )
    def made(context: dg.AssetExecutionContext) -> Iterator[Any]:
        failed: dict[str, str] = {}
        for one in parts:
            key = dg.AssetKey(one.name)
            if key not in context.selected_asset_keys:
                continue
            try:
                yield from _made(context, one.name, one.make, _checks(one.name, one.checks), [key], True)
            except dg.Failure as error:
                failed |= failed_assets(error.metadata) or {one.name: error.description or ""}
                if len(context.partition_keys) == 1:
                    break
        if failed:
            raise failure_of(failed)

    return made


def _require_parameters(
    make: Make, first: Sequence[str], given: Sequence[str]
) -> Sequence[inspect.Parameter]:
    """Return the parameters of the function of a stage; raises `TypeError` unless a step can call it.

    first: what it is called with by position. given: the resources that it may ask for.
    """
    parameters = list(inspect.signature(make).parameters.values())
    names = [one.name for one in parameters]
    is_starred = any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters)
    if names[: len(first)] == [*first] and {*names[len(first) :]} <= {*given} and not is_starred:
        return parameters
    hint = (
        "; @per_partition belongs directly above a function that takes a key"
        if "key" in (*first, *names)
        else ""
    )
    called, own = getattr(make, "__qualname__", make), ", ".join(map(str, parameters))
    raise TypeError(
        f"{called} takes ({own}), but the function of a stage takes {' and '.join(first)} first, then at "
        f"most {', '.join(given)} by their names{hint}"
    )


def _resources_of(make: Make) -> set[str]:
    """Return the resources that the function of a stage takes besides the work."""
    return {*inspect.signature(make).parameters} - {"work"}


def _made(
    context: dg.AssetExecutionContext,
    name: str,
    make: Make,
    checks: Sequence[dg.AssetCheckSpec],
    keys: Iterable[dg.AssetKey],
    engine: bool,
) -> Iterator[Any]:
    """Yield what a stage makes; where nothing is due, results of its `checks`: Dagster wants one of each."""
    given = context.resources
    try:
        with given.store.work(context, name) as work, given.engine.running(work) if engine else nullcontext():
            yield from make(work, **{one: getattr(given, one) for one in _resources_of(make)})
    except NothingDueError as reason:
        context.log.info(str(reason))
        if reason.current:
            yield from map(logged_by_hand, keys)
        for check in checks:
            if check.key in context.selected_asset_check_keys:
                yield dg.AssetCheckResult(
                    asset_key=check.asset_key,
                    check_name=check.name,
                    passed=reason.passed,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"not_made": str(reason)},
                )


def _checks(name: str, checks: Sequence[Check]) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(check, asset=name, description=text, blocking=blocking)
        for check, text, blocking in checks
    ]


def specified(name: str, kinds: Sequence[str], description: str) -> dg.AssetSpec:
    """Return the specification of the asset of a stage; raises `LookupError` where none is declared."""
    if name not in stages():
        raise LookupError(f"no stage named {name!r} is in the STAGES of any stage.py")
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
        mapping: dg.PartitionMapping | None = dg.AllPartitionMapping() if upstream else None
        if upstream and upstream == stage.partitions and stage.name != TRIALS_STAGE.name:
            mapping = dg.IdentityPartitionMapping()
        found.append(dg.AssetDep(name, partition_mapping=mapping))
    return found
