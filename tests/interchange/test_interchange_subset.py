"""An exported subset: read by polars and by Hugging Face datasets, with a card, the same bytes each time."""

import hashlib
import json
import math

import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import DECISIONS, DOCUMENTS, project_of
from projects import heads_of, manifests_of, rows_of

from tamis.exporting import export_selection
from tamis.graph import trial_data
from tamis.history.explain import explain_document, explanation_lines
from tamis.history.versions import decisions_of, read_versions
from tamis.interchange.subset import SubsetFiles
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.records.published import find_published, read_decisions
from tamis.training.storing import record_training_documents


def card(path) -> str:
    return SubsetFiles.of(path).card.read_text()


def test_datasets_and_polars_read_the_same_rows(exported, tmp_path):
    import datasets

    loaded = datasets.load_dataset(
        "parquet", data_files=str(exported), split="train", cache_dir=str(tmp_path / "cache")
    )
    frame = pl.read_parquet(exported)
    assert loaded.to_list() == frame.to_dicts()
    assert frame["text"].to_list() == ["Text 0.", "Text 1.ä", "Text 4.ääää"]


def test_the_same_selection_gives_the_same_bytes(project):
    def files(form: str) -> dict[str, bytes]:
        path = export_selection(project, "near", form).path
        return {file.name: file.read_bytes() for file in path.parent.iterdir()}

    first = files("parquet")
    assert sorted(first) == [
        "near.card.md",
        "near.croissant.json",
        "near.openlineage.jsonl",
        "near.parquet",
        "near.prov.json",
    ]
    again = {name: content for name, content in files("parquet").items() if name in first}
    assert again == first


def test_the_card_tells_counts_licences_sources_filters_and_scores(exported):
    text = card(exported)
    assert "3 of 6 documents, chosen by the sampler got-d for the selection near" in text
    assert "| pool | 6 documents, 4 of them eligible |" in text
    assert "| not stated | 2 | 22 |" in text
    assert "| CC0-1.0 | 1 | 9 |" in text
    assert "| a\\|b | 1 |" in text
    assert "| `licences_denied` | `nc*` |" in text.split("## Filters")[1].split("## Licences")[0]
    assert "| heuristic (gopher_word_count) | 1 |" in text
    assert "### transport_gradient" in text
    assert hashlib.sha256(exported.read_bytes()).hexdigest() in text
    histogram = text.split("```text")[1].split("```")[0].strip().splitlines()[1:]
    counts = [[int(word) for word in line.split()[2:4]] for line in histogram]
    assert (len(counts), *map(sum, zip(*counts, strict=True))) == (20, 6, 3)


def test_the_head_of_the_card_tells_a_hub_how_to_load_the_file(exported):
    value = yaml.safe_load(card(exported).split("---")[1])
    assert value == {
        "pretty_name": "near",
        "configs": [{"config_name": "default", "data_files": "near.parquet"}],
    }


def test_no_description_holds_text_of_a_document(exported):
    files = SubsetFiles.of(exported)
    for path in (files.card, files.croissant, files.openlineage, files.prov):
        assert "Text 1" not in path.read_text(), path


def test_a_broken_lineage_is_not_handed_out(project):
    folder = manifests_of(project.home)
    shard = heads_of(project.home)["raw_shards", "web__a.jsonl"]
    folder.path(shard.manifest).unlink()
    with pytest.raises(ManifestError, match="is missing"):
        export_selection(project, "near", "parquet")
    assert not project.home.exports.exists()


def test_how_often_a_document_is_in_the_training_set_is_exported_explained_and_trained(repeating):
    path = export_selection(repeating, "near", "parquet").path
    assert pl.read_parquet(path)["training_count"].to_list() == [1, 3, 1]
    description = json.loads(SubsetFiles.of(path).croissant.read_text())
    fields = {one["name"]: one["description"] for one in description["recordSet"][0]["field"]}
    assert fields["training_count"] == "How many times the document is in the training set."
    text = card(path)
    assert (
        "| training set | 5 documents: the trainer must repeat each document `training_count` times" in text
    )
    sizes = {row["doc_id"]: math.ceil(row["n_bytes"] / 4) for row in DOCUMENTS}
    chosen = [f"d{number:031x}" for number in (0, 1, 1, 1, 4)]
    assert f"about {sum(sizes[doc_id] for doc_id in chosen)} tokens" in text

    store = repeating.home.store
    lines = "\n".join(explanation_lines(explain_document(repeating.home, chosen[1])))
    assert "near: selected, within budget, 3 times in the training set" in lines

    stage = trial_data._selected(repeating, heads_of(repeating.home), "near")
    assert sorted(stage.doc_ids) == sorted(set(chosen))
    assert sorted(stage.examples) == sorted(["Text 0.", *["Text 1.ä"] * 3, "Text 4.ääää"])
    record_training_documents(store, "trial", {"near": stage.doc_ids}, stage.repeated)
    counts = dict(store.read("trained_on", ["doc_id", "training_count"]).iter_rows())
    assert counts == {chosen[0]: None, chosen[1]: 3, chosen[4]: None}
    lines = "\n".join(explanation_lines(explain_document(repeating.home, chosen[1])))
    assert "trial was trained on this document, 3 times, as part of near" in lines


def test_without_repetition_nothing_is_said_of_it(project, exported):
    assert "training_count" not in pl.read_parquet(exported).columns
    assert "training" not in card(exported).split("## How")[0]
    stage = trial_data._selected(project, heads_of(project.home), "near")
    assert stage.examples == ["Text 0.", "Text 1.ä", "Text 4.ääää"]
    assert stage.repeated == {}


def test_decisions_kept_before_a_column_was_introduced_are_read(project):
    store, folder = project.home.store, ManifestFolder.of(project.home)
    found = find_published(heads_of(project.home), folder, "near")
    path = folder.kept_path(found.rows)
    whole = read_decisions(store, folder, found)
    pq.write_table(pq.read_table(path).drop_columns(["budget_group", "training_count"]), path)
    store.delete("decisions", "selection = 'near'")  # so that only the file has them
    assert read_decisions(store, folder, found).equals(whole)
    (version,) = read_versions(store, "near")
    assert len(decisions_of(project.home, version)) == len(whole)


def test_a_licence_is_that_of_the_first_place_that_states_one(project):
    more = [
        {"doc_id": DOCUMENTS[0]["doc_id"], "shard": "web__b.jsonl", "row": row, "licence": licence}
        for row, licence in ((9, None), (10, "mit"), (11, "apache"))
    ]
    project.home.store.append("occurrences", rows_of("occurrences", more))
    path = export_selection(project, "near", "parquet").path
    first = pl.read_parquet(path).row(0, named=True)
    assert (first["shard"], first["licence"]) == ("web__a.jsonl", "mit")
    assert [one["licence"] for one in first["other_origins"]] == [None, "mit", "apache"]
    assert "| mit | 1 |" in card(path)


def test_a_detail_of_a_reason_leaves_the_table_of_the_card_whole(tmp_path):
    decisions = [
        row | {"detail": "a|b" if row["reason"] == "over_budget" else row["detail"]} for row in DECISIONS
    ]
    text = card(export_selection(project_of(tmp_path, decisions), "near", "parquet").path)
    assert "| over budget (a\\|b) | 1 |" in text


def test_the_lineage_lists_the_files_of_each_format_that_are_of_the_same_choice(project):
    exports = project.home.exports

    def listed() -> set[str]:
        described = json.loads((exports / "near.prov.json").read_text())
        return {one["prov:label"] for key, one in described["entity"].items() if key.startswith("file:")}

    for form in ("parquet", "jsonl", "parquet"):
        export_selection(project, "near", form)
    assert listed() == {"near.parquet", "near.jsonl"}
    (exports / "near.jsonl").unlink()
    export_selection(project, "near", "parquet")
    assert listed() == {"near.parquet"}
    (exports / "near.jsonl").write_text("")
    (exports / "near.prov.json").write_text("{")
    export_selection(project, "near", "parquet")
    assert listed() == {"near.parquet"}
