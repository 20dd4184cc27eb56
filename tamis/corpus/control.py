"""Tables of control of the corpus: files of shards and groups, shared text, what a stage set aside."""

import pyarrow as pa

from tamis.store.columns import DOC_ID, FINGERPRINT, Table, column

CONTROL: tuple[Table, ...] = (
    Table(
        name="shard_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "shard that was ingested"),
            column("corpus", pa.string(), "corpus that the shard belongs to"),
            column("name", pa.string(), "path of the shard's file within the corpus, or name of the package"),
        ),
    ),
    Table(
        name="grouped_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "key of a small file that was ingested as part of a group"),
            column("part_of", pa.string(), "key of the group, which is a shard of many small files"),
            column("corpus", pa.string(), "corpus that the file belongs to"),
            column("name", pa.string(), "path of the file within the corpus"),
            column("version", pa.string(), "version of the file's content when the file was last read"),
            column("reading", pa.string(), "digest of the code version and settings used to read the file"),
            column("rows", pa.int64(), "number of rows read from the file, including rows in quarantine"),
        ),
    ),
    Table(
        name="shared_text",
        key=("unit",),
        text=(),
        columns=(
            column("unit", pa.string(), "file; or folder or corpus, for files of fewer than 10 documents"),
            column("sample", pa.string(), "digest of the ids of the documents that were compared"),
            column(
                "shingles",
                pa.list_(pa.uint64()),
                "hashes of the runs of 5 words within text that many of the documents share",
            ),
            column("begins", pa.list_(pa.uint64()), "those that such text begins with, in most documents"),
            column("ends", pa.list_(pa.uint64()), "those that such text ends with, in most documents"),
        ),
    ),
    Table(
        name="set_aside",
        key=("doc_id", "stage"),
        text=(),
        per_document=True,
        columns=(
            DOC_ID,
            column("stage", pa.string(), "stage that could not process the document"),
            column("reason", pa.string(), "code of the reason for which the stage set the document aside"),
            column(
                "detail",
                pa.string(),
                "what went wrong; quotes neither the document nor a server's answer",
            ),
            FINGERPRINT,
        ),
    ),
)
