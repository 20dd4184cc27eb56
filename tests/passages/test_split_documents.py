"""A corpus that splits its long documents, from the files to the choice, its exports and its explanations."""

import json
import random
import tomllib

import polars as pl
import pyarrow.parquet as pq
import pytest
from projects import SmallProject, base_model, corpus, plain_project, selection, settings, write

from tamis.base.errors import ConfigurationError
from tamis.passages.places import OF_PASSAGES
from tamis.readers.text import document_id, normalise_text, normalised_id
from tamis.settings.config import parse_settings
from tamis.verbs.export import Extras, export_selection

MADE = frozenset({"raw_shards", "documents", "near_duplicates", "selected_subset"})
WORDS = ("matrix", "vector", "kernel", "group", "ring", "field", "proof", "lemma", "module", "basis")
SPLIT = "40 words"


def document(seed: int, paragraphs: int) -> str:
    """Return paragraphs of sentences, with spaces of several kinds between them."""
    draw = random.Random(seed)

    def sentence() -> str:
        return (
            " ".join(f"{draw.choice(WORDS)}{draw.randrange(100)}" for _ in range(draw.randrange(4, 12))) + "."
        )

    spaces = ["\n\n", "\n\n\n", "\n \n", "\n\n\u3000"]
    return "".join(
        f"{' '.join(sentence() for _ in range(draw.randrange(1, 5)))}{draw.choice(spaces)}"
        for _ in range(paragraphs)
    ).strip()


LONG = [document(seed, 14) for seed in range(4)]
SHORT = [document(seed, 1)[:150].rsplit(" ", 1)[0] for seed in range(10, 16)]
ROWS = [
    {"text": text, "edu": number, "meta": {"page": f"p{number}"}, "licence": "mit"}
    for number, text in enumerate([*LONG, *SHORT])
]
ALL = selection("all", "random", 10_000)
FEW = selection("few", "random", 12)


def project_at(root, *parts: str, rows=ROWS, split: str | None = SPLIT) -> SmallProject:
    more = {"split": split} if split else {}
    made = plain_project(root, settings(corpus(**more), *parts), {})
    write(made.root / "documents" / "a.jsonl", map(json.dumps, rows))
    return made


def places(project: SmallProject) -> pl.DataFrame:
    return project.rows("occurrences").sort("shard", "row", "passage_number")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    project = project_at(tmp_path_factory.mktemp("split") / "project", ALL, FEW)
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def project(built, tmp_path, nowhere):
    copied = built.copy(tmp_path / "project")
    yield copied
    copied.close()


def test_passages_and_their_spaces_are_each_document_and_short_ones_stay_as_they_are(built):
    texts = dict(built.rows("documents").select("doc_id", "text").iter_rows())
    found = places(built)
    for number, row in enumerate(ROWS):
        own = found.filter(row=number)
        text = normalise_text(row["text"])
        if text in SHORT:
            assert own["doc_id"].to_list() == [document_id(text)]
            assert own.select(OF_PASSAGES).row(0) == (None,) * len(OF_PASSAGES)
            continue
        assert len(own) > 3
        assert set(own["passage_of"]) == {document_id(text)}
        assert own["passage_number"].to_list() == [*range(len(own))]
        assert set(own["passage_count"]) == {len(own)}
        assert "".join(gap + texts[key] for gap, key in own.select("passage_gap", "doc_id").rows()) == text
        for key, begin in own.select("doc_id", "passage_begin").rows():
            assert text[begin:].startswith(texts[key])
            assert len(texts[key].split()) <= 40
            assert key == normalised_id(texts[key])
    assert document_id(LONG[0]) not in texts
    kept = built.rows("kept_rows").filter(pl.col("row") >= 0).sort("row")
    assert kept["doc_id"].to_list() == [document_id(row["text"]) for row in ROWS]
    assert all(json.loads(content)["meta"] for content in kept["content"])
    built.assert_sound(MADE)


def test_turning_split_on_makes_new_documents_of_the_long_ones_alone(tmp_path, nowhere):
    project = project_at(tmp_path / "project", ALL, split=None)
    project.make(MADE)
    before = set(project.rows("documents")["doc_id"])
    assert project.rows("occurrences")["passage_of"].null_count() == len(ROWS)
    project.configure(settings(corpus(split=SPLIT), ALL))
    project.make(MADE)
    after = set(project.rows("documents")["doc_id"])
    assert before - after == {document_id(text) for text in LONG}
    assert {document_id(text) for text in SHORT} <= after
    # And off again: nothing is lost, so nothing is held back.
    project.configure(settings(corpus(), ALL))
    project.make(MADE)
    assert set(project.rows("documents")["doc_id"]) == before
    project.assert_sound(MADE)
    project.close()


def test_the_layout_of_files_does_not_matter(built, tmp_path, nowhere):
    other = plain_project(tmp_path / "project", settings(corpus(split=SPLIT), ALL), {})
    for number, row in enumerate(reversed(ROWS)):
        write(other.root / "documents" / f"{number}.jsonl", [json.dumps(row)])
    (other.root / "documents" / "notes").mkdir()
    (other.root / "documents" / "notes" / "one.txt").write_text(LONG[0])
    other.make(MADE)
    assert set(other.rows("documents")["doc_id"]) == set(built.rows("documents")["doc_id"])
    decided = [sorted(one.rows("decisions").filter(selection="all")["doc_id"]) for one in (built, other)]
    assert decided[0] == decided[1]
    other.assert_sound(MADE)
    other.close()


def test_a_changed_document_makes_its_own_passages_again_and_one_that_left_takes_them_along(project):
    before = places(project)
    changed = [dict(row) for row in ROWS]
    changed[1]["text"] = f"{LONG[1]}\n\nA sentence more."
    del changed[0]
    write(project.root / "documents" / "a.jsonl", map(json.dumps, changed))
    project.make(MADE)
    after = places(project)
    gone = set(before.filter(row=0)["doc_id"])
    assert gone.isdisjoint(after["doc_id"])
    assert gone.isdisjoint(project.rows("documents")["doc_id"])
    old, new = before.filter(row=1)["doc_id"].to_list(), after.filter(row=0)["doc_id"].to_list()
    assert new[: len(old) - 3] == old[:-3]
    assert document_id(LONG[1]) not in set(after["passage_of"])
    known, first_seen = set(before["doc_id"]), project.rows("documents")
    fresh = first_seen.filter(~pl.col("doc_id").is_in([*known]))
    assert 1 <= len(fresh) <= 3
    project.assert_sound(MADE)


def test_nothing_changed_makes_nothing(project):
    before = project.versions()
    project.make(MADE)
    assert project.versions() == before


def exported(project: SmallProject, name: str, **extras: bool) -> list[dict]:
    done = export_selection(project.project, name, "parquet", extras=Extras(**extras))
    return pq.read_table(done.path).to_pylist()


def test_an_export_of_everything_is_the_documents_as_they_were(built):
    rows = exported(built, "all")
    assert {row["doc_id"]: row["text"] for row in rows} == {
        document_id(row["text"]): normalise_text(row["text"]) for row in ROWS
    }
    by_id = {row["doc_id"]: row for row in rows}
    for number, row in enumerate(ROWS):
        own = by_id[document_id(row["text"])]
        assert (own["row"], own["edu"], own["meta"], own["licence"]) == (number, number, row["meta"], "mit")
        assert (own["passages"] is None) == (row["text"] in SHORT)
    ranks = [row["rank"] for row in rows]
    assert ranks == sorted(ranks)


def oracle(project: SmallProject, chosen: set[str]) -> dict[str, str]:
    """Join the chosen passages of each document by hand."""
    texts = dict(project.rows("documents").select("doc_id", "text").iter_rows())
    joined: dict[str, str] = {}
    last: dict[str, int] = {}
    for row in places(project).filter(pl.col("doc_id").is_in([*chosen])).to_dicts():
        if row["passage_of"] is None:
            joined[row["doc_id"]] = texts[row["doc_id"]]
            continue
        document, number = row["passage_of"], row["passage_number"]
        if document in joined:
            space = row["passage_gap"] if last[document] == number - 1 else "\n\n"
            joined[document] += space + texts[row["doc_id"]]
        else:
            joined[document] = texts[row["doc_id"]]
        last[document] = number
    return joined


def test_an_export_joins_the_chosen_passages_of_each_document_in_order(built):
    decided = built.rows("decisions").filter(selection="few", verdict="selected")
    rows = exported(built, "few")
    assert {row["doc_id"]: row["text"] for row in rows} == oracle(built, set(decided["doc_id"]))
    parts = [key for row in rows for key in row["passages"] or [row["doc_id"]]]
    assert sorted(parts) == sorted(decided["doc_id"])
    ranks = dict(decided.select("doc_id", "rank").iter_rows())
    assert [row["rank"] for row in rows] == [
        min(ranks[key] for key in row["passages"] or [row["doc_id"]]) for row in rows
    ]


@pytest.mark.parametrize("extras", [{"passages": True}, {"scores": True}])
def test_an_export_can_have_a_row_for_each_passage(built, extras):
    decided = built.rows("decisions").filter(selection="few")
    if "passages" in extras:
        decided = decided.filter(verdict="selected")
    texts = dict(built.rows("documents").select("doc_id", "text").iter_rows())
    rows = exported(built, "few", **extras)
    assert sorted(row["doc_id"] for row in rows) == sorted(decided["doc_id"])
    for row in rows:
        assert row["text"] == texts[row["doc_id"]]
        assert row["edu"] == row["row"]
        assert (row["passage_of"] is None) == (row["text"] in SHORT)


def test_scores_and_conditions_on_columns_apply_to_each_passage(tmp_path, nowhere):
    score = '[[score]]\nname = "edu"\ncolumn = "edu"\n'
    picked = '[[selection]]\nname = "picked"\nsampler = "random"\nbudget = 1000\nwhere = "edu = 2"\n'
    project = project_at(tmp_path / "project", score, picked)
    project.make(MADE | {"column_scores"})
    values = project.rows("column_scores").select("doc_id", "value")
    expected = places(project).select("doc_id", value=pl.col("row").cast(pl.Float64))
    assert sorted(values.rows()) == sorted(expected.rows())
    chosen = project.rows("decisions").filter(verdict="selected")["doc_id"]
    assert set(chosen) == set(places(project).filter(row=2)["doc_id"])
    project.close()


def test_explain_shows_passages_of_a_document_and_the_place_of_a_passage(built):
    document_key = document_id(LONG[2])
    found = built.json("explain", document_key[:12])
    own = places(built).filter(row=2)
    assert found["doc_id"] == document_key
    assert [one["doc_id"] for one in found["passages"]] == own["doc_id"].to_list()
    assert {row["selection"] for one in found["passages"] for row in one["decisions"]} == {"all", "few"}
    assert [(place["row"], place["shard"]) for place in found["occurrences"]] == [(2, own["shard"][0])]
    said = built.tamis("explain", "--file", "documents/a.jsonl", "--row", "2").stdout
    assert f"split into {len(own)} passages" in said
    assert f"all: {len(own)} of {len(own)} passages selected" in said
    part = own.row(1, named=True)
    found = built.json("explain", part["doc_id"])
    end = part["passage_begin"] + len(LONG[2][part["passage_begin"] :].split(own_gap(own, 2))[0])
    assert found["passage_of"] == [
        {"document": document_key, "number": 1, "of": len(own), "begin": part["passage_begin"], "end": end}
    ]
    assert (
        f"passage 2 of {len(own)} of document {document_key}" in built.tamis("explain", part["doc_id"]).stdout
    )


def own_gap(own: pl.DataFrame, number: int) -> str:
    """Return how the text goes on after a passage: its space, and the passage after it."""
    row = own.row(number, named=True)
    return row["passage_gap"] + LONG[2][row["passage_begin"] :][:20]


def test_withdrawing_a_document_withdraws_its_passages_whatever_the_split(project):
    own = places(project).filter(row=3)
    exported(project, "all")
    project.withdraw([document_id(LONG[3])])
    gone = {document_id(LONG[3]), *own["doc_id"]}
    assert set(project.rows("withdrawals")["doc_id"]) == gone
    for table in ("documents", "occurrences", "kept_rows", "decisions"):
        assert gone.isdisjoint(project.rows(table)["doc_id"])
    rows = pq.read_table(project.home.exports / "all.parquet").to_pylist()
    assert len(rows) == len(ROWS) - 1
    project.make(MADE)
    before = project.versions()
    project.make(MADE)
    assert project.versions() == before
    for split in ("17 words", "200 characters", None):
        project.configure(settings(corpus(**({"split": split} if split else {})), ALL, FEW))
        project.make(MADE)
        assert set(places(project)["row"]) == {*range(len(ROWS))} - {3}
    project.assert_sound(MADE, amber=True)


def test_withdrawing_a_passage_leaves_the_others_but_not_where_the_text_is_cut_elsewhere(project):
    own = places(project).filter(row=1)
    part = own["doc_id"][2]
    exported(project, "all")
    project.withdraw([part])
    assert project.rows("withdrawals")["doc_id"].to_list() == [part]
    exports = pq.read_table(project.home.exports / "all.parquet").to_pylist()
    assert document_id(LONG[1]) not in {row["doc_id"] for row in exports}
    project.make(MADE)
    assert places(project).filter(row=1)["doc_id"].to_list() == [key for key in own["doc_id"] if key != part]
    assert document_id(LONG[1]) in set(project.rows("kept_rows")["doc_id"])
    joined = {row["doc_id"]: row for row in exported(project, "all")}[document_id(LONG[1])]
    assert part not in joined["passages"]
    assert joined["edu"] == 1
    found = project.json("explain", document_id(LONG[1]))
    assert len(found["passages"]) == len(own) - 1
    before = project.versions()
    project.make(MADE)
    assert project.versions() == before
    for split in ("17 words", None):
        project.configure(settings(corpus(**({"split": split} if split else {})), ALL, FEW))
        project.make(MADE)
        assert set(places(project)["row"]) == {*range(len(ROWS))} - {1}
    project.configure(settings(corpus(split=SPLIT), ALL, FEW))
    project.make(MADE)
    assert places(project).filter(row=1)["doc_id"].to_list() == [key for key in own["doc_id"] if key != part]


def test_withdrawing_a_file_withdraws_documents_and_passages(project):
    shard = places(project)["shard"][0]
    project.withdraw([], [shard])
    assert {document_id(row["text"]) for row in ROWS} <= set(project.rows("withdrawals")["doc_id"])
    assert len(project.rows("kept_rows").filter(pl.col("row") >= 0)) == 0


def test_select_writes_the_chosen_passages_of_a_document_as_one_row(tmp_path, nowhere):
    project = project_at(tmp_path / "project", ALL)
    out, decisions = project.root / "chosen.jsonl", project.root / "decisions.jsonl"
    call = ("select", "documents", "--sampler", "random", "--rules", "none", "--split", SPLIT)
    project.tamis(*call, "--budget", "1000", "-o", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["edu"]: row["text"] for row in rows} == {
        row["edu"]: normalise_text(row["text"]) for row in ROWS
    }
    project.tamis(*call, "--budget", "9", "-o", str(out), "--decisions", str(decisions))
    decided = [json.loads(line) for line in decisions.read_text().splitlines()]
    chosen = [row for row in decided if row["verdict"] == "selected"]
    assert len(chosen) == 9
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["edu"] for row in rows} == {row["row"] for row in chosen}
    assert len(rows) == len({row["row"] for row in chosen})
    for row in rows:
        parts = [one["doc_id"] for one in chosen if one["row"] == row["edu"]]
        whole = normalise_text(ROWS[row["edu"]]["text"])
        assert len(parts) == 1 or row["text"] in whole or "\n\n" in row["text"]


@pytest.mark.parametrize(
    "split", ["0 tokens", "lots", "-5 words", "20 pages", "15 words", "2000", "", "1e3 words"]
)
def test_a_length_that_is_none_is_refused_with_what_would_be_right(split):
    with pytest.raises(ConfigurationError, match=r"\[\[corpus\]\]|corpus") as refused:
        parse_settings(tomllib.loads(settings(corpus(split=split), ALL)))
    assert "a length of at least 16 with its unit (tokens, words or characters)" in str(refused.value)


def test_another_spelling_is_no_other_setting():
    spelled = [
        parse_settings(tomllib.loads(settings(corpus(split=split), ALL))).corpus[0].split
        for split in ("2000 tokens", "2_000 tokens", "2,000 Tokens", " 2000tokens", "2000 token")
    ]
    assert set(spelled) == {"2000 tokens"}


def test_conversations_are_not_split():
    with pytest.raises(ConfigurationError, match="a conversation stays whole"):
        parse_settings(tomllib.loads(settings(corpus(split=SPLIT, format="messages"), ALL)))


def test_a_tokenizer_that_is_trained_on_the_documents_cannot_cut_them():
    text = settings(corpus(split="2000 tokens"), ALL, base_model())
    named = text.replace("[project]\n", '[project]\ntokenizer = "small"\n', 1)
    with pytest.raises(ConfigurationError, match="is trained on the documents"):
        parse_settings(tomllib.loads(named))
    parse_settings(tomllib.loads(text))


def test_tokens_are_those_of_the_tokenizer_that_counts(tmp_path, nowhere, word_tokenizer):
    text = settings(corpus(split="30 tokens"), ALL)
    tokenizer = word_tokenizer(WORDS)
    tokenizer.save_pretrained(tmp_path / "project" / "tokenizer")
    project = plain_project(
        tmp_path / "project", text.replace("[project]\n", '[project]\ntokenizer = "tokenizer"\n', 1), {}
    )
    write(project.root / "documents" / "a.jsonl", map(json.dumps, ROWS))
    project.make(MADE | {"token_counts"})
    counts = project.rows("token_counts")["n_tokens"]
    assert counts.max() <= 30
    texts = dict(project.rows("documents").select("doc_id", "text").iter_rows())
    for number, text in enumerate(LONG):
        own = places(project).filter(row=number)
        assert len(own) > 3
        assert "".join(gap + texts[key] for gap, key in own.select("passage_gap", "doc_id").rows()) == text
    before = project.versions()
    # Another tokenizer cuts elsewhere.
    word_tokenizer([*WORDS, "more"]).save_pretrained(tmp_path / "project" / "tokenizer")
    project.make(MADE | {"token_counts"})
    assert project.versions() != before
    project.close()


def test_materialize_and_export_of_a_project_in_passages(tmp_path, nowhere):
    """By commands."""
    project = project_at(tmp_path / "project", FEW)
    project.tamis("materialize")
    assert "passages" in project.tamis("export", "few", "--format", "jsonl").stderr
    first = (project.home.exports / "few.jsonl").read_text()
    rows = [json.loads(line) for line in first.splitlines()]
    assert {row["doc_id"]: row["text"] for row in rows} == oracle(
        project, set(project.rows("decisions").filter(verdict="selected")["doc_id"])
    )
    assert "nothing to do" in (said := project.tamis("plan").stdout).lower() or "current" in said.lower(), (
        said
    )
    audit = project.json("audit")
    assert audit
    refused = project.tamis("export", "few", "--for", "trl", "--passages", code=None)
    assert refused.returncode == 2
