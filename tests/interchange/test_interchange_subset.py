"""An exported subset: read by polars and by Hugging Face datasets, with a card, the same bytes each time."""

import hashlib

import polars as pl
import pytest
import yaml
from projects import heads_of, manifests_of

from tamis.exporting import export_selection
from tamis.interchange.subset import SubsetFiles
from tamis.records.manifest import ManifestError


def card(path) -> str:
    return SubsetFiles.beside(path).card.read_text()


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
    assert "3 of 6 documents, chosen by the sampler got-d as the selection near" in text
    assert "| pool | 6 documents, 4 of them eligible |" in text
    assert "| not stated | 2 | 22 |" in text
    assert "| CC0-1.0 | 1 | 9 |" in text
    assert "| a\\|b | 1 |" in text
    assert "| `licences_denied` | nc* |" in text.split("## Filters")[1].split("## Licences")[0]
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
    files = SubsetFiles.beside(exported)
    for path in (files.card, files.croissant, files.openlineage, files.prov):
        assert "Text 1" not in path.read_text(), path


def test_a_broken_lineage_is_not_handed_out(project):
    folder = manifests_of(project.home)
    shard = heads_of(project.home)["raw_shards", "web__a.jsonl"]
    folder.path(shard.manifest).unlink()
    with pytest.raises(ManifestError, match="is missing"):
        export_selection(project, "near", "parquet")
    assert not project.home.exports.exists()
