"""Tables of control of the corpus: files of shards and groups, shared text, what a stage set aside."""

from tamis.store.columns import DOC_ID, FINGERPRINT, Table, hash64, integer, many, text

CONTROL: tuple[Table, ...] = (
    Table(
        name="shard_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            text("shard", "shard that was ingested"),
            text("corpus", "corpus that the shard belongs to"),
            text("name", "path of the shard's file within the corpus, or name of the package"),
        ),
    ),
    Table(
        name="grouped_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            text("shard", "key of a small file that was ingested as part of a group"),
            text("part_of", "key of the group, which is a shard of many small files"),
            text("corpus", "corpus that the file belongs to"),
            text("name", "path of the file within the corpus"),
            text("version", "version of the file's content when the file was last read"),
            text("reading", "digest of the code version and settings used to read the file"),
            integer("rows", "number of rows read from the file, including rows in quarantine"),
        ),
    ),
    Table(
        name="shared_text",
        key=("unit",),
        text=(),
        columns=(
            text("unit", "file; or folder or corpus, for files of fewer than 10 documents"),
            text("sample", "digest of the ids of the documents that were compared"),
            many(
                hash64(
                    "shingles", "hashes of the runs of 5 words within text that many of the documents share"
                )
            ),
            many(hash64("begins", "those that such text begins with, in most documents")),
            many(hash64("ends", "those that such text ends with, in most documents")),
        ),
    ),
    Table(
        name="set_aside",
        key=("doc_id", "stage"),
        text=(),
        per_document=True,
        columns=(
            DOC_ID,
            text("stage", "stage that could not process the document"),
            text("reason", "code of the reason for which the stage set the document aside"),
            text("detail", "what went wrong; quotes neither the document nor a server's answer"),
            FINGERPRINT,
        ),
    ),
)
