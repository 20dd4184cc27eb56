"""Results on an object store next to a disk: JSON lines on stdout, exit 1 when they differ.

    python -m benchmarks.object_store [--documents 200] [--latency 0.05]

A generated corpus of three files is materialized on the disk, on a local S3 server (moto), and on that server
with every request delayed; then again with nothing to do. Seconds, requests by method, and what the second
one wrote next to the lock: nothing, or it fails. Data versions have to be those of the disk. Ten minutes.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks._flags import begin
from benchmarks._incremental_project import command, make_project
from tamis.embedding import load_encoder
from tamis.store.remote.objects import ObjectFolder
from tamis.store.tables import Store

WORDS = ("mast", "rudder", "harbour", "butter", "garlic", "onion", "matrix", "vector", "kernel", "of", "and")
KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
BUCKET = "benchmark"
TARGETS = 500
Versions = dict[tuple[str, str], str]


class Server:
    """moto's server behind a delay and a count of requests."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.latency, self.requests = 0.0, list[tuple[str, str]]()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)

    def _answer(self, environ: dict[str, Any], start: Any) -> Any:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        time.sleep(self.latency)
        return self._moto(environ, start)

    def __enter__(self) -> "Server":
        import logging
        import threading

        import boto3

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        os.environ |= KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.port}"}
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()

    def taken(self) -> list[tuple[str, str]]:
        """Requests since the last time."""
        found, self.requests = self.requests, []
        return found


def texts(count: int) -> list[str]:
    """Distinct documents of forty words."""
    draw = random.Random(0)
    return [" ".join(draw.choice(WORDS) for _ in range(40)) for _ in range(count)]


def measured(
    folder: Path, store: Store, server: Server, place: str
) -> tuple[dict[tuple[str, str], str], bool]:
    """Materialize twice and report; the data versions, and whether the second one wrote nothing."""
    server.taken()
    first, _ = command(folder, "materialize")
    asked = Counter(method for method, _path in server.taken())
    again, _ = command(folder, "materialize")
    idle = server.taken()
    written = [path for method, path in idle if method == "PUT" and not path.endswith("/writer.lock")]
    line = {"place": place, "latency": server.latency, "first_seconds": round(first, 1), "requests": asked}
    line |= {"again_seconds": round(again, 1), "again_requests": len(idle), "again_written": len(written)}
    print(json.dumps({"benchmark": "object_store", **line, "load": round(os.getloadavg()[0], 1)}), flush=True)
    heads = store.read("heads", ["asset", "partition", "data_version"])
    return {(asset, partition): version for asset, partition, version in heads.iter_rows()}, not written


def main() -> int:
    """Measure all three places."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds a request")
    flags = begin(parser)
    with tempfile.TemporaryDirectory() as name, Server() as server:
        root, documents, found = Path(name), texts(TARGETS + flags.documents), []
        load_encoder("static", cache=root / "cache")
        for place, latency in (("disk", 0.0), ("s3", 0.0), ("s3-delayed", flags.latency)):
            make_project(root / place, documents, files=3)
            shutil.copytree(root / "cache", root / place / ".tamis" / "cache")
            url, server.latency = f"s3://{BUCKET}/{place}", latency
            os.environ.pop("TAMIS_STORAGE_URL", None)
            if place != "disk":
                os.environ["TAMIS_STORAGE_URL"] = url
            tables = root / place / ".tamis" / "lance" if place == "disk" else ObjectFolder(f"{url}/lance")
            found.append(measured(root / place, Store(tables), server, place))
    return 0 if all(one == (found[0][0], True) for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
