"""Texts whose encoding was mistaken: counted, mended, and refused by the id of the text as it was."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as drawn
from hypothesis import strategies as st
from projects import corpus, plain_project, settings, texts, write

from tamis.base.errors import MissingPackageError
from tamis.corpus import read_shard
from tamis.corpus.intake import store_shards
from tamis.corpus.refusing import Refusal
from tamis.readers.files import read_file
from tamis.readers.repair import MENDED, is_mistaken, mended
from tamis.readers.rows import Row
from tamis.readers.text import ORIGINAL, document_id
from tamis.scan.quarantine import encoding_lines
from tamis.scan.sources import scan
from tamis.scan.stored_texts import stored_text_lines
from tamis.settings.config import CorpusSection

MENDING = CorpusSection(name="web", kind="files", path="web", repair="ftfy")
RIGHT = {
    "French": "L'été dernier, la rivière a débordé à côté de la forêt.",
    "German": "Die Flüsse führen Sand über die Ebene, größer als früher.",
    "Russian": "Река несёт песок и камни с гор к морю.",
    "Greek": "Ο ποταμός μεταφέρει άμμο προς τη θάλασσα.",
    "Japanese": "川は砂と石を海へ運び、毎年春に岸を新しく作る。",
    "quotes": "“So it is”, she said – and left…",
    "an emoji": "The river 🌊 carries sand.",
    "capitals": "CAFÉ À LA RIVIÈRE, ÉTÉ, Â, Ã, ÃO, SÃO PAULO, “É”",
    "signs": "5 °C ± 2 µm × 3, £ 4, ½ § 7, naïve – “yes”",
    "ASCII": "The river carries sand.",
    "nothing": "",
}


def read_as(text: str, encoding: str) -> str:
    """A text in UTF-8 as somebody has read it; bytes that Windows-1252 lacks are those of Latin-1."""
    return "".join(bytes([byte]).decode(encoding, "ignore") or chr(byte) for byte in text.encode())


@pytest.mark.parametrize("language", RIGHT)
def test_right_texts_are_no_mistakes(language):
    assert not is_mistaken(RIGHT[language])


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize("language", sorted(set(RIGHT) - {"ASCII", "nothing"}))
def test_mistaken_ones_are_found(language, encoding):
    assert is_mistaken(read_as(RIGHT[language], encoding))


def read(path, rows, section=MENDING):
    write(path, [json.dumps(row) for row in rows])
    return list(read_file(path, section))


def test_they_are_mended_on_reading_with_the_digest_of_the_original(tmp_path):
    pytest.importorskip("ftfy", reason="the extra repair is not installed")
    bad = read_as(RIGHT["German"], "cp1252")
    rows = [{"text": bad, "id": 1}, {"text": RIGHT["German"]}, {"text": None}, {"text": 7}]
    first, *others = read(tmp_path / "a.jsonl", rows)
    assert first.values == {"text": RIGHT["German"], "id": 1, "id_in_file": document_id(bad)}
    assert [(note.column, note.problem, note.values) for note in first.notes] == [("text", MENDED, 1)]
    assert [item.values for item in others] == rows[1:]


def test_an_extracted_and_mended_text_is_refused_by_each_of_its_ids(tmp_path):
    pytest.importorskip("ftfy", reason="the extra repair is not installed")
    pytest.importorskip("resiliparse", reason="the extra web is not installed")
    bad = read_as(RIGHT["German"], "cp1252")
    page = f"<main><p>{bad}</p></main>"
    section = MENDING.model_copy(update={"extract": "html"})
    (row,) = read(tmp_path / "a.jsonl", [{"text": page, ORIGINAL: "of the file"}], section)
    assert row.values == {"text": RIGHT["German"], ORIGINAL: f"{document_id(page)} {document_id(bad)}"}
    metadata = json.dumps({ORIGINAL: row.values[ORIGINAL]})
    document = pl.DataFrame({"row": [0, 1], "doc_id": ["new", "other"], "metadata": [metadata, "{}"]})
    document = document.with_columns(passage_of=pl.lit(None, pl.String))
    for withdrawn in (document_id(page), document_id(bad), "new"):
        left, places = Refusal(doc_ids=pl.Series([withdrawn])).documents(document)
        assert (left["row"].to_list(), places.rows()) == ([1], [(0, withdrawn)])
    assert Refusal(doc_ids=pl.Series(["another"])).documents(document)[0].equals(document)


def test_nothing_but_the_encoding_is_changed(tmp_path):
    pytest.importorskip("ftfy", reason="the extra repair is not installed")
    odd = "ﬁne “quotes”,\r\n\u2028 &amp; \x07 ａ full width e\u0301"
    (row,) = read(tmp_path / "a.jsonl", [{"text": odd}])
    assert row.values == {"text": odd}


SENTENCES = st.lists(st.sampled_from(sorted(RIGHT.values())), min_size=1, max_size=4)


@given(SENTENCES, SENTENCES, st.sampled_from(["cp1252", "latin-1"]))
@drawn(deadline=None)
def test_texts_sound_mistaken_and_half_mistaken_are_as_ftfy_has_them(sound, broken, encoding):
    ftfy = pytest.importorskip("ftfy", reason="the extra repair is not installed")
    first, second = " ".join(sound), read_as(" ".join(broken), encoding)
    given_rows = [
        Row(row=place, values={"text": text}) for place, text in enumerate((first, second, first + second))
    ]
    for row, out in zip(given_rows, mended(iter(given_rows), MENDING), strict=True):
        text = row.values["text"]
        assert out.values["text"] == ftfy.fix_encoding(text)
        if out.values["text"] == text:
            assert out is row, "a text that ftfy leaves alone has no other column and no note"
        else:
            assert out.values[ORIGINAL] == document_id(text)
            assert [note.problem for note in out.notes] == [MENDED]


def test_without_the_extra_one_sentence_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"repair = \"ftfy\" needs .*'ftfy'.*\[repair\]"):
        read(tmp_path / "a.jsonl", [{"text": "x"}])


def test_repair_is_for_plain_texts():
    with pytest.raises(ValueError, match="only plain texts are mended"):
        CorpusSection(name="web", kind="files", path="web", format="messages", repair="ftfy")


def test_they_are_counted_and_a_withdrawn_original_is_refused(tmp_path):
    bad = [read_as(f"{number}. {RIGHT['French']}", "cp1252") for number in range(3)]
    write(
        tmp_path / "documents" / "a.jsonl",
        [json.dumps({"text": one}) for one in [*bad, *texts("algebra", 4)]],
    )

    def stored(**more):
        project = plain_project(tmp_path, settings(corpus(**more)), {}).project
        section = project.settings.corpus[0]
        shards = [(one.key, read_shard(one, section)) for one in scan(project).files.values()]
        list(store_shards(project.home.store, shards))
        return project.home.store, [
            batch for one in scan(project).files.values() for batch in read_shard(one, section)
        ]

    for more in ({}, {"keep_columns": False}):
        store, _batches = stored(**more)
        assert encoding_lines(store) == [
            "corpus web: column text of a.jsonl: 3 values whose encoding was mistaken (UTF-8 read as another)"
            '; to mend them, set repair = "ftfy" in [[corpus]] web'
        ]
    corpora = [CorpusSection(name="web", kind="files", path="documents")]
    assert list(stored_text_lines(store, corpora)) == [], "they were counted when they were read"
    store.delete("kept_rows", "row = -1")  # as a version that did not count them left it
    assert list(stored_text_lines(store, corpora)) == [
        "corpus web: the encoding of 3 of 7 texts was mistaken (UTF-8 read as another)"
        '; to mend them, set repair = "ftfy" in [[corpus]] web'
    ]
    assert list(stored_text_lines(store, [corpora[0].model_copy(update={"repair": "ftfy"})])) == []
    pytest.importorskip("ftfy", reason="the extra repair is not installed")
    store, (batch,) = stored(repair="ftfy")
    assert encoding_lines(store) == [
        "corpus web: column text of a.jsonl: 3 values with a mistaken encoding, mended by ftfy"
    ]
    withdrawn = [document_id(bad[1]), document_id("another")]
    left, places = Refusal(doc_ids=pl.Series(withdrawn)).documents(batch.documents)
    assert left.columns == batch.documents.columns
    assert left["row"].to_list() == [0, 2, 3, 4, 5, 6]
    assert places.rows() == [(1, withdrawn[0])]
