"""The command on files that change, come, go, are bad or not finished: what follows, and the way back."""

import gzip
import json
import time

from projects import VECTORS, sentences, write_jsonl
from soundness import assert_sound, state, versions

from tamis.store.schemas import schema_of

INTAKE = ("raw_shards", "documents")


def test_a_changed_and_an_added_file_change_what_depends_on_them_and_taking_them_back_undoes_it(project):
    before = versions(project)
    original = (project.root / "landing" / "cooking.jsonl").read_text()
    write_jsonl(project.root / "landing" / "cooking.jsonl", sentences("algebra", 60, 9))
    write_jsonl(project.root / "landing" / "new.jsonl", sentences("sailing", 30, 5))
    project.tamis("materialize")
    after = versions(project)
    changed = {key for key in before if after.get(key) != before[key]}
    assert ("documents", "landing__cooking.jsonl") in changed
    assert ("selected_subset", "near-algebra") in changed
    assert ("documents", "landing__sailing.jsonl") not in changed
    found = project.json("diff", "near-algebra")
    assert (found["from"]["version"], found["to"]["version"]) == (1, 2)
    assert found["causes"]["in"]["new_document"] > 0
    assert found["counts"]["in"] == found["counts"]["out"] == 20 - found["counts"]["kept"] > 0
    assert project.store.count("documents") == project.store.count(VECTORS) == 210
    (project.root / "landing" / "cooking.jsonl").write_text(original)
    (project.root / "landing" / "new.jsonl").unlink()
    project.tamis("materialize")
    assert versions(project) == before
    for table in ("documents", VECTORS, "scores_density", "transport_algebra"):
        assert project.store.count(table) == 180
    first, _second, third = project.json("diff", "near-algebra", "--list")
    assert third["data_version"] == first["data_version"]


def test_a_removed_file_that_returns_restores_every_value(project):
    before, file = versions(project), project.root / "landing" / "cooking.jsonl"
    content = file.read_bytes()
    file.unlink()
    project.tamis("materialize", "--allow-removal", "landing")  # a third of the documents
    assert versions(project) != before
    file.write_bytes(content)
    project.tamis("materialize")
    assert versions(project) == before
    assert project.json("audit")["status"] == "green"


def test_bad_input_goes_to_quarantine_and_loses_nothing_beside_it(project):
    landing = project.root / "landing"
    good = sentences("sailing", 5, 11)
    whole = gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in good * 40).encode())
    (landing / "broken.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (landing / "latin.jsonl").write_bytes(
        json.dumps({"text": good[0]}).encode()
        + b'\n{"text": "caf\xe9 noir"}\n'
        + json.dumps({"text": good[1]}).encode()
    )
    (landing / "columns.csv").write_text("body,other\nhello,1\n")
    (landing / "empty.jsonl").write_text("")
    with (landing / "giant.jsonl").open("w") as stream:
        stream.write(json.dumps({"text": good[2]}) + "\n")
        stream.write('{"text": "' + "x" * 50_000_000 + '"}\n')
        stream.write(json.dumps({"text": good[3]}) + "\n")
    done = project.tamis("materialize")
    assert "quarantine" in done.stderr
    found = {(row["shard"], row["reason"]) for row in project.json("status")["quarantine"]}
    reasons = {shard.removeprefix("landing__").split(".")[0]: reason for shard, reason in found}
    assert reasons == {
        "broken": "broken_compression",
        "latin": "wrong_encoding",
        "columns": "missing_text_column",
        "empty": "empty_file",
        "giant": "giant_row",
    }
    store = project.store
    assert store.count("occurrences", "shard LIKE '%giant%'") == 2
    assert store.count("occurrences", "shard LIKE '%latin%'") == 2
    said = project.tamis("status").stdout
    assert "corpus landing: latin.jsonl, row 1, wrong encoding" in said
    assert "corpus landing: columns.csv (whole file), missing text column" in said
    for name in ("columns.csv", "empty.jsonl", "giant.jsonl"):
        (landing / name).unlink()
    (landing / "broken.jsonl.gz").write_bytes(whole)
    (landing / "latin.jsonl").write_text(json.dumps({"text": "caf\xe9 noir et un croissant chaud"}) + "\n")
    project.tamis("materialize", "--only", *INTAKE)
    assert project.json("status")["quarantine"] == []
    assert project.store.count("occurrences", "shard LIKE '%latin%'") == 1
    assert project.store.count("occurrences", "shard LIKE '%broken%'") == 200


def test_bad_rows_of_a_target_go_to_quarantine_and_leave_it_when_they_are_repaired(project):
    target = project.root / "target" / "algebra.jsonl"
    whole, before = target.read_text(), versions(project)
    target.write_text(whole + 'broken\n{"body": "no text here"}\n{"text": 3}\n')
    assert "target algebra: algebra.jsonl, row 60" in project.tamis("materialize").stderr
    found = project.json("status")["quarantine"]
    assert [(row["shard"], row["row"], row["reason"]) for row in found] == [
        ("target/algebra/algebra.jsonl", 60, "malformed_row"),
        ("target/algebra/algebra.jsonl", 61, "missing_text_column"),
        ("target/algebra/algebra.jsonl", 62, "non_text"),
    ]
    assert "target algebra: algebra.jsonl, row 60, malformed row" in project.tamis("status").stdout
    assert project.json("audit")["status"] == "green"
    assert versions(project) == before, "the examples are the same"
    again = state(project)
    project.tamis("materialize")
    assert state(project) == again
    project.store.replace("quarantine", schema_of("quarantine").empty_table(), "row = 61")
    assert project.json("audit", code=1)["status"] == "red", "a row that is gone is found"
    target.write_text(whole)
    project.tamis("materialize")
    assert project.json("status")["quarantine"] == []
    assert versions(project) == before
    assert_sound(project)


def test_a_file_that_is_still_being_written_waits(project):
    import threading

    growing = project.root / "landing" / "growing.jsonl"
    stop = threading.Event()

    def write():
        while not stop.wait(0.2):
            with growing.open("a") as stream:
                stream.write(json.dumps({"text": sentences("sailing", 1, int(time.time() * 1e6))[0]}) + "\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(0.5)
        project.tamis("materialize", "--only", *INTAKE)
        quarantine = project.json("status")["quarantine"]
        assert [row["reason"] for row in quarantine] == ["still_being_written"]
    finally:
        stop.set()
        writer.join()
    time.sleep(1.5)
    project.tamis("materialize", "--only", *INTAKE)
    assert project.json("status")["quarantine"] == []
    assert project.store.count("occurrences", "shard LIKE '%growing%'") > 0
