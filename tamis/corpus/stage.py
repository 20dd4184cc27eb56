"""Stages of the pool and of targets: files become documents under content ids, and repeats are found."""

from typing import Any

from tamis.corpus import CODE_VERSION
from tamis.duplicates import near_duplicates
from tamis.passages import SPLIT_CODE_VERSION
from tamis.readers import pages, repair
from tamis.readers.streams import holds_pages
from tamis.settings.references import named
from tamis.settings.tokenizer import counting_tokenizer
from tamis.settings.values import TOKENS, split_length
from tamis.stage import Automation, Growth, Snapshot, Stage, edge, every, refused, same, section_settings
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, band_keys, integer, moment, single, text, unsigned

DOCUMENTS = Table(
    name="documents",
    key=("doc_id",),
    text=("text",),
    sealed=True,
    listed=True,
    per_document=True,
    indexed=True,
    columns=(
        DOC_ID,
        text("text", "normalised text: Unicode NFC, LF line endings, no leading or trailing white space"),
        unsigned("n_chars", "length of the text in Unicode characters"),
        unsigned("n_bytes", "length of the text in UTF-8 bytes"),
        text("language", "language code stated where the text first occurred; null if unknown"),
        moment("first_seen", "time at which the text was first stored, in UTC"),
    ),
)
OCCURRENCES = Table(
    name="occurrences",
    key=("shard", "row", "passage_number"),
    text=("metadata",),
    indexed=True,
    columns=(
        DOC_ID,
        text("shard", "shard that contains the document"),
        unsigned("row", "row within the shard, counted from 0"),
        text(
            "source",
            "origin of the document: the row's source column if any, else the file name or Python object",
        ),
        text(
            "licence", "licence stated in the row, else in the corpus section of tamis.toml; null if unknown"
        ),
        text(
            "language",
            "language code stated in the row, else in the corpus section of tamis.toml; null if unknown",
        ),
        text(
            "metadata",
            "the row's other columns as JSON: each value cut to 200 characters, all to about 2,000",
        ),
        text("system_turn", "hash of the system turn that the text begins with; null if the row has none"),
        unsigned(
            "system_turn_end",
            "number of characters of this system turn, with the empty line after it; null if there is none",
        ),
        text(
            "passage_of",
            "id of the document that the row's text is a passage of; null if the row was not split",
        ),
        unsigned("passage_number", "place of the passage in its document, counted from 0; null if not split"),
        unsigned("passage_count", "number of passages of the document; null if not split"),
        unsigned(
            "passage_begin", "character offset in the document at which the passage begins; null if not split"
        ),
        text("passage_gap", "white space between the passage and the one before it; null if not split"),
    ),
)
KEPT_ROWS = Table(
    name="kept_rows",
    key=("shard", "row"),
    text=("content",),
    columns=(
        text(
            "doc_id",
            "id of the row's document (of the whole text if it was split); empty in the heading row, which "
            "describes a file's columns",
        ),
        text("shard", "shard that contains the row"),
        integer(
            "row",
            "row within the shard, counted from 0; -1 for the heading row, which describes a file's columns",
        ),
        text(
            "content",
            "the row's columns as JSON (empty if over 64 kB), or the types of a file's columns if row is -1",
        ),
    ),
)
QUARANTINE = Table(
    name="quarantine",
    key=("shard", "row", "reason"),
    text=("detail", "excerpt"),
    columns=(
        text("shard", "shard, or file of a target, that contains the bad input"),
        integer("row", "row within the shard, counted from 0; -1 if the whole shard is bad"),
        text("reason", "reason code, such as empty_text"),
        text("detail", "what is wrong with the input and what was expected"),
        text("excerpt", "first characters of the raw input, with control characters replaced"),
        integer("rows_lost", "number of rows that could not be read; null if unknown: at least one"),
    ),
)
NEAR_DUPLICATES = Table(
    name="near_duplicates",
    key=("doc_id",),
    text=(),
    columns=(
        DOC_ID,
        text("kept", "id of the near-duplicate document that is kept instead"),
        single(
            "jaccard",
            "Jaccard similarity to the kept document, over runs of 5 consecutive words, from 0 to 1",
        ),
    ),
)
NEAR_DUPLICATE_BANDS = Table(
    name="near_duplicate_bands",
    rewritten=True,
    key=("doc_id",),
    text=(),
    per_document=True,
    columns=(
        DOC_ID,
        band_keys,
        FINGERPRINT,
        single(
            "left_out",
            "fraction of the document's words that are not compared, since many documents of its file share "
            "them; null if all are compared",
        ),
    ),
)
TARGET_EXAMPLES = Table(
    name="target_examples",
    key=("target", "doc_id"),
    text=("text",),
    partition="target",
    columns=(
        text("target", "name of the target"),
        DOC_ID,
        text("split", "part of the target's examples: train, held_out or unused"),
        text("text", "normalised text of the example"),
        text(
            "source",
            "origin of the example: the row's source column if any, else the file name or Python object",
        ),
    ),
)
TARGET_ANSWERS = Table(
    name="target_answers",
    key=("target", "doc_id"),
    text=("label",),
    partition="target",
    columns=(
        text("target", "name of the target"),
        DOC_ID,
        unsigned(
            "response_at",
            "character offset in the text at which the response begins; null if there is no response",
        ),
        text("label", "label of the example; null if the target has no labels"),
        text(
            "turns",
            "role and character offset of each turn of a conversation, as JSON; null for other examples",
        ),
    ),
)
RAW_STAGE = Stage(
    name="raw_shards",
    group="corpus",
    partitions="shards",
    step="shards",
    code_version="1",
    by_content=True,
    settings=lambda snapshot, key: {"sha256": snapshot.fingerprints[key]},
    from_files=True,
    automation=Automation.ALWAYS,
    growth=Growth.NO_TIME,  # bytes are hashed while the sources are listed
)


def _target_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    target = named(snapshot.project.settings.target, partition)
    # Columns that a target does not have are no settings of it, so the key of a target without them holds.
    optional = ("prompt_column", "response_column", "label_column", "extract")
    lacking = {key for key in optional if getattr(target, key) is None}
    templates = {}
    if target.format == "text":
        lacking |= {"format"}
    else:  # what a model's chat template does not take is quarantined
        models = snapshot.project.settings.base_model
        templates = {"templates": sorted(model.path for model in models if model.path)}
    return target.model_dump(exclude={"path", "follow_links"} | lacking) | {
        "bytes": snapshot.target_fingerprints[partition],
        "near_duplicates": snapshot.project.settings.near_duplicates.threshold,
        **templates,
        **({"pages": pages.identity()} if target.extract else {}),
        **refused(snapshot, EXAMPLES_STAGE.name, partition),
    }


def _corpus_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    section = named(snapshot.project.settings.corpus, snapshot.shards[partition].corpus)
    read = section.model_dump(
        include={"kind", "text_column", "licence", "language", "minimum_characters", "maximum_row_bytes"}
    )
    # What is as it always was is no setting, so the keys of homes from before hold.
    later = section.model_dump(include={"keep_columns", "format", "extract", "repair"}, exclude_defaults=True)
    if section.format != "text":
        later["system_turns"] = "noted"
    if section.extract or any(map(holds_pages, (file.name for file in snapshot.shards[partition].files))):
        later["pages"] = pages.identity()
    if section.repair:
        later["repaired_by"] = repair.identity()
    if section.split:
        later["split"] = f"{section.split}, {SPLIT_CODE_VERSION}"
        if split_length(section.split).unit == TOKENS and counting_tokenizer(snapshot.project.settings):
            later["split_by"] = snapshot.tokenizer_identity
    return read | later | refused(snapshot, DOCUMENTS_STAGE.name, partition)


EXAMPLES_STAGE = Stage(
    name="target_examples",
    group="target",
    partitions="targets",
    # .1: bad rows are listed, .2: a file without a column is one; the examples are the same
    # .3: near-duplicates in scripts without spaces go to one side
    # .4: examples below one template are no near-duplicates for that
    code_version=f"{CODE_VERSION}.4",
    by_content=True,
    settings=_target_settings,
    tables=(TARGET_EXAMPLES, TARGET_ANSWERS),
)
DOCUMENTS_STAGE = Stage(
    name="documents",
    group="corpus",
    partitions="shards",
    step="shards",
    code_version=f"{CODE_VERSION}.1",  # .1: metadata shows no long value of a column that is not kept
    by_content=True,
    edges=(edge("raw_shards", same),),
    settings=_corpus_settings,
    tables=(DOCUMENTS, OCCURRENCES, QUARANTINE, KEPT_ROWS),
    from_files=True,
    automation=Automation.ALWAYS,
)
STAGES = (
    EXAMPLES_STAGE,
    RAW_STAGE,
    DOCUMENTS_STAGE,
    Stage(
        name="near_duplicates",
        group="corpus",
        code_version=near_duplicates.CODE_VERSION,
        by_content=True,
        edges=(edge("documents", every("shards")),),
        settings=section_settings("near_duplicates", frozenset({"cosine"})),
        tables=(NEAR_DUPLICATES, NEAR_DUPLICATE_BANDS),
    ),
)
