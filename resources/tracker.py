"""The tracker of trials, as a resource: MLflow, in the home or on a server."""

from collections.abc import Mapping

import dagster as dg

from tamis.project import Project
from tamis.store.tables import quoted
from tamis.trainer.trials import Finished
from tamis.training.stage import TRIALS
from tamis.training.tracking import (
    add_metrics,
    log_trial,
    register_checkpoint,
    require_experiment,
    require_tracker,
)
from tamis.trust import require_trusted


class TrackerResource(dg.ConfigurableResource):
    """Tells MLflow about finished trials and checkpoints; a second call with the same changes nothing."""

    def require(self, project: Project) -> None:
        """Raise `TrackerUnavailableError` where it does not answer: ask before hours of training.

        Raises `DamagedTrackerError`, `DeletedExperimentError` and `UntrustedError`, too.
        """
        require_trusted(project)
        require_tracker(project.tracking_uri)
        require_experiment(project.tracking_uri, project.settings.tracking.experiment)

    def log(self, project: Project, finished: Finished) -> str:
        """Log a trial; return the id of its run."""
        return log_trial(
            project.tracking_uri,
            project.settings.tracking.experiment,
            finished.trial,
            input_key=finished.input_key,
            parameters=finished.parameters,
            metrics=finished.metrics,
            loss_history=finished.losses,
            datasets=finished.datasets,
            checkpoint=finished.values["checkpoint"],
            artifacts=project.artifact_root,
        )

    def add(self, project: Project, trial: str, metrics: Mapping[str, float]) -> None:
        """Log further metrics of a trial's recorded run; a run that somebody deleted gets none."""
        rows = project.home.store.read(TRIALS.name, ["mlflow_run"], f"trial = {quoted(trial)}")
        for run in rows["mlflow_run"].drop_nulls():
            add_metrics(project.tracking_uri, run, metrics)

    def register(self, project: Project, run: str, manifest: str) -> None:
        """Register the checkpoint of a trial that was logged as this run, and recorded by this manifest."""
        register_checkpoint(project.tracking_uri, project.settings.tracking.experiment, run, manifest)
