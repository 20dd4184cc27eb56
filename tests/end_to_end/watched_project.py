"""A small project under the eyes of the sensors: a real instance, the real definitions, ticks when asked for.

What the daemon does is done here in this process: evaluate both sensors, execute what they request.
"""

import os
from collections.abc import Iterator

import dagster as dg
from small_project import SmallProject

from resources.driver import materialize
from resources.instance import open_instance
from resources.platform import Platform
from resources.removal import removal
from sensors.arrivals import arrivals
from sensors.reselection import reselection
from tamis.lineage.heads import Heads, read_heads
from tamis.project import open_project
from tamis.store.tables import Store

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Watched:
    """The sensors' way of keeping a project current (certified)."""

    def __init__(self, project: SmallProject) -> None:
        self.project = project
        self.instance = open_instance(open_project(project.root))
        self.platform = Platform(project_file=str(project.root / "tamis.toml"))
        self.definitions = definitions_of(self.platform)
        self.job = self.definitions.resolve_implicit_global_asset_job_def()

    def settle(self) -> None:
        """What `tamis materialize` does."""
        said: list[str] = []
        outcome = materialize(
            open_project(self.project.root), lambda: self.definitions, self.instance, said.append
        )
        assert outcome.failed == {}, said

    @property
    def store(self) -> Store:
        return self.platform.store

    @property
    def heads(self) -> Heads:
        return read_heads(self.store)

    def arrive(self) -> str:
        context = dg.build_sensor_context(self.instance, resources={"platform": self.platform})
        found = arrivals(context)
        if isinstance(found, dg.SkipReason):
            return str(found.skip_message)
        for request in found.run_requests or ():
            tags = dict(request.tags)
            result = removal.execute_in_process(
                instance=self.instance, resources={"platform": self.platform}, tags=tags, run_config=QUIET
            )
            assert result.success
        return "removed"

    def tick(self) -> tuple[list[dg.RunRequest], str]:
        """What a tick of the reselection sensor requests, and why it requests nothing."""
        context = dg.build_sensor_context(self.instance, resources={"platform": self.platform})
        found = reselection(context)
        if isinstance(found, dg.SkipReason):
            return [], str(found.skip_message)
        return list(found.run_requests), ""

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """The run that was requested, as the daemon would launch it."""
        return self.job.execute_in_process(
            instance=self.instance,
            asset_selection=request.asset_selection,
            partition_key=request.partition_key,
            tags=dict(request.tags),
            run_config=QUIET,
            raise_on_error=False,
        )

    def until_rest(self, most: int = 30) -> list[dg.RunRequest]:
        """Tick and execute until nothing is requested any more; what was executed."""
        done = []
        while len(done) < most:
            self.arrive()
            requests, _reason = self.tick()
            if not requests:
                return done
            for request in requests:
                assert self.execute(request).success, names(request)
                done.append(request)
        raise AssertionError("the sensors never come to rest")


def names(request: dg.RunRequest) -> list[str]:
    return [asset.path[-1] for asset in request.asset_selection]


def assets_made(requests: list[dg.RunRequest]) -> set[str]:
    return {name for request in requests for name in names(request)}


def definitions_of(platform: Platform) -> dg.Definitions:
    """The platform's assets over the project of a test."""
    os.environ.setdefault("TAMIS_PROJECT", platform.project_file)
    from definitions import MODULES

    return dg.Definitions(
        assets=dg.load_assets_from_modules(MODULES),
        resources={"platform": platform},
        executor=dg.in_process_executor,
    )


def watched(project: SmallProject, monkeypatch) -> Iterator[Watched]:
    """Watch a project; what opening an instance does to the environment is undone."""
    monkeypatch.setenv("DAGSTER_HOME", str(project.home / "dagster"))
    monkeypatch.setenv("TAMIS_PROJECT", str(project.root / "tamis.toml"))
    monkeypatch.setattr("sensors.requests.SETTLED_SECONDS", 0)
    found = Watched(project)
    yield found
    found.instance.dispose()
