"""An exported subset: read by polars and by Hugging Face datasets, with a card, the same bytes each time."""

import base64
import errno
import hashlib
import json
import math

import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml
from made_exports import DECISIONS, DOCUMENTS, SHARDS, project_of
from projects import heads_of, manifests_of, rows_of

from tamis.corpus import Shard, read_shard
from tamis.graph import trial_data
from tamis.history.explain import explain_document, explanation_lines
from tamis.history.versions import decisions_of, read_versions
from tamis.interchange import subset
from tamis.interchange.subset import SubsetFiles
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.records.published import find_published, read_decisions
from tamis.settings.config import CorpusSection
from tamis.store.exports import DESCRIPTIONS, rows_in_folder
from tamis.training.storing import record_training_documents
from tamis.verbs.elsewhere.export import ExportPathError, Extras, IncompleteSelectionError, export_selection


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


def test_the_card_counts_shards_and_sources_as_the_pages_do(tmp_path):
    """Each of many small files is a shard of its own there, and a source, for nobody."""
    project = project_of(tmp_path, DECISIONS)
    store = project.home.store
    store.delete("occurrences", "true")
    notes = [
        {"shard": f"web__notes_{n}.txt", "part_of": "web:notes:", "name": f"notes/{n}.txt"} for n in range(6)
    ]
    more = {"corpus": "web", "version": "1", "reading": "1", "rows": 1}
    store.append("grouped_files", rows_of("grouped_files", [note | more for note in notes]))
    places = [
        {"doc_id": row["doc_id"], "shard": note["shard"], "row": 0, "source": note["name"]}
        for row, note in zip(DOCUMENTS, notes, strict=True)
    ]
    store.append("occurrences", rows_of("occurrences", places))
    path = export_selection(project, "near", "parquet").path
    text = card(path)
    assert "| shards | 1 |" in text
    assert "| notes/ | 3 |" in text
    assert "notes/0.txt" not in text
    assert pl.read_parquet(path)["source"].to_list() == ["notes/0.txt", "notes/1.txt", "notes/4.txt"]


SCORED = Extras(scores=True)


@pytest.mark.parametrize("form", ["parquet", "jsonl", "hf"])
def test_scores_of_all_documents_are_exported(project, form):
    done = export_selection(project, "near", form, extras=SCORED)
    assert done.path.name == f"near.scores.{form}"
    assert done.documents == 6
    rows = rows_in_folder(done.path) if form == "hf" else done.path
    frame = pl.read_ndjson(rows) if form == "jsonl" else pl.read_parquet(rows)
    assert frame["doc_id"].to_list() == [f"d{n:031x}" for n in (0, 1, 4, 2, 3, 5)]
    assert frame["verdict"].to_list() == ["selected"] * 3 + ["rejected"] * 3
    assert frame["reason"].to_list()[3:] == ["over_budget", "heuristic", "near_duplicate"]
    assert frame["detail"].to_list() == [None] * 4 + ["gopher_word_count", None]
    assert frame["transport_gradient"].to_list() == [0.0, 0.25, 1.0, 0.5, 0.75, 1.25]
    assert frame["text"].to_list()[3] == "Text 2.ää"
    assert "quality" not in frame.columns, "the sampler did not use it"
    text = card(rows)
    assert "3 of 6 documents, chosen" in text
    assert "all documents of the pool, the chosen ones first" in text
    described = json.loads(SubsetFiles.of(rows).croissant.read_text())
    assert described["distribution"][0]["description"].endswith("then all others of the pool.")
    fields = {one["name"]: one["dataType"] for one in described["recordSet"][0]["field"]}
    assert (fields["verdict"], fields["transport_gradient"]) == ("sc:Text", "sc:Float")


def test_with_scores_how_often_a_document_is_trained_on_is_null_for_others(repeating):
    path = export_selection(repeating, "near", "parquet", extras=SCORED).path
    assert pl.read_parquet(path)["training_count"].to_list() == [1, 3, 1, None, None, None]


def test_rejected_documents_that_left_are_counted_and_chosen_ones_refuse(project):
    store = project.home.store
    store.delete("documents", f"doc_id = 'd{5:031x}'")
    done = export_selection(project, "near", "jsonl", extras=SCORED)
    assert done.documents == 5
    assert done.notes[-1] == "documents that have left the corpora since, and are not exported: 1"
    store.delete("documents", f"doc_id = 'd{0:031x}'")
    with pytest.raises(IncompleteSelectionError):
        export_selection(project, "near", "jsonl", extras=SCORED)


def test_a_file_elsewhere_is_written_alone(project, tmp_path):
    exports, folder = project.home.exports, tmp_path / "elsewhere"
    folder.mkdir()
    for _ in range(2):  # what an export has written, another one replaces
        done = export_selection(project, "near", "jsonl", output=folder / "train.jsonl")
        assert [one.name for one in folder.iterdir()] == ["train.jsonl"]
        assert done.card == exports / "train.card.md"
    described = json.loads((exports / "train.croissant.json").read_text())["distribution"][0]
    assert described["contentUrl"] == "train.jsonl"
    assert described["sha256"] == hashlib.sha256(done.path.read_bytes()).hexdigest()
    assert sorted(one.suffix for one in exports.iterdir()) == [".json", ".json", ".jsonl", ".md"]

    ours = export_selection(project, "near", "parquet")
    before = card(ours.path)
    done = export_selection(project, "near", "parquet", output=folder / "near.parquet")
    assert done.card == exports / "near.elsewhere.card.md"
    assert card(ours.path) == before

    export_selection(project, "near", "jsonl", output=folder / "two.jsonl", extras=Extras(card=True))
    assert {one.name for one in folder.glob("two.*")} == {
        "two.jsonl",
        *(f"two{ending}" for ending in DESCRIPTIONS),
    }


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_file_of_others_is_not_replaced(project, tmp_path, form):
    path = tmp_path / f"mine.{form}"
    if form == "jsonl":
        path.write_text('{"id": 1, "doc_id": "d"}\n')
    else:
        pl.DataFrame({"id": [1], "doc_id": ["d"]}).write_parquet(path)
    before = path.read_bytes()
    with pytest.raises(ExportPathError, match="was not written by an export"):
        export_selection(project, "near", form, output=path)
    assert path.read_bytes() == before
    assert not project.home.exports.exists()
    path.write_bytes(b"")
    if form == "jsonl":
        assert export_selection(project, "near", form, output=path).documents == 3


def test_a_file_is_written_where_the_home_is_read_only(project, tmp_path, monkeypatch):
    def refused(path, content):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(subset, "write_atomically", refused)
    done = export_selection(project, "near", "jsonl", output=tmp_path / "out" / "train.jsonl")
    assert len(done.path.read_text().splitlines()) == 3
    assert done.card is None
    assert "with --with-card it is written next to the file" in done.notes[-1]


def test_classes_and_images_of_saved_datasets_come_out_again(project, tmp_path):
    import datasets

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "kind": datasets.ClassLabel(names=["ham", "spam"]),
            "image": datasets.Image(),
        }
    )
    pixel = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    rows = {"text": ["a", "b"], "kind": [1, 0], "image": [{"bytes": pixel, "path": None}] * 2}
    saved = tmp_path / "saved"
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(saved))
    (file,) = saved.glob("*.arrow")
    shard = Shard(corpus="web", name="a.arrow", key=SHARDS[0], kind="file", path=file)
    (batch,) = read_shard(shard, CorpusSection(name="web", kind="files", path="."))
    kept = [{"doc_id": "", "row": -1, "content": batch.heading}]
    kept += [
        {"doc_id": DOCUMENTS[2 * row]["doc_id"], "row": row, "content": content}
        for row, content in enumerate(batch.documents["content"])
    ]
    project.home.store.append("kept_rows", rows_of("kept_rows", [{"shard": SHARDS[0]} | one for one in kept]))
    for form in ("parquet", "hf"):
        path = export_selection(project, "near", form).path
        named = {"path": "parquet", "data_files": str(path)} if form == "parquet" else {"path": str(path)}
        loaded = datasets.load_dataset(**named, split="train", cache_dir=str(tmp_path / form))
        assert loaded.features["kind"] == features["kind"]
        assert loaded.features["image"] == features["image"]
        assert loaded["kind"] == [1, None, None]
        assert loaded[0]["image"].size == (1, 1)
        some = export_selection(project, "near", form, ["text", "kind"]).path
        assert some == path
