"""Which source a document is of."""

from projects import rows_of

from tamis.corpus.shards import Shard
from tamis.mixture.sources import source_of_documents
from tamis.settings.training_sections import MixtureSection
from tamis.store.tables import Store


def test_corpora_whose_names_hold_the_separator_of_keys_are_sources_of_their_own(tmp_path):
    store = Store(tmp_path / "lance")
    corpora = {"a__x__one": "a__x", "a__y__one": "a__y", "b__one": "b"}
    files = {
        key: Shard(corpus=corpus, name="one", key=key, kind="file", path=tmp_path / key)
        for key, corpus in corpora.items()
    }
    ids = {key: str(n) * 32 for n, key in enumerate([*corpora, "gone__one"])}
    sizes = {"text": "a text", "n_chars": 6, "n_bytes": 6}
    store.append("documents", rows_of("documents", [{"doc_id": one} | sizes for one in ids.values()]))
    places = [{"doc_id": one, "shard": key, "row": 0, "source": "s"} for key, one in ids.items()]
    places.append(places[2] | {"shard": "a__y__one", "row": 1})
    store.append("occurrences", rows_of("occurrences", places))
    section = MixtureSection(target="goal", model="llama-0.8m", train_tokens=1_000)
    found = dict(source_of_documents(store, section, files).iter_rows())
    wanted = dict(zip(ids.values(), ("a__x", "a__y", "a__y", "gone"), strict=True))
    assert found == wanted  # the third is in two corpora: the first by name
