"""The files that take longest, with seconds of the fast suite beside other work: workers begin with them.

A worker that begins a long file last is alone with it at the end. Seconds decide nothing but the order, so it
does when they are about right; a file that is not here comes after those that are. The second is
one that waits neither for the small project nor for the encoder, which the first worker makes meanwhile.
"""

SECONDS: dict[str, int] = {
    "end_to_end/test_changing_files.py": 686,
    "quality/test_endpoint_process.py": 620,  # takes 94, and is the second by intent
    "end_to_end/test_certified.py": 618,
    "end_to_end/test_materialize.py": 459,
    "end_to_end/test_damage.py": 440,
    "end_to_end/test_changes.py": 361,
    "end_to_end/test_tampering.py": 317,
    "end_to_end/test_quality_run.py": 306,
    "end_to_end/test_postgresql.py": 297,
    "end_to_end/test_filters.py": 252,
    "end_to_end/test_sampler_comparison.py": 204,
    "end_to_end/test_full_disk.py": 180,
    "end_to_end/test_two_at_once.py": 149,
    "end_to_end/test_trial_budget.py": 131,
    "end_to_end/test_user_interface.py": 128,
    "end_to_end/test_reselection_for_real.py": 118,
    "test_documentation.py": 103,
    "end_to_end/test_withdrawal.py": 57,
    "quality/test_ask_llm.py": 55,
    "training/test_training_stopping.py": 54,
    "lineage/test_lineage_search.py": 53,
    "resources/test_health.py": 46,
    "engine/test_ray_results.py": 38,
    "end_to_end/test_object_storage.py": 33,
    "training/test_training_retention.py": 32,
    "training/test_training_stages.py": 28,
    "engine/test_ray_engine.py": 26,
    "corpus/test_hub_datasets.py": 26,
    "filters/test_personal_data.py": 25,
}
