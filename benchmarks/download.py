"""Measures the download of an installation of the wheel into an empty environment: a JSON line on stdout.

    python -m benchmarks.download dist/tamis-0.3.0-py3-none-any.whl [PIP OPTION ...]

pip resolves the requirements for this Python and platform without installing; the sizes of the files that it
would download are added up. Options go to pip: `torch==2.13.0` and an index of CPU builds give the small
installation, the bare command the build of torch that the index offers. Two minutes, mostly the network.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

from benchmarks._flags import begin

LARGEST = 8
MEGABYTE = 1e6


def resolved(requirements: list[str]) -> list[tuple[str, str]]:
    """Return name and address of each file that pip would download."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*pip, "--report", report, *requirements], check=True)
        packages = json.loads(report.read_text())["install"]
    return [(package["metadata"]["name"], package["download_info"]["url"]) for package in packages]


def size_of(address: str) -> int:
    """Return the bytes of a file; raises `OSError` where it cannot be asked for."""
    parts = urllib.parse.urlparse(address)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path)).stat().st_size
    with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=60) as answer:
        return int(answer.headers["Content-Length"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("wheel", help="the wheel of Tamis")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="PIP OPTION", help="for pip")
    flags = begin(parser)
    sizes = {name: size_of(address) for name, address in resolved([flags.wheel, *flags.options])}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:LARGEST]
    figures = {
        "benchmark": "download",
        "packages": len(sizes),
        "megabytes": round(sum(sizes.values()) / MEGABYTE),
        "largest": {name: round(sizes[name] / MEGABYTE) for name in largest},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
