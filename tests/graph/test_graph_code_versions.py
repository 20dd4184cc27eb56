"""Code versions are raised by a person's decision: what a method consists of may not change unnoticed.

The digest of a method is over the definitions that its public functions reach by names (reached_code.py).
When it changes, decide: raise the method's code version if results change (everything made with it is made
again), or not if they stay the same, and then note the new digest with `make accept`, which builds the
goldens first and refuses where values differ that the commit does not name (tests/golden).
"""

import importlib
import json
from pathlib import Path

import pytest
from reached_code import CHECKOUT, Definition, digest, product, reached

NOTED = Path(__file__).with_name("code_digests.json")
# An engine runs what the methods give it: same results on every one (tests/engine).
ENGINE = ("engine", *(f"engine.{name}" for name in ("current", "errors", "local", "ray_cluster", "ray_engine",
          "ray_pool", "ray_worker")))  # fmt: skip
# Settings and declarations of stages reach a result through its input key, not through the code that reads
# them; the columns of tables are in the goldens.
WITHOUT_RESULTS = {
    f"tamis.{name}"
    for name in (
        "base.progress",
        "base.errors",
        "settings.config",
        "settings.references",
        "settings.sections",
        "project",
        "base.loading",
        "base.imports",
        "base.precision",
        "base.declared",
        "stage",
        "verbs.elsewhere.load",  # reached as `tamis.load` is public: it reads results and makes none
        *ENGINE,
    )
} | {
    f"tamis.{path.parent.name}.{path.stem}"
    for name in ("stage", "control")
    for path in (CHECKOUT / "tamis").glob(f"*/{name}.py")
}
METHODS = {
    # method: (where its code version is, the public functions and classes that its results are computed by)
    "corpus": (
        "tamis.corpus:CODE_VERSION",
        "COMPRESSIONS NAMES ROWS_READ TargetShrunkError WITHOUT_FILES count_documents delete_orphans "
        "estimate_rows few_examples files_below files_of_target find_orphans fingerprint_target "
        "forget_all_refused forget_refused group_intake group_of_files group_version grouped "
        "groups_of_shards intake.texts_of is_left_out is_settled label_warnings leads_nowhere leaves_out "
        "looking.look_at mostly_shared native near_groups near_repeat_lines note_refused odd_value_lines "
        "paths_of_files place_of_files place_of_target places_at_first quarantine_of_target "
        "read_files_of_group read_small_files read_target remove_shards require_labels "
        "require_target_outside rows_of_examples rows_told_apart "
        "show_refused show_rows split_pair split_target stated_licence store_shards stored_near_repeats "
        "stored_sources target_links_out target_of_place targets.set_aside turns_of "
        "update_near_duplicates",
    ),
    "near_duplicates": (
        "tamis.duplicates.near_duplicates:CODE_VERSION",
        "mostly_shared near_duplicate_groups update_near_duplicates",
    ),
    "near_copies": ("tamis.embedding.near_copies:CODE_VERSION", "update_near_copies"),
    "embedding": (
        "tamis.embedding:CODE_VERSION",
        "embed_missing encoded_examples layout.principal_components load_encoder neighbour_layout "
        "neighbours_kept put_example_vectors require_different_vectors unknown_lines update_near_copies",
    ),
    "row_vectors": (
        "tamis.embedding.identity:COLUMN_CODE_VERSION",
        "read_row_vectors take_vectors update_row_vectors vectors_of_examples",
    ),
    "transport": (
        "tamis.transport:CODE_VERSION",
        "PoolScoring RIVALS calibrate contrast counts_by_estimate current_potential distances_to "
        "exact_coupling find_gaps join leave nearest_domains read_gaps save_potential score_pool score_range "
        "select_in_rounds solve_and_score target_vectors",
    ),
    "pool_potential": (
        "tamis.transport:POOL_CODE_VERSION",
        "OwnScoring current_pool_potential debiased_scores",
    ),
    "gaps": ("tamis.transport:GAPS_CODE_VERSION", "find_gaps"),
    "coverage": (
        "tamis.coverage:CODE_VERSION",
        "build_sketch draw_report inverse_propensity_sample score_density semantic_redundancy",
    ),
    "quality": (
        "tamis.quality:CODE_VERSION",
        "AskLLM RememberingJudge active.candidates check_judge choose_actively configured_judge "
        "grade_documents grader_of_sample grader_report mark_in_words mark_of_judge median_answer_mass "
        "planted_noise read_features read_visible sample_of_pool set_unanswered_aside",
    ),
    "second_asking": (
        "tamis.quality.second_asking:CODE_VERSION",
        "ask_again asked_again margins_again noise_ceiling",
    ),
    "grader": ("tamis.quality.grader:GRADER_CODE_VERSION", "fit_grader grader_features surface_features"),
    "topics": ("tamis.topics:CODE_VERSION", "read_names topic_names update_topics"),
    "scores": (
        "tamis.scores:CODE_VERSION",
        "as_log_odds as_quality best_first read_score score_lines update_column_scores",
    ),
    "classifier_scores": (
        "tamis.scores.classifier:CLASSIFIER_CODE_VERSION",
        "Classifier classifier_mark update_classifier_scores",
    ),
    "plugin_scores": (
        "tamis.scores:PLUGIN_CODE_VERSION",
        "SET_ASIDE_IN missing_answers update_plugin_scores",
    ),
    "token_counts": ("tamis.tokens:CODE_VERSION", "count_missing"),
    "filters": (
        "tamis.filters:CODE_VERSION",
        "broken_heuristic flag_documents forbidden_by_licence forbidden_by_source repeated_share "
        "too_much_personal_data wrong_language",
    ),
    "form": (
        "tamis.filters:FORM_CODE_VERSION",
        "broken_goal_lines read_form score_form unseen_among unusual_statistics update_form_model",
    ),
    "selection": (
        "tamis.selection:CODE_VERSION",
        "FILES_LOST SENTENCES allocate changes compare_samplers configured_paper_samplers corpora_lost "
        "deciding_score evidence_for files_lost form_lines group_shares in_words judge_scorer judged_form "
        "leaking mean_margin method_scores name_set_aside path_scorer perplexity_scorer changes.repeated "
        "choose_documents pool.candidates pool.groups pool.with_texts selection_digest serving_of "
        "stored_count tokens_of training_order unknown_language_lines update_contamination "
        "where_lines",
    ),
    "keep_out": (
        "tamis.selection:KEEP_OUT_CODE_VERSION",
        "benchmark_lines benchmark_warnings fingerprint_benchmark read_benchmark require_benchmark_outside "
        "update_kept_out",
    ),
    "serving": ("tamis.selection:SERVING_CODE_VERSION", "serving_of"),
    "training": (
        "tamis.training:CODE_VERSION",
        "OF_TARGETS add_metrics aliased_checkpoints count_parameters failure_noted find_run forget_failures "
        "log_trial mark_removed preset_shape pretrain pretraining_documents read_trial "
        "record_training_documents register_checkpoint registered_manifests require_experiment "
        "require_tracker score_perplexity train_measured train_tokenizer train_trial training_metadata "
        "trial_content trial_data trial_metadata trial_run without_refused",
    ),
    "comparison": (
        "tamis.comparison:CODE_VERSION",
        "SubmittedBatch all_runs analyse checkpoint_of claims.sentences erase_batches keep_scores plan_batch "
        "runs_of score_runs stored_report train_batch",
    ),
    "tuning": (
        "tamis.tuning:CODE_VERSION",
        "UnknownSizeError basis_of goal_of recipes_of seconds_of_choosing tuning.runs.Progress "
        "tuning.runs.record_run",
    ),
    "mixture_gain": (
        "tamis.tuning:GAIN_CODE_VERSION",
        "GainTest gain_runs_in_words record_gain_run",
    ),
    "controls": (
        "tamis.evaluation:CODE_VERSION",
        "draw_control fingerprint_control paired_losses read_control require_control_outside "
        "update_control_losses",
    ),
    "evaluation": (
        "tamis.evaluation:EVALUATION_CODE_VERSION",
        "evaluate_checkpoint evaluate_once evaluation_key forget_evaluation paired.Difference paired_scores "
        "store_scores",
    ),
    "scaling": (
        "tamis.scaling:CODE_VERSION",
        "BudgetedSearch CLEAR SPENT TOO_SMALL accept_then_stop choice.trust choose_models "
        "could_be_as_good curves_table model_size_scores reports_of_curves searched.UNKNOWN "
        "searched.sentences",
    ),
    "mixture": (
        "tamis.mixture:CODE_VERSION",
        "WARNED_BELOW agreement fit_losses law_rows method_rows recommend with_larger_runs",
    ),
    "mixture_runs": (
        "tamis.mixture.swarm:SWARM_CODE_VERSION",
        "design drawn_from losses measuring_content read_run read_swarm run_content run_documents "
        "source_of_documents spread_over_ranks train_run unmeasured usable_documents write_larger "
        "write_swarm",
    ),
    "sql": ("tamis.sql.project:CODE_VERSION", "column_lineage load.load_project pin_tables run_model"),
}
NOT_REACHED = {
    # Of the modules of methods, what their results are not computed by.
    "__all__": "says what is public",
    "CODE_VERSION": "noted next to the digest",
    "trained_by": "read from an answer, for pages and exports",
    "as_selection": "likewise",
    "GAPS_CODE_VERSION": "likewise",
    "POOL_CODE_VERSION": "likewise",
    "GRADER_CODE_VERSION": "likewise",
    "SERVING_CODE_VERSION": "likewise",
    "SWARM_CODE_VERSION": "likewise",
    "GAIN_CODE_VERSION": "likewise",
    "KEEP_OUT_CODE_VERSION": "likewise",
    "PLUGIN_CODE_VERSION": "likewise",
    "EVALUATION_CODE_VERSION": "likewise",
    "REPORT_CODE_VERSION": "likewise",
    "is_said_by_keys": "asked where input keys are made (stage.py)",
    "SOURCES_AS_COUNTED": "part of input keys (stage.py)",
    "MEASURES": "of filters: names of columns, which the goldens hold (stage.py)",
    "_ORDER_MEASURES": "likewise",
    "PLACE": "of filters: columns that a store is asked for",
    "texts_in_pool": "counted for a warning",
    "find_near_duplicates": "all at once, for benchmarks; the graph updates",
    "classify": "labels of texts, for tests; the graph counts right answers",
    "log_registered": "tells MLflow of a checkpoint that was trained elsewhere",
    "mark_forgotten": "likewise",
    "REGISTERED": "tag of such a run",
    "CONTENT": "likewise",
    "without_example": "hides what a line of status quotes",
    "_QUOTED": "likewise",
    "counted": "writes word_pairs.npz, whose bytes are in the digest",
    "write": "likewise",
}


def roots(method: str) -> list[Definition]:
    """The definitions that a method's list names: "name", or "module.name" where several have it."""
    return [meant(name) for name in METHODS[method][1].split()]


def meant(name: str) -> Definition:
    """The one definition of the package that a name means."""
    module, _, own = name.rpartition(".")
    found = [
        (one, own)
        for one in product().files
        if f".{one}".endswith(f".{module}" if module else "") and own in product().module(one).defined
    ]
    assert len(found) == 1, f"{name} is defined in {[one for one, _ in found]}; METHODS needs one"
    return found[0]


def digest_of(method: str) -> str:
    return digest(product(), reached(product(), roots(method), frozenset(WITHOUT_RESULTS)))


def version_of(where: str) -> str:
    module, name = where.split(":")
    return str(getattr(importlib.import_module(module), name))


def code_now() -> dict[str, dict[str, str]]:
    """Code version and digest of every method; `make accept` notes them (tests/golden/golden_accept.py)."""
    return {
        method: {"version": version_of(where), "digest": digest_of(method)}
        for method, (where, _names) in METHODS.items()
    }


@pytest.mark.parametrize("method", METHODS)
def test_a_change_of_code_was_decided_about(method):
    where, _names = METHODS[method]
    noted = json.loads(NOTED.read_text()) if NOTED.exists() else {}
    now = {"version": version_of(where), "digest": digest_of(method)}
    advice = f"the code of {method} changed: raise {where} if results change; then `make accept`"
    assert noted.get(method) == now, advice


def test_all_that_a_method_has_is_reached_or_named_here():
    """Of the packages that code versions stand in, and of the modules that one of its own is for."""
    everything = frozenset().union(
        *(reached(product(), roots(method), frozenset(WITHOUT_RESULTS)) for method in METHODS)
    )
    packages = {where.partition(":")[0] for where, _names in METHODS.values()}
    missing = {
        name
        for module in product().files
        if module not in WITHOUT_RESULTS and (module in packages or module.rpartition(".")[0] in packages)
        for name in product().module(module).defined
        if (module, name) not in everything
    }
    assert missing - {*NOT_REACHED} == set()
    assert {*NOT_REACHED} - missing == set(), "reached, or gone"
