"""`tamis select` and the project that `tamis init --from-select` writes make the same choice."""

import polars as pl
from projects import CHOSEN, SmallProject, selection, texts, write_jsonl

from tamis.cli import main
from tamis.settings.samplers import SAMPLERS
from tamis.store.tables import quoted

FORM = {"document_flags", "form_model", "form_scores"}
ALONE = ("got-d", "got-d-debiased", "knn", "dsir", "density", "random", "got-d-rounds")
REASONS = {
    "within_budget",
    "over_budget",
    "near_duplicate",
    "contaminated",
    "keep_out",
    "target_example",
    "heuristic",
}


def test_a_project_of_the_same_call_makes_the_same_choices(tmp_path, encoder_cache, monkeypatch):
    monkeypatch.setenv("TAMIS_CACHE", str(encoder_cache))
    monkeypatch.chdir(tmp_path)
    goal, (other, *pool) = (
        texts("algebra", 100),
        (texts(topic, 25, 2) for topic in ("algebra", "cooking", "sailing")),
    )
    near = [f"{text} indeed" for text in pool[0]]
    leaks = [f"{example} and more of it than there was in the example" for example in goal[:30]]
    write_jsonl(tmp_path / "more" / "cooking.jsonl", [*pool[0], *near, "7 8 9 10 11 12 13 14 15 16 17 18 19"])
    write_jsonl(tmp_path / "pool.jsonl", [*pool[1], *texts("cooking", 12), *other[:10], *leaks, *goal[:5]])
    write_jsonl(tmp_path / "goal.jsonl", goal)
    write_jsonl(tmp_path / "exam.jsonl", [" ".join(text.split()[5:25]) for text in pool[1][:3]])
    write_jsonl(tmp_path / "other.jsonl", other[10:])
    call = ["more", "pool.jsonl", "--target", "goal.jsonl", "other.jsonl", "--budget", "20%"]
    call += ["--hold-out", "20", "--seed", "3", "--rules", "noise,form", "--keep-out", "exam.jsonl"]
    assert main(["init", "made", "--from-select", *call]) == 0
    project = SmallProject(tmp_path / "made")
    others = [selection(name, name, target="goal").replace("budget = 2", 'budget = "20%"') for name in ALONE]
    project.configure("\n".join([project.text, "[automation]\nsettle_seconds = 0.0\n", *others]))
    project.make(CHOSEN | FORM | {"kept_out", "pool_potential", "pool_potential_scores"})
    for name in ("chosen", *ALONE):
        more = ["--sampler", name] if name != "chosen" else []
        assert main(["select", *call, *more, "-o", "out.jsonl", "--decisions", "why.jsonl"]) == 0
        stored = project.store.read("decisions", where=f"selection = {quoted(name)}").sort("doc_id")
        found = pl.read_ndjson("why.jsonl", infer_schema_length=None).sort("doc_id")
        assert {*stored["reason"]} >= REASONS
        for column in ("doc_id", "verdict", "reason", "rank", "duplicate_of", "detail"):
            assert found[column].to_list() == stored[column].to_list(), (name, column)
        scores = SAMPLERS[name if more else "got-d"].score_columns
        if len(scores) == 1:
            assert (found["score"] - stored[scores[0]]).drop_nulls().abs().max() < 1e-6
    project.reconfigure("held_out = 20", "held_out = 0")
    project.make({"target_examples", "contamination"})
    assert project.store.count("contamination") == project.store.count("contamination_runs") == 0
