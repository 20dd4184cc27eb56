"""The content of a home as tables, read so that no rebuild of Tamis matters; and the command that writes
goldens.

    python tests/golden/content.py --write demo-0.1     # builds the project and stores what it gives
    python tests/golden/content.py --check mixed-0.1    # builds it and says what differs
    python tests/golden/content.py --check demo-0.1 --home FOLDER    # of a project that was built before

A golden is written once, at the code that is to be held, and again only where a change is meant to alter
values. `--write` is for a new golden, and for one whose packages were upgraded: where there is one already,
it refuses as `make accept` does unless tests/golden/changes.toml names what differs (see README.md).

Homes are read through lancedb, the JSON verbs of the command line, `export`, safetensors, and the arrays
and JSON that fitted values are stored in. Tamis is never imported. The mapping below is all that says how
tables and fields are called, and the only part that a later issue changes: the names on the left of `=`
stay, those on the right follow the product.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

HERE = Path(__file__).resolve().parent
GOLDENS = ("demo-0.1", "mixed-0.1", "wide-0.1", "open-0.1")


NUMBERS = ("score", "sketch", "margin", "loss", "share", "step", "edge")
FIELD_KINDS = ("key", "exact", "digest", *NUMBERS, "rank", "verdict", "vector")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a golden: where a home keeps it, and how each field is compared.

    `store` is a pattern of names in the store; "left=right" is a field `left` of the golden that the home
    calls `right`. Fields under `exact` are equal on every machine, those under `digest` are texts or lists
    compared by hash; for the other kinds see `golden_compare.KINDS`. `vector` is stored for some rows, and as
    a projection for all. `optional`: not every home has it. `alike`: last bits decide what a search or a
    tie ends at; compared on machines of the golden's kind alone.
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
    edge: str = ""
    rank: str = ""
    verdict: str = ""
    vector: str = ""
    optional: bool = False
    alike: bool = False

    def fields(self) -> Iterator[tuple[str, str, str]]:
        """Kind, name in the golden and name in the home of every field."""
        for kind in FIELD_KINDS:
            for field in str(getattr(self, kind)).split():
                name, _, there = field.partition("=")
                yield kind, name, there or name


DECISION_SCORES = (
    "transport_gradient pool_potential gradient_away quality judge_margin_predicted nearest_cost "
    "bits_per_byte method_score"
)
TRIAL_EXACT = "kind model data size seed seeds steps tokens parameters trainable_parameters"
TRIAL_LOSSES = (
    "zero_shot_bits_per_byte held_out_bits_per_byte held_out_low held_out_high warm_up_bits_per_byte "
    "held_out_loss"
)
TRIAL_SHARES = "accuracy accuracy_low accuracy_high macro_f1 macro_f1_low macro_f1_high majority_accuracy"
MEASURES = (
    "n_words mean_word_length hash_ratio ellipsis_ratio bullet_line_share ellipsis_line_share "
    "alphabetic_word_share stop_words duplicate_line_share duplicate_paragraph_share "
    "duplicate_line_character_share duplicate_paragraph_character_share top_2_gram_share top_3_gram_share "
    "top_4_gram_share duplicate_5_gram_share duplicate_6_gram_share duplicate_7_gram_share "
    "duplicate_8_gram_share duplicate_9_gram_share duplicate_10_gram_share punctuated_line_share "
    "repeated_line_character_share short_line_share misplaced_word_share language_confidence code_line_share "
    "speaker_line_share letter_share unlikely_pair_share repeated_3_gram_share short_item_share "
    "label_word_share broken_character_share common_word_share capital_word_share word_order_score"
)
PERSONAL = "card_count iban_count ssn_count email_count phone_count ip_address_count"

OF_SAMPLERS = "sampler budget data_seed training_seed"
OF_TRIALS = "documents tokens failure"
LOSSES_OF_TRIALS = "target_bits_per_byte pool_bits_per_byte epochs"
SAMPLER_TRIALS_NOT_READ = (  # a hash; the losses of single documents and of steps, whose means are read
    "run target_document_bits target_document_bytes pool_document_bits pool_document_bytes curve_tokens "
    "curve_target"
)

TUNE_RUNS_NOT_READ = (  # likewise, and what is the same for all
    "run quality_weight learning_rate flop example_bits example_bytes control control_bits control_bytes "
    "curve_tokens curve_loss"
)

# Of every table that holds content.
TABLES = {
    "documents": Table(store="documents", key="doc_id", exact="n_chars n_bytes language", digest="text"),
    "occurrences": Table(
        store="occurrences",
        key="shard row",
        exact="doc_id source licence language metadata system_turn system_turn_end",
    ),
    "quarantine": Table(store="quarantine", key="shard row reason", exact="detail excerpt"),
    "near_duplicates": Table(store="near_duplicates", key="doc_id", exact="kept", score="jaccard"),
    "near_copies": Table(store="near_copies", key="doc_id", exact="kept", score="cosine", optional=True),
    "flags": Table(
        store="document_flags",
        key="doc_id",
        exact=f"broken detected_language {PERSONAL}",
        digest="unit_hashes unit_characters",
        score=MEASURES,
        optional=True,
    ),
    "row_vectors": Table(store="row_vectors", key="column", exact="width edition", optional=True),
    "form_model": Table(store="form_model", key="fingerprint", exact="pool note", optional=True),
    "form_limits": Table(
        store="form_limits", key="target", exact="examples over unseen", score="limit", optional=True
    ),
    "form_scores": Table(
        store="form_scores", key="doc_id", exact="form_language", score="form_logit", optional=True
    ),
    "target_examples": Table(
        store="target_examples", key="target doc_id", exact="split source", digest="text"
    ),
    "target_answers": Table(
        store="target_answers", key="target doc_id", exact="response_at label", digest="turns", optional=True
    ),
    "contamination": Table(store="contamination", key="target doc_id"),
    "kept_out": Table(store="kept_out", key="benchmark doc_id", digest="runs", optional=True),
    "kept_out_examples": Table(store="kept_out_examples", key="benchmark target doc_id", optional=True),
    "benchmarks": Table(
        store="benchmarks",
        key="benchmark",
        exact="rows without_text unreadable too_short template rows_found documents",
        optional=True,
    ),
    "embeddings": Table(store="embeddings_*", key="doc_id", vector="vector"),
    "target_embeddings": Table(store="target_embeddings_*", key="target doc_id", vector="vector"),
    "density": Table(store="scores_density", key="doc_id", sketch="density"),
    "judge_sample": Table(store="judge_sample", key="doc_id", exact="part", optional=True),
    "judge": Table(
        store="scores_judge",
        key="doc_id",
        exact="truncated by_server",
        score="logp_yes_raw logp_yes logp_no answer_mass margin",
        optional=True,
    ),
    "judge_again": Table(
        store="scores_judge_again",
        key="doc_id",
        exact="by_server",
        score="answer_mass margin",
        optional=True,
    ),
    "judge_noise": Table(store="scores_noise", key="text_digest", score="answer_mass margin", optional=True),
    "perplexity": Table(store="scores_perplexity", key="doc_id", score="bits_per_byte", optional=True),
    "quality": Table(
        store="scores_quality", key="doc_id", score="judge_margin_predicted quality", optional=True
    ),
    "transport": Table(store="transport_*", key="target doc_id", score="transport_gradient nearest_cost"),
    "pool_potential": Table(
        store="pool_potential_*", key="target doc_id", score="pool_potential", optional=True
    ),
    "decisions": Table(
        store="decisions",
        key="selection doc_id",
        exact="duplicate_of detail budget_group training_count",
        verdict="verdict reason",
        rank="rank",
        margin="margin",
        score=DECISION_SCORES,
        sketch="density",
    ),
    "selected": Table(store="selected_subset", key="selection doc_id", exact="training_count", rank="rank"),
    "versions": Table(store="selection_versions", key="selection version", exact="documents pool pinned_to"),
    "withdrawals": Table(store="withdrawals", key="doc_id", exact="reason scope", optional=True),
    "withdrawn_places": Table(
        store="withdrawn_places", key="asset partition shard row doc_id", optional=True
    ),
    "trained_on": Table(store="trained_on", key="checkpoint doc_id", exact="data training_count"),
    "trials": Table(
        store="trials",
        key="trial",
        exact=TRIAL_EXACT,
        score="flops evaluation_flops",
        loss=TRIAL_LOSSES,
        share=TRIAL_SHARES,
    ),
    "loss_curves": Table(
        store="loss_curves", key="target model size", exact="trial", loss="loss", optional=True
    ),
    "sampler_comparison": Table(
        store="sampler_comparison", key="sampler_a sampler_b", step="jaccard kendall_tau"
    ),
    "mart_budget_frontier": Table(
        store="mart_budget_frontier",
        key="selection step",
        exact="documents selected_documents last_rank is_within_budget",
        margin="margin",
        step="n_bytes mean_transport_gradient mean_quality",
        edge="step_transport_gradient step_quality",
    ),
    "mart_checkpoint_provenance": Table(
        store="mart_checkpoint_provenance", key="checkpoint dimension label", exact="documents n_bytes"
    ),
    "mart_checkpoints": Table(
        store="mart_checkpoints",
        key="checkpoint",
        exact="base_model data documents n_bytes shards sources licences without_licence target_examples "
        "gone withdrawn",
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
# Of control, of arrivals, and of what only some projects ask for.
MIXTURE_SHARES = "weight low high natural repetition worth marginal_value"
TABLES |= {
    "heads": Table(store="heads", key="asset partition", exact="passed settled"),
    "attempts": Table(store="attempts", key="asset partition"),
    "pins": Table(store="pins", key="selection", exact="version", optional=True),
    "approvals": Table(store="approvals", key="selection", exact="approved", optional=True),
    "trial_failures": Table(store="trial_failures", key="trial", exact="attempts permanent", optional=True),
    "step_failures": Table(store="step_failures", key="asset partition", optional=True),
    "set_aside": Table(store="set_aside", key="doc_id stage", exact="reason detail", optional=True),
    "shard_files": Table(store="shard_files", key="shard", exact="corpus name"),
    "grouped_files": Table(
        store="grouped_files", key="shard", exact="part_of corpus name version rows", optional=True
    ),
    "shared_text": Table(
        store="shared_text", key="unit", exact="sample", digest="shingles begins ends", optional=True
    ),
    "absent_files": Table(store="absent_files", key="shard", optional=True),
    "shrunken_files": Table(
        store="shrunken_files", key="shard", exact="before now bad_rows allowed", optional=True
    ),
    "removals": Table(store="removals", key="entries", exact="documents allowed", optional=True),
    "precision": Table(store="precision", key="scope", exact="precision"),
    "kept_rows": Table(store="kept_rows", key="shard row", exact="doc_id content", optional=True),
    "near_duplicate_bands": Table(
        store="near_duplicate_bands", key="doc_id", digest="bands", score="left_out"
    ),
    "near_copy_bands": Table(
        store="near_copy_bands", key="doc_id", digest="bands", optional=True, alike=True
    ),
    "contamination_runs": Table(
        store="contamination_runs", key="target doc_id", exact="left_out_mark", digest="runs"
    ),
    "kept_out_runs": Table(
        store="kept_out_runs", key="doc_id", exact="left_out_mark", digest="runs", optional=True
    ),
    "target_gaps": Table(
        store="target_gaps", key="target doc_id", score="supply", exact="is_gap", optional=True, alike=True
    ),
    "served_examples": Table(
        store="served_examples",
        key="selection doc_id example_id",
        score="mass cost",
        optional=True,
        alike=True,
    ),
    "scores_by_model": Table(store="scores_by_model", key="doc_id", optional=True),
    "token_counts": Table(store="token_counts", key="doc_id", exact="n_tokens", optional=True),
    "topics": Table(store="topics", key="doc_id", exact="topic", optional=True),
    "topic_centers": Table(store="topic_centers", key="topic", exact="pool", vector="center", optional=True),
    "topic_words": Table(store="topic_words", key="topic place doc_id", exact="word", optional=True),
    "sampler_trials": Table(
        store="sampler_trials", key=OF_SAMPLERS, exact=OF_TRIALS, loss=LOSSES_OF_TRIALS, optional=True
    ),
    "sampler_trials_left": Table(
        store="sampler_trials_left", key=OF_SAMPLERS, exact=OF_TRIALS, loss=LOSSES_OF_TRIALS, optional=True
    ),
    "mixture_sources": Table(
        store="mixture_sources",
        key="source",
        exact="documents tokens estimated run_tokens documents_digest change",
        score="share changed_share distance",
        optional=True,
    ),
    "mixture_plan": Table(
        store="mixture_plan",
        key="run source",
        exact="documents_digest generation place preset tokens parts ratios",
        score="weight repetition",
        optional=True,
    ),
    "agreement_plan": Table(
        store="agreement_plan",
        key="run source",
        exact="documents_digest generation place preset tokens parts ratios wanted",
        score="weight repetition",
        optional=True,
        alike=True,
    ),
    "mixture_documents": Table(
        store="mixture_documents", key="source doc_id", exact="n_tokens rank", optional=True
    ),
    "mixture_runs": Table(
        store="mixture_runs",
        key="run",
        exact="preset documents largest_count steps tokens parameters failure",
        score="flops",
        optional=True,
    ),
    "mixture_losses": Table(
        store="mixture_losses", key="run target", exact="examples", loss="bits_per_byte", optional=True
    ),
    "mixture_law": Table(
        store="mixture_law",
        key="run target",
        exact="outlier",
        loss="measured predicted fitted",
        optional=True,
        alike=True,
    ),
    "mixture_methods": Table(
        store="mixture_methods",
        key="target method",
        exact="chosen",
        score="rank_correlation",
        optional=True,
        alike=True,
    ),
    "mixture": Table(
        store="mixture",
        key="source",
        exact="tokens at_cap",
        score=MIXTURE_SHARES,
        optional=True,
        alike=True,
    ),
    "mixture_controls": Table(
        store="mixture_controls",
        key="name",
        loss="predicted low high difference difference_low difference_high measured",
        optional=True,
        alike=True,
    ),
}
# Of the user's own: scores, measures of trained choices, checkpoints from elsewhere.
TABLES |= {
    name: Table(store=name, key="score doc_id", exact="not_numbers", score="value", optional=True)
    for name in ("column_scores", "classifier_scores", "plugin_scores")
}
TABLES |= {
    "sampler_trials_controls": Table(
        store="sampler_trials_controls", key="control texts", loss="bits_per_byte", optional=True
    ),
    "sampler_trials_scores": Table(
        store="sampler_trials_scores", key="settings task example", loss="score", optional=True
    ),
    "control_losses": Table(
        store="control_losses",
        key="trial control",
        exact="measurement documents not_measured",
        loss="start_bits_per_byte bits_per_byte difference difference_low difference_high",
        optional=True,
    ),
    "evaluations": Table(
        store="evaluations",
        key="trial task",
        exact="examples pairs",
        loss="score score_low score_high start_score difference difference_low difference_high",
        optional=True,
    ),
    "evaluation_scores": Table(
        store="evaluation_scores", key="trial task example", loss="score start_score", optional=True
    ),
    "registered_checkpoints": Table(
        store="registered_checkpoints",
        key="checkpoint",
        exact="selection version recipe files n_bytes documents",
        optional=True,
    ),
}
# A search for a recipe.
OF_TUNE = Table(
    store="tune_runs",
    key="part recipe seed portion look",
    exact="target sampler share model documents tokens failure",
    loss="bits_per_byte control_bits_per_byte",
    optional=True,
    alike=True,
)
TABLES |= {
    "mixture_gain_runs": Table(
        store="mixture_gain_runs",
        key="mixture pair documents",
        exact="target preset tokens failure",
        loss="bits_per_byte",
        optional=True,
        alike=True,
    ),
    "mixture_gain": Table(
        store="mixture_gain",
        key="target",
        exact="kind proven pairs examples preset tokens",
        loss="difference low high",
        optional=True,
        alike=True,
    ),
    "tune_runs": OF_TUNE,
    "tune_runs_left": replace(OF_TUNE, store="tune_runs_left"),
    "recipes": Table(
        store="recipes",
        key="recipe",
        exact="place runs failed finalist chosen",
        loss="loss shrunken",
        optional=True,
        alike=True,
    ),
    "tune_answers": Table(
        store="tune_answers",
        key="target",
        exact="recipe reference kind look shipped pairs examples fitted validated tokens",
        loss="difference low high",
        optional=True,
        alike=True,
    ),
    "tune_looks": Table(
        store="tune_looks", key="look", exact="target recipe shipped", optional=True, alike=True
    ),
}
# Results of documents that left, which are kept for some days.
TABLES |= {
    f"retained_{name}": Table(
        store=f"retained_{store}",
        key="doc_id",
        exact=TABLES[name].exact,
        score=TABLES[name].score,
        vector=TABLES[name].vector,
        optional=True,
    )
    for name, store in (
        ("embeddings", "embeddings_*"),
        ("judge", "scores_judge"),
        ("judge_again", "scores_judge_again"),
        ("scores_by_model", "scores_by_model"),
        ("perplexity", "scores_perplexity"),
        ("classifier_scores", "classifier_scores"),
    )
}
# By table, "*" for all: ids of manifests, attempts and runs, input keys and fingerprints, which follow from
# the code's version; digests over clocks; clocks, costs and memory; and what another field or answer says.
FIELDS_NOT_READ = {
    "*": "attempt checkpoint fingerprint input_key last_passed left_at made_at manifest mlflow_run "
    "peak_memory_bytes receipt seal seconds evaluation_seconds scoring_seconds pool_seconds withdrawn_at "
    "found_at failed_at",
    "documents": "first_seen",
    # Null where no corpus is split, as here.
    "occurrences": "passage_of passage_number passage_count passage_begin passage_gap",
    "quarantine": "rows_lost",  # in the answers of status
    "form_model": "model method",  # numbers of a fit, which the scores say; digests of files of the package
    "form_scores": "form_reasons",
    "trial_failures": "reason spent_seconds",  # the reason names a path of this machine; a clock
    "step_failures": "reason",  # likewise
    "removals": "removal begun_at ended_at",  # a random name, clocks
    "precision": "device float32_ms bfloat16_ms",
    "grouped_files": "reading",  # follows from the code's version
    "decisions": "own_score",  # of a [[score]], whose value its own table says
    "scores_by_model": "value",  # the method_score of decisions
    "retained_scores_by_model": "value",
    "sampler_trials": SAMPLER_TRIALS_NOT_READ,
    "sampler_trials_left": SAMPLER_TRIALS_NOT_READ,
    "tune_runs": TUNE_RUNS_NOT_READ,
    "tune_runs_left": TUNE_RUNS_NOT_READ,
    "recipes": "sampler share quality_weight model learning_rate error best",
    "tune_answers": "sampler share quality_weight model learning_rate sentence level given_shipped given_low "
    "given_high seen control control_difference control_low control_high harms parameters budget_flop "
    "choosing_flop search_flop guard_flop own_flop bound reached_flop net net_seconds break_even agreement "
    "agreement_low agreement_high compared",
    "tune_looks": "held_out examples winner begun_at",
    "mixture_plan": "recipe",  # follows from the code's version
    "agreement_plan": "recipe",
    "mixture_gain_runs": "run shares seed flop examples example_bits example_bytes",
    "mixture_gain": "sentence parameters chosen natural",
    "mixture_controls": "shares",  # the weights, as a text with all their digits
    "sampler_trials_controls": "run document_bits document_bytes",
    "sampler_trials_scores": "run",
    "control_losses": "start_document_bits document_bits document_bytes",
    "retained_classifier_scores": "score",  # of one alone
    "registered_checkpoints": "folder content run",  # places of this machine, a hash, an id
    "withdrawals": "loose_id",  # follows from the text
    "versions": "data_version rows subset decisions",
    "heads": "data_version",
    "pins": "rows subset decisions",
    "mart_trials": "flops evaluation_flops target",  # as in trials; its target is that of its name here
}
EXPORTED = Table(
    store="",
    key="selection doc_id",
    exact="shard row source licence",
    digest="text",
    rank="rank",
    margin="margin",
)
DECISIONS, DOCUMENTS, ANSWERS, ENCODER = "decisions", "documents", "answers", "encoder"
SKETCHED, LAST_RANK = "density", "last_rank"
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
    "tokens": "follows from the documents that are chosen, which are compared, and from their bytes",
    "documents_estimated": "as tokens",
    "float32_ms": "a clock",
    "bfloat16_ms": "a clock",
    "run": "a random id",
}
VARYING = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{16}…|\b\d{4}-\d\d-\d\d \d\d:\d\d UTC")
"""Hashes and clocks within texts."""
# Lists of the answers whose entries are known by a field, so that an entry that is missing is one difference.
NAMED_BY = {
    "decisions": "selection",
    "scores": "scorer",
    "nodes": "name",
    "selections": "selection",
    "checkpoints": "checkpoint",
    "documents": "doc_id",
}
RANK_FIELDS, PERCENTILE_FIELDS, RANK_AFTER = ("rank",), ("percentile",), "rank_after"
EXPLAINED = 1  # documents of each selection and reason that are explained: those with the smallest ids
PROJECTION_SEED, SAMPLED_ROWS, DIGITS = 0, 48, 12
BLOCK_TOKENS = 128
MAPPING = "change the mapping at the head of content.py"

Content = dict[str, pl.DataFrame]


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
    import golden_accept
    import golden_projects

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
        found = golden_projects.content_of(root)
    if asked.write:
        return golden_accept.write(golden_accept.HERE, name, found)
    said = golden_projects.compared(name, found)
    print(said or f"{name}: everything is as in the golden")
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
