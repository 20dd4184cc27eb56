"""The S3 server of the tests as its users see it: a bucket, its faults, and what was asked of it."""

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

SERVER = Path(__file__).with_name("faulty_s3.py")
BUCKET = "tamis-bucket"
KEYS = {"AWS_ACCESS_KEY_ID": "key-of-the-tests", "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests"}


@dataclass
class ObjectStorage:
    """A server of its own process; its address is in the environment while it runs."""

    process: subprocess.Popen
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        return KEYS | {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"}

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )

    def faults(self, **faults: float) -> dict[str, Any]:
        """Set the faults, none without any; returns what was asked for since the last time."""
        request = urllib.request.Request(
            f"{self.endpoint}/__faults__", data=json.dumps(faults).encode(), method="PUT"
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object of the bucket under a prefix."""
        client, found = self.client, {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for entry in page.get("Contents", ()):
                body = client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
                found[entry["Key"]] = body
        return found

    def stop(self) -> None:
        self.process.communicate("", timeout=20)


def start_storage() -> ObjectStorage:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen(
        [sys.executable, str(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    storage = ObjectStorage(process, f"http://127.0.0.1:{int(process.stdout.readline())}")
    storage.client.create_bucket(Bucket=BUCKET)
    return storage
