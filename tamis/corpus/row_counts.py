"""Rows of a file that cannot be read: what its footer or its lines tell, without parsing a row.

A file is streamed once, in blocks; 1 GB of lines takes about a second. As a program it prints the number for
the path it is given: a file of which a process died may kill the next one, too.
"""

import contextlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.corpus.arrow_files import open_arrow
from tamis.corpus.streams import ARROW, ARROW_STREAM, BLOCK_BYTES, PARQUET, Content, is_plain_text

SECONDS, LINE_FEED = 60, 0x0A
LINES, HEADED, TEXTS = (".jsonl", ".ndjson", ".csv", ".tsv"), (".csv", ".tsv"), (".txt", ".md")
COLUMNAR = (".parquet", ".arrow")


def rows_told(path: Path) -> int | None:
    """Return how many rows a file tells that it has, Parquet and Arrow under any name; None if nothing."""
    ending = Path(path.name.lower().removesuffix(".gz").removesuffix(".zst")).suffix
    if ending in TEXTS:
        return 1
    with contextlib.suppress(OSError, ValueError, pa.ArrowException), Content(path) as content:
        if content.format == PARQUET:
            return pq.read_metadata(path).num_rows
        is_text = not content.format and is_plain_text(content.head)
        if content.format in (ARROW, ARROW_STREAM) or (ending == ".arrow" and not is_text):
            return _rows_of_arrow(path)
        if (ending in LINES and not content.format) or (ending in COLUMNAR and is_text):
            lines = _lines(content)
            return lines - 1 if ending in HEADED and lines > 1 else lines or None
    return None


def rows_told_apart(path: Path) -> int | None:
    """Return what `rows_told` does, asked in a process of its own; None where that dies or takes a minute."""
    # Without -P a folder `tamis` in the working directory would be run.
    command = [sys.executable, "-P", "-m", "tamis.corpus.row_counts", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _rows_of_arrow(path: Path) -> int:
    """Count the rows of the batches of an Arrow file, of which one column is looked at."""
    options = pa.ipc.IpcReadOptions(included_fields=[0])
    with pa.memory_map(str(path)) as source:
        return sum(batch.num_rows for batch in open_arrow(source, options)[1])


def _lines(content: Content) -> int:
    """Count lines, the last one also without an end; they end as most of them do, in LF or CR."""
    if content.encoding_problem:
        return _wide_lines(content)
    feeds = returns = 0
    last = b""
    while block := content.stream.read(BLOCK_BYTES):
        feeds, returns, last = feeds + block.count(b"\n"), returns + block.count(b"\r"), block
    return (feeds or returns) + (bool(last) and not last.endswith((b"\n", b"\r")))


def _wide_lines(content: Content) -> int:
    """Count lines of UTF-16 or UTF-32, of which two bytes hold a line feed, in the order in which more do."""
    counts, last = Counter[str](), {"<u2": LINE_FEED, ">u2": LINE_FEED}
    while block := content.stream.read(BLOCK_BYTES):
        for order in last:
            units = np.frombuffer(block[: len(block) // 2 * 2], order)
            counts[order] += int((units == LINE_FEED).sum())
            last[order] = next((int(unit) for unit in units[:-3:-1] if unit), last[order])
    order, lines = max(counts.items(), key=lambda one: one[1], default=("<u2", 0))
    return lines + (last[order] != LINE_FEED)


if __name__ == "__main__":
    print(rows_told(Path(sys.argv[1])))
