"""Checkpoints in MLflow's registry: a version of the trial's model for each manifest, however often retried.

The weights stay where they are; the version names their folder relative to the home, the run that made them
and the manifest that says from what.
"""

from typing import TYPE_CHECKING

from tamis.training.tracking import CHECKPOINT, INPUT_KEY, MANIFEST, TRIAL, open_tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

REMOVED = "tamis.removed"
SCHEME = "tamis:///"  # no place to fetch from: what follows is relative to a home that may be moved


def model_name(experiment: str, trial: str) -> str:
    """Name of a trial's registered model."""
    return f"{experiment}.{trial}"


def register_checkpoint(
    uri: str, experiment: str, trial: str, input_key: str, run: str, checkpoint: str, manifest: str
) -> str:
    """Register a checkpoint and tag its run with the manifest; the number of the version.

    A second call with the same input key and manifest changes nothing.
    """
    client, name = open_tracker(uri), model_name(experiment, trial)
    client.set_tag(run, MANIFEST, manifest)
    tags = {TRIAL: trial, INPUT_KEY: input_key, MANIFEST: manifest, CHECKPOINT: checkpoint}
    found = _version(client, name, tags)
    if found is None:
        _ensure_model(client, name)
        found = client.create_model_version(name, f"{SCHEME}{checkpoint}", run_id=run, tags=tags)
    elif REMOVED in found.tags:  # it was removed by the rule, and is made again
        client.delete_model_version_tag(name, found.version, REMOVED)
        client.update_model_version(name, found.version, "")
    return str(found.version)


def mark_removed(uri: str, experiment: str, trial: str, manifest: str, rule: str) -> None:
    """Let the model versions of a manifest say that their weights were removed, and by which rule."""
    client, name = open_tracker(uri), model_name(experiment, trial)
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get(MANIFEST) == manifest:
            client.set_model_version_tag(name, version.version, REMOVED, rule)
            said = f"Its weights were removed by {rule}; the manifest stays."
            client.update_model_version(name, version.version, said)


def registered_manifests(uri: str, experiment: str, trial: str) -> set[str]:
    """Manifests of a trial's model versions."""
    client, name = open_tracker(uri), model_name(experiment, trial)
    return {one.tags.get(MANIFEST, "") for one in client.search_model_versions(f"name = '{name}'")}


def aliased_checkpoints(uri: str, experiment: str, trial: str) -> set[str]:
    """Folders, relative to the home, of the model versions that somebody gave an alias."""
    client, name = open_tracker(uri), model_name(experiment, trial)
    return {
        client.get_model_version(name, version).tags.get(CHECKPOINT, "")
        for model in client.search_registered_models(f"name = '{name}'")
        for version in set(model.aliases.values())
    }


def _version(client: "MlflowClient", name: str, tags: dict[str, str]) -> "ModelVersion | None":
    """The version with these tags, where there is one."""
    for version in client.search_model_versions(f"name = '{name}'"):
        if all(version.tags.get(key) == value for key, value in tags.items()):
            return version
    return None


def _ensure_model(client: "MlflowClient", name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
