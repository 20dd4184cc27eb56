"""Texts that an encoder does not know are said to be so, by its own tokenizer, with what would do."""

import json
import random
import shutil

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from projects import VECTORS, corpus, plain_project, selection, settings, target

from tamis.corpus import list_shards
from tamis.embedding import identity, multilingual, storing
from tamis.embedding.storing import OneVectorError, require_different_vectors
from tamis.embedding.unknown import MOST_UNKNOWN, unknown_lines, unknown_shares, unknown_texts
from tamis.scan import precheck
from tamis.store.schemas import schema_of
from tamis.store.tables import vector_column

SENTENCES = {
    "Amharic": "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Khmer": "មនុស្សទាំងអស់កើតមកមានសេរីភាពនិងភាពស្មើៗគ្នាក្នុងសេចក្ដីថ្លៃថ្នូរ",
    "Burmese": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် မွေးဖွားလာသူများ ဖြစ်သည်",
    "Telugu": "మానవులు స్వతంత్రులుగా జన్మించారు వారికి సమాన హక్కులు ఉన్నాయి",
    "Tamil": "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்",
    "Chinese": "人人生而自由在尊严和权利上一律平等他们赋有理性和良心",
}
KNOWN = {
    "English": "All human beings are born free and equal in dignity and rights, and so are ok and lol.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "code": "def f(x):\n    return {k: v for k, v in x.items() if v is not None}  # 1 + 2",
}
HIEROGLYPHS = [chr(0x13000 + number) * 5 for number in range(40)]


@pytest.mark.parametrize("encoder", ["static", "minilm"])
def test_scripts_outside_the_vocabulary_are_unknown_and_others_are_not(encoder):
    strange = unknown_shares(encoder, [*SENTENCES.values()])
    assert (strange > 0.4).all(), dict(zip(SENTENCES, strange, strict=True))
    assert unknown_shares(encoder, [*KNOWN.values()]).max() < 0.02


def test_a_word_that_is_one_unknown_token_counts_as_its_characters():
    half, blank, marks = unknown_shares("static", ["ነጻነት word", " \n", "\u0301\u0301"])
    assert half == pytest.approx(4 / 8)
    assert blank == 0
    assert marks == 1  # nothing of it is left for the encoder
    assert unknown_shares("static", ["x" * 5_000, "\ud800 lone"]).tolist() == pytest.approx(
        [1, 1 / 5], abs=0.2
    )
    assert len(unknown_shares("static", [])) == 0


def test_what_would_do_is_named_where_tamis_knows_one():
    found = unknown_texts("static", [SENTENCES["Amharic"], KNOWN["English"], SENTENCES["Thai"]])
    assert (found.encoder, found.texts, found.mostly) == ("static", 3, 2)
    assert found.share == pytest.approx(2 / 3, abs=0.05)
    assert found.sentence.startswith("the encoder static does not know 6")
    assert 'set name = "multilingual-e5-small" in [encoder]' in found.remedy
    nobody = unknown_texts("static", HIEROGLYPHS)
    assert nobody.share == 1
    assert "Tamis knows of no encoder" in nobody.remedy
    assert "dsir and classifier" in nobody.remedy
    assert unknown_texts("static", [*KNOWN.values()]) is None
    few = [KNOWN["English"]] * 15 + [SENTENCES["Amharic"]]
    assert 0 < unknown_shares("static", few).mean() < MOST_UNKNOWN
    assert unknown_texts("static", few) is None


def test_the_package_to_install_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(multilingual, "is_installed", lambda: False)
    assert multilingual.INSTALL in unknown_texts("static", [SENTENCES["Khmer"]]).remedy


def test_the_tokenizer_of_any_folder_is_asked_if_it_has_an_unknown_token(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(identity.locate("minilm").folder, folder)
    texts = [SENTENCES["Thai"]]
    assert unknown_texts(folder, texts).encoder == str(folder)
    path = folder / "tokenizer.json"
    made = json.loads(path.read_text("utf-8"))
    made["model"] = {"type": "BPE", "vocab": {"a": 0}, "merges": [], "byte_fallback": True}
    path.write_text(json.dumps(made), "utf-8")
    assert unknown_texts(folder, texts) is None
    path.write_text("no tokenizer", "utf-8")
    assert unknown_texts(folder, texts) is None
    path.unlink()
    assert unknown_texts(folder, texts) is None
    assert unknown_texts("somebody/not-here", texts) is None
    assert unknown_texts("no encoder", texts) is None


# Of a project: what is stored, and the files that are still to be read.


def store_texts(project, texts: dict[str, list[str]], examples: list[str] = ()) -> None:
    store, rows = project.home.store, []
    for name, some in texts.items():
        rows += [(f"{name}{n:04d}", text, f"{name}__a") for n, text in enumerate(some)]
    ids = [row[0] for row in rows]
    _write(store, "documents", {"doc_id": ids, "text": [row[1] for row in rows]})
    shards = {"doc_id": ids, "shard": [row[2] for row in rows], "row": list(range(len(rows)))}
    _write(store, "occurrences", shards)
    made = {"doc_id": [f"goal{n}" for n in range(len(examples))], "text": list(examples)}
    _write(store, "target_examples", made | {"target": ["goal"] * len(examples)})


def _write(store, name: str, columns: dict) -> None:
    schema, count = schema_of(name), len(columns["doc_id"])
    arrays = [pa.array(columns.get(field.name, [None] * count), field.type) for field in schema]
    store.overwrite(name, pa.table(arrays, schema=schema))


def project_of(root, sampler: str = "got-d"):
    near = selection("near", sampler, 2, **({} if sampler == "random" else {"target": "goal"}))
    (root / "books").mkdir(parents=True)
    return plain_project(root, settings(corpus(), corpus("books", "books"), target(), near)).project


def test_each_corpus_and_target_has_a_line_of_its_own(tmp_path):
    project = project_of(tmp_path)
    amharic = [f"{SENTENCES['Amharic']} {n}" for n in range(300)]
    store_texts(project, {"web": amharic, "books": [KNOWN["English"]] * 5}, [SENTENCES["Thai"]] * 3)
    web, goal = unknown_lines(project)
    assert web.startswith("corpus web: the encoder static does not know ")
    assert "(200 texts looked at, 200 mostly unknown)" in web
    assert goal.startswith("target goal: the encoder static does not know ")
    assert unknown_lines(project, target="another") == [web]
    texts = {("corpus", "books"): [SENTENCES["Khmer"]], ("corpus", "web"): [KNOWN["English"]]}
    assert unknown_lines(project, texts) == [web, goal]  # what is stored counts, where there is anything


def test_nothing_is_said_where_no_selection_looks_at_vectors(tmp_path):
    for number, sampler in enumerate(("random", "dsir", "classifier")):
        project = project_of(tmp_path / str(number), sampler)
        store_texts(project, {"web": HIEROGLYPHS})
        assert unknown_lines(project) == []


def test_first_rows_of_files_that_are_still_to_be_read(tmp_path):
    project = project_of(tmp_path)
    texts = [{"text": f"{SENTENCES['Khmer']} {n}", "language": "khm"} for n in range(50)]
    (tmp_path / "documents" / "k.jsonl").write_text("\n".join(map(json.dumps, texts)), "utf-8")
    (tmp_path / "documents" / "broken.parquet").write_bytes(b"no parquet")
    (web, _) = project.settings.corpus
    rows = precheck.first_rows(web, list_shards(web, project.root))
    assert len(rows) == 20 + 1
    assert rows["language"].drop_nulls().unique().to_list() == ["khm"]
    (line,) = unknown_lines(project, {("corpus", "web"): rows["text"].to_list()})
    assert line.startswith("corpus web: the encoder static does not know ")


def store_vectors(project, vectors_nd: np.ndarray) -> None:
    ids = [f"{n:032x}" for n in range(len(vectors_nd))]
    columns = [ids, vector_column(vectors_nd), ["f"] * len(ids)]
    project.home.store.overwrite(VECTORS, pa.table(columns, schema=schema_of(VECTORS, vectors_nd.shape[1])))


def test_a_pool_with_one_vector_is_the_encoders_matter(tmp_path):
    project = project_of(tmp_path)
    require_different_vectors(project)  # nothing is embedded yet
    store_texts(project, {"web": HIEROGLYPHS})
    one_d = np.random.default_rng(0).standard_normal(16).astype(np.float16)
    store_vectors(project, np.tile(one_d, (40, 1)))
    with pytest.raises(OneVectorError, match=r"static gives all 40 documents .* same vector") as error:
        require_different_vectors(project)
    assert "it does not know 100 % of the characters" in str(error.value)
    assert "centre" not in str(error.value)
    noise = np.random.default_rng(1).uniform(-1, 1, (40, 16)) * storing.ROUNDING / 3
    store_vectors(project, one_d + noise)
    with pytest.raises(OneVectorError):
        require_different_vectors(project)
    store_texts(project, {"web": [KNOWN["English"]] * 40})
    require_different_vectors(project)  # different, if by little, and known
    store_vectors(project, np.tile(one_d, (40, 1)))
    with pytest.raises(OneVectorError, match="differ only in what this encoder ignores"):
        require_different_vectors(project)
    store_vectors(project, np.concatenate([np.tile(one_d, (39, 1)), -one_d[None]]))
    require_different_vectors(project)
    store_vectors(project, one_d[None])
    require_different_vectors(project)


def test_a_random_pool_of_made_up_words_is_unknown_whatever_the_letters():
    draw = random.Random(3)
    for first in (0x1200, 0xE01, 0x1780, 0x1000, 0xC05):
        letters = [chr(code) for code in range(first, first + 0x40) if chr(code).isalpha()]
        words = [" ".join("".join(draw.choices(letters, k=4)) for _ in range(30)) for _ in range(20)]
        assert unknown_texts("static", words).share > 0.9


def test_unknown_shares_of_a_frame_are_in_the_order_of_its_rows():
    texts = pl.Series([KNOWN["English"], SENTENCES["Thai"], KNOWN["German"]])
    assert (unknown_shares("static", texts.to_list()) > 0.5).tolist() == [False, True, False]
