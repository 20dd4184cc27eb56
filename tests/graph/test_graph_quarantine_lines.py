"""Lines on quarantine name the noted corpus, also of files that are gone or that a stage set aside."""

from projects import corpus, plain_project, rows_of, settings

from tamis.corpus.quarantine import place_of
from tamis.corpus.shards import shard_key
from tamis.corpus.targets import place_in_target
from tamis.scan.quarantine import quarantine_lines


def test_a_line_names_the_corpus_that_was_noted_and_the_file(tmp_path):
    """The key of a file does not say a corpus with a separator in its name."""
    names = settings(corpus(), corpus("web__en", "english"))
    project = plain_project(tmp_path, names, {"documents/a.jsonl": "", "english/b.jsonl": ""})
    there, gone = shard_key("web__en", "b.jsonl"), shard_key("web__en", "gone.jsonl")
    project.store.append("shard_files", rows_of("shard_files", [{"shard": gone, "corpus": "web__en"}]))
    places = ["web__a.jsonl", there, gone, place_of("embeddings", "web__a.jsonl")]
    places += [place_of("embeddings", f"web:notes/{there}"), place_of("target_embeddings", "goal")]
    places.append(place_in_target("goal", "x.jsonl"))
    rows = [
        {"shard": place, "row": number, "reason": "no_vector", "detail": "", "excerpt": ""}
        for number, place in enumerate(places)
    ]
    said = {line.split(", ")[0] for line in quarantine_lines(rows, project.snapshot)}
    assert said == {
        "corpus web: a.jsonl",
        "corpus web__en: b.jsonl",
        f"corpus web__en: {gone.removeprefix('web__en__')}",
        "stage target_embeddings: goal",
        "target goal: x.jsonl",
    }


def test_documents_that_a_stage_set_aside_are_counted_and_no_empty_names_are_listed(tmp_path):
    project = plain_project(tmp_path, settings(corpus()), {"documents/a.jsonl": ""})
    rows = [
        {"shard": place_of("judge_scores"), "row": row, "reason": "judge_refused", "detail": detail}
        for row, detail in enumerate(["document 1: cut off", "document 2: empty", "document 3: empty"])
    ]
    assert quarantine_lines(rows, project.snapshot) == [
        "stage judge_scores: 3 documents, judge refused: the first: document 1: cut off"
    ]
    (line,) = quarantine_lines([{**rows[0], "reason": "", "detail": ""}], project.snapshot)
    assert line == "stage judge_scores: 1 document, no reason given: no cause was noted"
