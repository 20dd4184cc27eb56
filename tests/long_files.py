"""The files that take longest, with seconds of `make test`: workers begin with them.

A worker that begins a long file last is alone with it at the end. Seconds decide nothing but the order, so it
does when they are about right; a file that is not here comes after those that are. Where the goldens are left
out, the second waits neither for the small project nor for the encoder, which the first makes.
"""

ALLOWED_CPU_SECONDS: dict[str, float] = {
    "golden/test_golden_demo.py": 200,  # each builds a whole project on one thread
    "golden/test_golden_mixed.py": 200,
    "golden/test_golden_wide.py": 240,
    "golden/test_golden_open.py": 120,
    "end_to_end/test_smoke.py": 60,  # whole materializations by the command
    "end_to_end/test_user_interface.py": 60,  # a browser, a webserver and sensors
    "graph/scenarios/test_graph_held_back.py": 42,  # scenarios of several materializations each
    "graph/scenarios/test_graph_changes.py": 30,
    "graph/scenarios/test_graph_marks.py": 35,
    "graph/scenarios/test_graph_withdrawal.py": 26,  # the whole graph, and audits of all of it
    "trainer/test_trainer_trials.py": 36,  # a project whose trials a program trains, again and again
    "trainer/test_trainer_compared.py": 36,  # likewise, with comparisons of samplers
    "graph/scenarios/test_graph_debiased.py": 36,  # a second project, without the document that is withdrawn
    "tuning/test_tuning_graph.py": 30,  # a whole tuning on a command
    "tuning/test_tuning_scenarios.py": 45,  # several of them, with faults and changes
    "tuning/test_tuning_progress.py": 40,  # many tunings without a graph, by rows that are written
}
"""Files that may take more CPU time than the others (cpu_time.py), and how much."""
SECONDS: dict[str, int] = {
    "end_to_end/test_crash_safety.py": 2250,  # files before the goldens are in the long suite alone
    "end_to_end/test_ray.py": 1200,
    "graph/scenarios/test_graph_commit_points.py": 240,
    "end_to_end/test_changing_files.py": 686,
    "end_to_end/test_materialize_all.py": 590,
    "end_to_end/test_training_crashes.py": 550,
    "end_to_end/test_object_storage.py": 430,
    "docs/test_how_to.py": 200,
    "graph/scenarios/test_graph_absence.py": 90,
    "end_to_end/test_certified.py": 618,
    "end_to_end/test_damage.py": 440,
    "end_to_end/test_changes.py": 361,
    "end_to_end/test_tampering.py": 680,
    "golden/test_golden_demo.py": 309,
    "golden/test_golden_wide.py": 310,
    "golden/test_golden_mixed.py": 300,
    "golden/test_golden_open.py": 120,
    "end_to_end/test_user_interface.py": 290,
    "homes/test_homes.py": 250,
    "quality/test_endpoint_server.py": 280,  # takes 30, and is early by intent
    "end_to_end/test_smoke.py": 229,
    "engine/test_ray_results.py": 90,  # in the long suite
    "engine/test_ray_engine.py": 90,
    "tuning/test_tuning_scenarios.py": 110,
    "tuning/test_tuning_progress.py": 60,
    "tuning/test_tuning_graph.py": 50,
    "graph/scenarios/test_graph_marks.py": 90,
    "graph/scenarios/test_graph_held_back.py": 80,
    "graph/scenarios/test_graph_changes.py": 80,
    "graph/scenarios/test_graph_small_files.py": 60,
    "graph/scenarios/test_graph_tokens.py": 60,
    "graph/scenarios/test_graph_published.py": 60,
    "graph/scenarios/test_graph_export.py": 60,
    "graph/scenarios/test_graph_export_places.py": 60,
    "graph/scenarios/test_graph_backfills.py": 60,
    "graph/scenarios/test_graph_kills.py": 60,
    "graph/scenarios/test_graph_withdrawal.py": 55,
    "graph/scenarios/test_graph_current_checks.py": 50,
    "graph/scenarios/test_graph_runs.py": 50,
    "graph/scenarios/test_graph_retained.py": 50,
    "graph/scenarios/test_graph_search.py": 50,
    "test_command_line.py": 50,
    "training/test_training_retention.py": 50,
    "graph/scenarios/test_graph_aborts.py": 45,
    "graph/scenarios/test_graph_partition_failures.py": 40,
    "graph/scenarios/test_graph_set_aside.py": 40,
    "graph/scenarios/test_graph_selection_pages.py": 35,
    "graph/scenarios/test_graph_audit.py": 35,
    "graph/scenarios/test_graph_attempts.py": 35,
    "quality/test_ask_llm.py": 35,
    "training/test_training_stopping.py": 35,
    "training/test_training_stages.py": 30,
    "runtime/test_health.py": 30,
    "store/test_store_remote.py": 30,
    "store/test_store_lock.py": 30,
    "filters/test_personal_data.py": 30,
    "embedding/test_near_copies.py": 25,
    "corpus/test_near_index.py": 25,
    "corpus/test_hub_datasets.py": 25,
    "benchmarks/test_yardstick.py": 20,
}
