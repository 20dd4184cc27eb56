"""The environment of every process that runs the graph."""

import os
import warnings

from tamis.base.user_folders import complete_user
from tamis.base.waiting_threads import spin_briefly
from tamis.project import Project


def quiet_environment(project: Project) -> None:
    """Set it up: no telemetry, no hub unless a model comes from it, and the folders of a user.

    Raises `NoTemporaryFolderError`.
    """
    spin_briefly()
    complete_user()  # a command has done so, and said what was missing; a server of Dagster has not
    warnings.filterwarnings("ignore", "Parameter `owners` of initializer")
    os.environ.setdefault("DAGSTER_HOME", str(project.home.dagster))
    os.environ.setdefault("HF_HUB_OFFLINE", "0" if project.names_hub_models else "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
