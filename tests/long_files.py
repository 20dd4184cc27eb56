"""The files that take longest, with seconds of `make test`: workers begin with them.

A worker that begins a long file last is alone with it at the end. Seconds decide nothing but the order, so it
does when they are about right; a file that is not here comes after those that are. The fourth waits
neither for the small project nor for the encoder, which the first workers make.
"""

ALLOWED_CPU_SECONDS: dict[str, float] = {
    "golden/test_golden_demo.py": 200,  # each builds a whole project on one thread
    "golden/test_golden_mixed.py": 200,
    "end_to_end/test_smoke.py": 80,  # whole materializations by the command
    "end_to_end/test_user_interface.py": 60,  # a browser, a webserver and sensors
    "graph/test_graph_held_back.py": 60,  # scenarios of several materializations each
    "graph/test_graph_kills.py": 45,
    "graph/test_graph_changes.py": 40,
    "graph/test_graph_withdrawal.py": 40,
    "graph/test_graph_audit.py": 35,
    "graph/test_graph_runs.py": 30,  # every run of the sensors for two arrivals
    "graph/test_graph_marks.py": 35,
    "graph/test_graph_retained.py": 30,
    "graph/test_graph_search.py": 40,  # fits scaling laws some hundred times
    "quality/test_endpoint_process.py": 40,  # a real model behind a server
}
"""Files that may take more CPU time than the others (cpu_time.py), and how much."""
SECONDS: dict[str, int] = {
    "end_to_end/test_changing_files.py": 686,  # this one and the next four are in the long suite alone
    "end_to_end/test_certified.py": 618,
    "end_to_end/test_damage.py": 440,
    "end_to_end/test_changes.py": 361,
    "end_to_end/test_tampering.py": 317,
    "golden/test_golden_demo.py": 309,
    "golden/test_golden_mixed.py": 300,
    "end_to_end/test_user_interface.py": 290,
    "quality/test_endpoint_process.py": 280,  # takes 167, and is the fourth by intent
    "end_to_end/test_smoke.py": 229,
    "engine/test_ray_results.py": 90,
    "graph/test_graph_changes.py": 192,
    "graph/test_graph_audit.py": 145,
    "graph/test_graph_search.py": 136,
    "graph/test_graph_kills.py": 130,
    "training/test_training_retention.py": 98,
    "graph/test_graph_unchanged.py": 91,
    "graph/test_graph_marks.py": 90,
    "graph/test_graph_withdrawal.py": 90,
    "quality/test_ask_llm.py": 72,
    "training/test_training_stopping.py": 70,
    "embedding/test_near_copies.py": 66,
    "filters/test_personal_data.py": 64,
    "engine/test_ray_engine.py": 60,
    "training/test_training_stages.py": 52,
    "graph/test_graph_blocked.py": 49,
    "resources/test_health.py": 47,
    "corpus/test_near_index.py": 44,
    "report/test_report_scaling.py": 41,
    "corpus/test_corpus_bad_input.py": 32,
    "store/test_store_remote.py": 31,
    "benchmarks/test_yardstick.py": 29,
    "golden/test_golden_accept.py": 28,
    "corpus/test_hub_datasets.py": 27,
}
