"""The Kubernetes manifests: what the schema allows, tied together, watched, and nothing secret in them."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from composed import CHECKOUT, DEPLOY, compose

FOLDER = DEPLOY / "kubernetes"
VERSION = "1.33"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
SECRETS = {
    "tamis-database": {"POSTGRES_PASSWORD", "TAMIS_POSTGRES_URL", "MLFLOW_BACKEND_STORE_URI"},
    "tamis-store": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "tamis-keys": None,
}


def manifests(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


EVERY = [manifest for path in FILES for manifest in manifests(path)]


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Specifications of the pods that a manifest makes."""
    specification = manifest.get("spec", {})
    found = [specification["template"]["spec"]] if "template" in specification else []
    cluster = specification.get("rayClusterSpec", {})
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]] if cluster else []
    return found + [group["template"]["spec"] for group in groups]


PODS = [(manifest["metadata"]["name"], pod) for manifest in EVERY for pod in pods(manifest)]
CONTAINERS = [
    (name, one) for name, pod in PODS for one in [*pod["containers"], *pod.get("initContainers", [])]
]


@pytest.mark.parametrize("manifest", EVERY, ids=lambda one: f"{one['kind']}/{one['metadata']['name']}")
def test_it_is_what_the_schema_allows(manifest):
    if manifest["kind"] == "RayJob":  # KubeRay's own kind: what it embeds is Kubernetes'
        assert manifest["apiVersion"] == "ray.io/v1"
        for number, pod in enumerate(pods(manifest)):
            head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"ray-{number}"}}
            kubernetes_validate.validate(head | {"spec": pod}, VERSION, strict=True)
        return
    kubernetes_validate.validate(manifest, VERSION, strict=True)
    if manifest["kind"] != "ConfigMap":
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(
                manifest | {"spec": manifest["spec"] | {"replica": 1}}, VERSION, strict=True
            )


def test_all_are_listed_but_the_job_that_is_asked_for():
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in FILES if path.parent == FOLDER)


def test_services_select_pods_and_name_ports_that_they_have():
    labelled = {
        tuple(sorted(one["spec"]["template"]["metadata"]["labels"].items())): pods(one)[0]
        for one in EVERY
        if "template" in one.get("spec", {})
    }
    services = [one for one in EVERY if one["kind"] == "Service"]
    assert {one["metadata"]["name"] for one in services} == {
        "postgres", "object-store", "mlflow", "code", "webserver",
    }  # fmt: skip
    for service in services:
        pod = labelled[tuple(sorted(service["spec"]["selector"].items()))]
        offered = {port["name"] for one in pod["containers"] for port in one["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= offered
    for one in EVERY:
        if "selector" in one.get("spec", {}) and "template" in one["spec"]:
            wanted = one["spec"]["selector"]["matchLabels"].items()
            assert wanted <= one["spec"]["template"]["metadata"]["labels"].items()


def test_each_container_asks_for_what_it_needs_and_what_serves_is_watched():
    for name, one in CONTAINERS:
        assert {"cpu", "memory"} <= set(one["resources"]["requests"]), name
        assert "memory" in one["resources"]["limits"], name
    for name, pod in PODS:
        for one in pod["containers"]:
            lives = "livenessProbe" in one
            assert lives == (name not in ("buckets", "tamis-materialize")), name
            assert ("readinessProbe" in one) == (lives and name != "daemon"), name


def test_no_probe_of_life_asks_for_what_a_restart_does_not_cure():
    (code,) = [one for name, one in CONTAINERS if name == "code" and one["name"] == "code"]
    assert "tamis" not in code["livenessProbe"]["exec"]["command"]
    ready = code["readinessProbe"]["exec"]["command"]
    assert ready[:3] == ["tamis", "health", "--only"]
    assert "daemon" not in ready, "the daemon waits for the code server"


def test_there_is_one_writer_and_one_daemon():
    (code,) = [one for one in EVERY if one["metadata"]["name"] == "code" and one["kind"] == "StatefulSet"]
    (daemon,) = [one for one in EVERY if one["metadata"]["name"] == "daemon"]
    assert (code["spec"]["replicas"], daemon["spec"]["replicas"]) == (1, 1)
    assert daemon["spec"]["strategy"] == {"type": "Recreate"}


def test_secrets_are_referred_to_and_none_is_written_down():
    assert not any(one["kind"] == "Secret" for one in EVERY)
    for _name, one in CONTAINERS:
        for given in one.get("env", []):
            if reference := given.get("valueFrom", {}).get("secretKeyRef"):
                assert reference["key"] in SECRETS[reference["name"]]
        for source in one.get("envFrom", []):
            assert source.get("secretRef", {"name": "tamis-keys"})["name"] in SECRETS
        values = {given["name"]: given.get("value", "") for given in one.get("env", [])}
        assert not any(values[name] for name in values if "PASSWORD" in name or "KEY" in name)


def test_the_processes_are_those_of_the_compose_file():
    services = compose()["services"]
    for name in ("code", "webserver", "daemon", "mlflow"):
        (one,) = [one for pod, one in CONTAINERS if pod == name and one["name"] == name]
        assert one["command"][:2] == services[name]["command"][:2]
        ours = {word for word in one["command"] if "allowed-hosts" not in word}
        assert ours <= set(services[name]["command"])


def test_settings_that_are_written_twice_are_the_same():
    maps = {one["metadata"]["name"]: one["data"] for one in EVERY if one["kind"] == "ConfigMap"}
    given = compose()["services"]["code"]["environment"]
    for name, value in (maps["tamis-settings"] | maps["tamis-work"]).items():
        assert name == "HF_HOME" or given[name] == value
    kept = (DEPLOY / "project" / "tamis.toml").read_text()
    import tomllib

    assert tomllib.loads(maps["tamis-project"]["tamis.toml"]) == tomllib.loads(kept)
    assert maps["tamis-databases"]["databases.sql"].strip() in (DEPLOY / "databases.sql").read_text()


def test_the_ray_job_has_the_version_that_is_pinned_and_workers_without_secrets():
    (job,) = manifests(FOLDER / "ray" / "job.yaml")[1:]
    version = job["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"\nray=={version}\n" in (CHECKOUT / "constraints.txt").read_text()
    workers = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert "secret" not in yaml.safe_dump(workers).lower()
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    mounts = {mount["mountPath"] for _name, one in CONTAINERS for mount in one.get("volumeMounts", [])}
    assert "/var/lib/tamis" in mounts
