"""Small shards in every format, written and read in one line; shared by the tests of readers."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tamis.corpus import Shard, read_shard
from tamis.corpus.documents import all_documents
from tamis.settings.config import CorpusSection

ROWS = [
    {
        "text": f'Document {number}: caf\u00e9 "quoted", with\ntwo lines\r\nand more',
        "url": f"https://x.org/{number}",
    }
    for number in range(7)
]


def corpus(**values):
    return CorpusSection(name="web", kind="files", path=".", **values)


def read(path, batch_rows=2_000, **values):
    shard = Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind="file", path=path)
    return all_documents(read_shard(shard, corpus(**values), batch_rows=batch_rows))


def written(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def faults(batch):
    """Row and reason of each defect."""
    return list(batch.quarantine.select("row", "reason").iter_rows())


def texts(batch):
    return batch.documents["text"].to_list()


def as_csv(rows, delimiter):
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def as_parquet(rows):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


WRITERS = {
    ".jsonl": lambda rows: "\n".join(json.dumps(row) for row in rows).encode(),
    ".ndjson": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows).encode(),
    ".json": lambda rows: json.dumps(rows, indent=2).encode(),
    ".csv": lambda rows: as_csv(rows, ","),
    ".tsv": lambda rows: as_csv(rows, "\t"),
    ".parquet": as_parquet,
}
PACK = {"": lambda data: data, ".gz": lambda data: gzip.compress(data, mtime=0), ".zst": zstandard.compress}
