"""A web archive of any size: written from pages of a folder, and read in a process of its own.

python -m benchmarks._web_archive ARCHIVE.warc.gz
"""

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._transport_solvers import memory_mib
from tamis.readers.files import read_file
from tamis.readers.rows import Row
from tamis.settings.config import CorpusSection

HEAD = (
    "WARC/1.0\r\nWARC-Type: response\r\nWARC-Date: 2026-01-02T03:04:05Z\r\nWARC-Target-URI: https://a.example/{}"
    "\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {}\r\n\r\n"
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
WARM_UP = 200
"""Pages after which resident memory counts as that of a short archive."""


def write_archive(path: Path, pages: Sequence[bytes], megabytes: int) -> int:
    """Write an archive of that size unpacked, one gzip member per page; return its number of pages.

    Pages are repeated in turn, each with its number as the first words of its body.
    """
    size = number = 0
    with path.open("wb") as out:
        while size < 1_000_000 * megabytes:
            page = pages[number % len(pages)].replace(b"<p>", b"<p>Page %d. " % number, 1)
            body = ANSWER + page
            record = HEAD.format(number, len(body)).encode() + body + b"\r\n\r\n"
            out.write(gzip.compress(record, 1))
            size, number = size + len(record), number + 1
    return number


def read_in_child(path: Path) -> dict[str, Any]:
    """Return the figures of `main`, from a process that did nothing else."""
    command = [sys.executable, "-m", "benchmarks._web_archive", str(path)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main(path: Path) -> None:
    """Read an archive; print its rows, CPU seconds, and resident memory early and at its peak, in MiB."""
    rows = others = 0
    early, began = 0.0, time.process_time()
    for item in read_file(path, CorpusSection(name="web", kind="files", path=str(path.parent))):
        if not isinstance(item, Row):
            others += 1
            continue
        rows += 1
        if rows == WARM_UP:
            early = memory_mib("VmHWM")
    seconds = time.process_time() - began
    figures = {"rows": rows, "defects": others, "pages_per_cpu_second": rows / seconds}
    print(json.dumps(figures | {"early_peak_mib": early, "peak_mib": memory_mib("VmHWM")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
