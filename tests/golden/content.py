"""The content of a home as tables, read so that no rebuild of Tamis matters; and the command that writes goldens.

    python tests/golden/content.py --write demo-0.1     # builds the project and stores what it gives
    python tests/golden/content.py --check mixed-0.1    # builds it and says what differs
    python tests/golden/content.py --check demo-0.1 --home FOLDER    # of a project that was built before

A golden is written once, at the code that is to be held, and again only where a change is meant to alter values:
`make accept` does that, for the values that tests/golden/changes.toml names (see README.md). `--write` is for a new
golden, and for one whose packages were upgraded; the diff of the commit then is what a reviewer has to believe.

Homes are read through lancedb, the JSON verbs of the command line, `export`, safetensors, and the arrays and JSON
that fitted values are stored in. Tamis is never imported. The mapping below is all that says how tables and fields
are called, and the only part that a later issue changes: the names on the left of `=` stay, those on the right
follow the product.
"""

import argparse
import fnmatch
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

HERE = Path(__file__).resolve().parent
GOLDENS = ("demo-0.1", "mixed-0.1")


NUMBERS = ("score", "sketch", "margin", "loss", "share", "step")
FIELD_KINDS = ("key", "exact", "digest", *NUMBERS, "rank", "verdict", "vector")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a golden: where a home keeps it, and how each field is compared.

    `store` is a pattern of names in the store; "left=right" is a field `left` of the golden that the home calls
    `right`. Fields under `exact` are equal on every machine, those under `digest` are texts compared by hash; for
    the other kinds see `golden_compare.KINDS`. `vector` is stored for some rows, and as a projection for all.
    """

    store: str
    key: str
    exact: str = ""
    digest: str = ""
    score: str = ""
    sketch: str = ""
    margin: str = ""
    loss: str = ""
    share: str = ""
    step: str = ""
    rank: str = ""
    verdict: str = ""
    vector: str = ""
    optional: bool = False

    def fields(self) -> Iterator[tuple[str, str, str]]:
        """Kind, name in the golden and name in the home of every field."""
        for kind in FIELD_KINDS:
            for field in str(getattr(self, kind)).split():
                name, _, there = field.partition("=")
                yield kind, name, there or name


DECISION_SCORES = (
    "transport_gradient gradient_away quality judge_margin_predicted nearest_cost bits_per_byte method_score"
)
TRIAL_EXACT = "kind model data size seed seeds steps tokens parameters trainable_parameters"
TRIAL_LOSSES = (
    "zero_shot_bits_per_byte held_out_bits_per_byte held_out_low held_out_high warm_up_bits_per_byte held_out_loss"
)
TRIAL_SHARES = "accuracy accuracy_low accuracy_high macro_f1 macro_f1_low macro_f1_high majority_accuracy"
MEASURES = (
    "n_words mean_word_length hash_ratio ellipsis_ratio bullet_line_share ellipsis_line_share "
    "alphabetic_word_share stop_words duplicate_line_share duplicate_paragraph_share "
    "duplicate_line_character_share duplicate_paragraph_character_share top_2_gram_share top_3_gram_share "
    "top_4_gram_share duplicate_5_gram_share duplicate_6_gram_share duplicate_7_gram_share "
    "duplicate_8_gram_share duplicate_9_gram_share duplicate_10_gram_share punctuated_line_share "
    "repeated_line_character_share short_line_share misplaced_word_share language_confidence"
)
PERSONAL = "card_count iban_count ssn_count email_count phone_count ip_address_count"

# Of every table that holds content. Not read, since they follow from what is read or from the code's version:
# indexes (near_duplicate_bands, near_copy_bands, contamination_runs), what was attempted or failed (attempts,
# trial_failures, step_failures), and heads, whose state the audit gives.
TABLES = {
    "documents": Table(
        store="documents", key="doc_id", exact="n_chars n_bytes language", digest="text"
    ),
    "occurrences": Table(
        store="occurrences", key="shard row", exact="doc_id source licence language metadata"
    ),
    "quarantine": Table(store="quarantine", key="shard row reason", exact="detail excerpt"),
    "near_duplicates": Table(store="near_duplicates", key="doc_id", exact="kept", score="jaccard"),
    "near_copies": Table(store="near_copies", key="doc_id", exact="kept", score="cosine", optional=True),
    "flags": Table(
        store="document_flags",
        key="doc_id",
        exact=f"broken detected_language {PERSONAL}",
        score=MEASURES,
        optional=True,
    ),
    "target_examples": Table(
        store="target_examples", key="target doc_id", exact="split source", digest="text"
    ),
    "target_answers": Table(
        store="target_answers", key="target doc_id", exact="response_at label", optional=True
    ),
    "contamination": Table(store="contamination", key="target doc_id"),
    "embeddings": Table(store="embeddings_*", key="doc_id", vector="vector"),
    "target_embeddings": Table(store="target_embeddings_*", key="target doc_id", vector="vector"),
    "density": Table(store="scores_density", key="doc_id", sketch="density"),
    "judge_sample": Table(store="judge_sample", key="doc_id", exact="part"),
    "judge": Table(
        store="scores_judge",
        key="doc_id",
        exact="truncated",
        score="logp_yes_raw logp_yes logp_no answer_mass margin",
    ),
    "judge_again": Table(store="scores_judge_again", key="doc_id", score="answer_mass margin"),
    "judge_noise": Table(store="scores_noise", key="text_digest", score="answer_mass margin"),
    "perplexity": Table(store="scores_perplexity", key="doc_id", score="bits_per_byte", optional=True),
    "quality": Table(store="scores_quality", key="doc_id", score="judge_margin_predicted quality"),
    "transport": Table(
        store="transport_*", key="target doc_id", score="transport_gradient nearest_cost"
    ),
    "decisions": Table(
        store="decisions",
        key="selection doc_id",
        exact="duplicate_of detail",
        verdict="verdict reason",
        rank="rank",
        margin="margin",
        score=DECISION_SCORES,
        sketch="density",
    ),
    "selected": Table(store="selected_subset", key="selection doc_id", rank="rank"),
    "versions": Table(
        store="selection_versions", key="selection version", exact="documents pool pinned_to"
    ),
    "withdrawals": Table(store="withdrawals", key="doc_id", exact="reason scope", optional=True),
    "withdrawn_places": Table(
        store="withdrawn_places", key="asset partition shard row doc_id", optional=True
    ),
    "trained_on": Table(store="trained_on", key="checkpoint doc_id", exact="data"),
    "trials": Table(
        store="trials",
        key="trial",
        exact=TRIAL_EXACT,
        score="flops evaluation_flops",
        loss=TRIAL_LOSSES,
        share=TRIAL_SHARES,
    ),
    "loss_curves": Table(store="loss_curves", key="target model size", exact="trial", loss="loss"),
    "sampler_comparison": Table(
        store="sampler_comparison", key="sampler_a sampler_b", step="jaccard kendall_tau"
    ),
    "mart_budget_frontier": Table(
        store="mart_budget_frontier",
        key="selection step",
        exact="documents selected_documents last_rank is_within_budget",
        margin="margin",
        step="n_bytes step_transport_gradient step_quality mean_transport_gradient mean_quality",
    ),
    "mart_checkpoint_provenance": Table(
        store="mart_checkpoint_provenance", key="checkpoint dimension label", exact="documents n_bytes"
    ),
    "mart_checkpoints": Table(
        store="mart_checkpoints",
        key="checkpoint",
        exact="base_model data documents n_bytes shards sources licences without_licence target_examples gone "
        "withdrawn",
    ),
    "mart_corpus_mix": Table(
        store="mart_corpus_mix",
        key="source licence",
        exact="documents near_duplicates n_bytes",
        score="document_share byte_share",
    ),
    "mart_documents": Table(
        store="mart_documents",
        key="shard licence",
        exact="documents near_duplicates n_bytes",
        score="document_share byte_share",
    ),
    "mart_intake": Table(
        store="mart_intake",
        key="shard",
        exact="places documents sources licences without_licence quarantined",
    ),
    "mart_reasons": Table(
        store="mart_reasons", key="selection verdict reason detail", exact="documents", score="share"
    ),
    "mart_scores": Table(
        store="mart_scores",
        key="scorer target",
        exact="documents missing",
        sketch="mean minimum p05 p25 median p75 p95 maximum",
    ),
    "mart_selection_mix": Table(
        store="mart_selection_mix",
        key="selection dimension label",
        exact="pool_documents selected_documents pool_bytes selected_bytes",
        score="pool_share selected_share lift",
    ),
    "mart_trials": Table(
        store="mart_trials",
        key="trial",
        exact=f"{TRIAL_EXACT} is_current place",
        loss=f"{TRIAL_LOSSES} improvement behind_best",
        share=TRIAL_SHARES,
    ),
    "mart_withdrawals": Table(
        store="mart_withdrawals",
        key="scope reason documents excerpts still_stored still_selected fine_tuned_or_pretrained",
    ),
}
EXPORTED = Table(
    store="", key="selection doc_id", exact="shard row source licence", digest="text", rank="rank", margin="margin"
)
DECISIONS, DOCUMENTS, ANSWERS, SKETCHED = "decisions", "documents", "answers", "density"
SELECTED, REJECTED = ("selected", "within_budget"), ("rejected", "over_budget")
"""Verdict and reason on the two sides of a cut."""

# Files of a home. The folder that a hash names is left out of the name of what it holds.
CHECKPOINT_FILES = "checkpoints/**/model.safetensors"
ENCODER_FILES = "cache/encoders/*/vectors.safetensors"
POTENTIAL_FILES = "fitted/target_potential/*/*/potential.npz"
POTENTIAL_ARRAYS = "potential target_weights center epsilon mean_cost dual_value"
CHOICE_FILES = "fitted/model_choice/*/*/choice_*.json"
EXPORTS = "exports"

# Of the JSON answers: fields left out, each with the reason.
LEFT_OUT = {
    "home": "an absolute path",
    "file": "an absolute path",
    "made_at": "a clock",
    "withdrawn_at": "a clock",
    "receipt": "a digest over clocks",
    "seconds": "a clock",
    "time_share": "a share of measured seconds",
    "id": "follows from code versions: a refactoring may raise them, and the rows themselves are compared",
    "manifest": "as id",
    "data_version": "as id for floating-point outputs; for the others, the rows themselves are compared",
    "input_key": "as id",
    "cost": "follows from clocks",
}
HASH = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{16}…")
# Lists of the answers whose entries are known by a field, so that an entry that is missing is one difference.
NAMED_BY = {
    "decisions": "selection",
    "scores": "scorer",
    "nodes": "name",
    "selections": "selection",
    "checkpoints": "checkpoint",
    "documents": "doc_id",
}
RANK_FIELDS, PERCENTILE_FIELDS = ("rank",), ("percentile",)
EXPLAINED = 2  # documents of each selection and reason that are explained: those with the smallest ids
PROJECTION_SEED, SAMPLED_ROWS, DIGITS = 0, 48, 12
BLOCK_TOKENS = 128

Content = dict[str, pl.DataFrame]


def read_content(home: Path, ask: Any, selections: list[str] | None = None) -> Content:
    """Everything that a golden holds, by table.

    `ask(commands)` runs lists of arguments of the command line and returns the answer of each as a dictionary
    (`code`, `output`).
    """
    content = dict(_tables(home))
    decisions = content[DECISIONS]
    chosen = sorted(decisions["selection"].unique()) if selections is None else selections
    commands = _questions(decisions, content["trained_on"], chosen)
    answers = ask([*commands, *(["export", name] for name in chosen)])
    content[ANSWERS] = _answers(commands, answers, home)
    content["exported"] = _exported(home, chosen)
    content |= {"checkpoints": _checkpoints(home), "encoder": _encoder(home), "potential": _potential(home)}
    return _shortened({name: frame for name, frame in content.items() if len(frame.columns)})


def _tables(home: Path) -> Iterator[tuple[str, pl.DataFrame]]:
    import lancedb

    store = lancedb.connect(home / "lance")
    there: list[str] = []
    while page := store.table_names(limit=100, page_token=there[-1] if there else None):
        there += page
    for name, table in TABLES.items():
        found = [other for other in sorted(there) if fnmatch.fnmatchcase(other, table.store)]
        if not found and not table.optional:
            raise SystemExit(f"{home} has no table {table.store}: change the mapping at the head of content.py")
        frames = [pl.DataFrame(pl.from_arrow(store.open_table(one).to_arrow())) for one in found]
        if frames:
            yield name, taken(pl.concat(frames), table)


def taken(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The fields of a table under the golden's names, ordered by its key."""
    columns = []
    keys = [name for kind, name, _ in table.fields() if kind == "key"]
    for kind, name, there in table.fields():
        if there not in frame.columns:
            raise SystemExit(
                f"table {table.store} has no field {there}: change the mapping at the head of content.py"
            )
        if kind == "digest":
            columns.append(pl.Series(name, [_digest(text) for text in frame[there]], dtype=pl.String))
        elif kind == "vector":
            columns += _vectors(frame[there], frame[keys[-1]], name)
        elif kind in NUMBERS:
            columns.append(frame[there].cast(pl.Float64).alias(name))
        else:
            columns.append(frame[there].alias(name))
    return pl.DataFrame(columns).sort(keys, nulls_last=False, maintain_order=True)


def _vectors(vectors: pl.Series, ids: pl.Series, name: str) -> list[pl.Series]:
    """The projection of every vector on signs, and the whole vectors of the rows with the smallest hashes."""
    values = np.array(vectors.to_list(), dtype=np.float64).reshape(len(vectors), -1)
    drawn = np.random.default_rng(PROJECTION_SEED).integers(0, 2, values.shape[1]) * 2.0 - 1.0
    order = sorted(range(len(ids)), key=lambda row: _digest(str(ids[row])))[:SAMPLED_ROWS]
    sampled: list[list[float] | None] = [None] * len(ids)
    for row in order:
        sampled[row] = values[row].tolist()
    # One addition after the other: a sum of another order would differ between processors.
    projected = np.add.accumulate(values * drawn, axis=1)[:, -1] if len(values) else np.zeros(0)
    return [
        pl.Series(f"{name}_projected", projected, dtype=pl.Float64),
        pl.Series(name, sampled, dtype=pl.List(pl.Float32)),
    ]


def _digest(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:DIGITS]


def _questions(decisions: pl.DataFrame, trained_on: pl.DataFrame, selections: list[str]) -> list[list[str]]:
    """The JSON commands that are asked of a home."""
    smallest = decisions.sort("doc_id").group_by("selection", "reason", maintain_order=True).head(EXPLAINED)
    explained = sorted(set(smallest["doc_id"]))
    checkpoints = sorted(set(trained_on["checkpoint"]))
    return [
        ["status", "--json"],
        ["plan", "--json"],
        ["audit", "--json"],
        *(["diff", name, *more, "--json"] for name in selections for more in ([], ["--list"])),
        *(["explain", doc_id, "--json"] for doc_id in explained),
        *(["explain", "--checkpoint", name, "--json"] for name in checkpoints),
    ]


def _answers(commands: list[list[str]], answers: list[dict[str, Any]], home: Path) -> pl.DataFrame:
    """A row for each leaf of each JSON answer: its text, or its number; and the exit code of each command."""
    rows: list[tuple[str, str, str | None, float | None]] = []
    for command, found in zip(commands, answers, strict=False):
        question = " ".join(part for part in command if part != "--json")
        rows.append((question, "exit code", str(found["code"]), None))
        try:
            answer = json.loads(found["output"]) if found["output"].strip() else None
        except ValueError as error:
            raise SystemExit(f"`tamis {' '.join(command)}` answered no JSON: {error}") from error
        if command[0] == "audit":
            answer = _nodes_by_name(answer)
        rows += [(question, *leaf) for leaf in _leaves(answer, "")]
    for command, found in zip(commands[-1:], answers[len(commands) :], strict=False):
        del command, found
    rows += [
        ("files exported", path.name, None, None) for path in sorted((home / EXPORTS).glob("*")) if path.is_file()
    ]
    schema = {"question": pl.String, "path": pl.String, "text": pl.String, "number": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("question", "path", "text", nulls_last=False)


def _nodes_by_name(answer: dict[str, Any]) -> dict[str, Any]:
    """An audit whose nodes know each other by name; several of one name are numbered by what they say."""
    names = {node["id"]: node["name"] for node in answer["nodes"]}
    for node in answer["nodes"]:
        node["inputs"] = sorted(names.get(one, "?") for one in node["inputs"])
    nodes = sorted(answer["nodes"], key=lambda node: json.dumps(_kept(node), sort_keys=True))
    seen: dict[str, int] = {}
    for node in nodes:
        seen[node["name"]] = seen.get(node["name"], 0) + 1
        node["name"] += f" #{seen[node['name']]}" if seen[node["name"]] > 1 else ""
    named = {key: sorted(names.get(one, "?") for one in answer[key]) for key in ("roots", "lowest_broken")}
    return answer | named | {"nodes": nodes}


def _kept(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in LEFT_OUT}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str | None, float | None]]:
    """Path, text and number of each leaf; numbers with a fraction are compared as scores, the rest exactly."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in LEFT_OUT:
                yield from _leaves(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        known_by = NAMED_BY.get(path.rpartition(".")[2], "")
        for position, inner in enumerate(value):
            name = inner.get(known_by, position) if isinstance(inner, dict) else position
            yield from _leaves(inner, f"{path}[{name}]")
        yield f"{path} length", str(len(value)), None
    elif isinstance(value, float) or (
        isinstance(value, int) and path.rpartition(".")[2] in RANK_FIELDS and not isinstance(value, bool)
    ):
        yield path, None, float(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield path, HASH.sub("#", text), None


def _exported(home: Path, selections: list[str]) -> pl.DataFrame:
    frames = []
    for name in selections:
        frame = pl.read_parquet(home / EXPORTS / f"{name}.parquet")
        frames.append(taken(frame.with_columns(pl.lit(name).alias("selection")), EXPORTED))
    return pl.concat(frames) if frames else pl.DataFrame()


def _checkpoints(home: Path) -> pl.DataFrame:
    """Name and shape of every tensor of every checkpoint; what they learnt is compared by held-out losses."""
    from safetensors import safe_open

    rows = []
    for path in sorted(home.glob(CHECKPOINT_FILES)):
        name = path.relative_to(home).parent.parent.as_posix()
        with safe_open(path, framework="numpy") as file:
            for tensor in sorted(file.keys()):
                part = file.get_slice(tensor)
                rows.append((name, tensor, str(part.get_shape()), str(part.get_dtype())))
    schema = dict.fromkeys(("checkpoint", "tensor", "shape", "dtype"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row").unique(maintain_order=True)


def _encoder(home: Path) -> pl.DataFrame:
    """The vectors of the static encoder: the mean over each block of tokens, projected on signs."""
    from safetensors.numpy import load_file

    rows = []
    for path in sorted(home.glob(ENCODER_FILES)):
        vectors = load_file(path)["vectors"].astype(np.float64)
        drawn = np.random.default_rng(PROJECTION_SEED).integers(0, 2, vectors.shape) * 2.0 - 1.0
        projected = np.add.accumulate(vectors * drawn, axis=1)[:, -1]
        for start in range(0, len(projected), BLOCK_TOKENS):
            block = np.add.accumulate(projected[start : start + BLOCK_TOKENS])[-1]
            rows.append((start, len(vectors), vectors.shape[1], block / BLOCK_TOKENS))
    schema = {"block": pl.Int64, "tokens": pl.Int64, "dimension": pl.Int64, "projected": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _potential(home: Path) -> pl.DataFrame:
    """The numbers of every target's potential, and what the choice of a model predicts."""
    rows: list[tuple[str, str, int, float]] = []
    for path in sorted(home.glob(POTENTIAL_FILES)):
        with np.load(path) as stored:
            for name in POTENTIAL_ARRAYS.split():
                numbers = np.atleast_1d(stored[name]).astype(np.float64)
                rows += [(path.parent.parent.name, name, place, float(x)) for place, x in enumerate(numbers)]
    for path in sorted(home.glob(CHOICE_FILES)):
        for name, text, number in _leaves(json.loads(path.read_text()), ""):
            if number is not None or text:
                rows.append((path.stem, f"{name} {text or ''}".strip(), 0, number if number is not None else 0.0))
    schema = {"of": pl.String, "name": pl.String, "place": pl.Int64, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _shortened(content: Content) -> Content:
    """The same with document ids cut to their first digits, but in the table of documents."""
    ids = {"doc_id", "kept", "duplicate_of", "text_digest"}
    for name, frame in content.items():
        if name != DOCUMENTS:
            short = [pl.col(column).str.slice(0, DIGITS) for column in frame.columns if column in ids]
            content[name] = frame.with_columns(short)
    return content


def kinds_of(table: str) -> dict[str, str]:
    """How each field of a table of the golden is compared, by name."""
    others = {
        "answers": {"question": "key", "path": "key", "text": "exact", "number": "answer"},
        "checkpoints": {"checkpoint": "key", "tensor": "key", "shape": "exact", "dtype": "exact"},
        "encoder": {"block": "key", "tokens": "exact", "dimension": "exact", "projected": "score"},
        "potential": {"of": "key", "name": "key", "place": "key", "value": "fitted"},
    }
    if table in others:
        return others[table]
    found = EXPORTED if table == "exported" else TABLES[table]
    kinds = {name: kind for kind, name, _ in found.fields() if kind != "vector"}
    for kind, name, _ in found.fields():
        if kind == "vector":
            kinds |= {f"{name}_projected": "score", name: "vector"}
    return {name: "exact" if kind == "digest" else kind for name, kind in kinds.items()}


def main() -> int:
    """Write or check one golden."""
    import golden_projects
    import golden_storing
    from golden_compare import differences, report

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", metavar="GOLDEN", choices=GOLDENS, help="build it and store what it gives")
    what.add_argument("--check", metavar="GOLDEN", choices=GOLDENS, help="build it and say what differs")
    parser.add_argument("--home", type=Path, help="project folder that was built before, instead of building")
    parser.add_argument("--keep", type=Path, help="build in this new folder and leave it there")
    asked = parser.parse_args()
    name = asked.write or asked.check
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        root = asked.home or asked.keep or Path(scratch) / "project"
        if asked.home is None:
            golden_projects.build(name, root)
        found = golden_projects.content_of(name, root)
    if asked.write:
        golden_storing.write(HERE / name, found)
        return 0
    wanted = golden_storing.read(HERE / name)
    differing = differences(wanted, found)
    print(report(name, wanted, found, differing))
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
