"""Budgets in tokens: counted by the project's tokenizer, once a document, the same for every selection."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest
from projects import (
    CHOSEN,
    COOKING,
    CORPUS,
    GRAPH,
    SAILING,
    SmallProject,
    base_model,
    lines,
    selection,
    texts,
    write,
)
from tokenizers import Tokenizer, models, pre_tokenizers

from tamis.base.unfit import PLAIN
from tamis.corpus import document_id
from tamis.history.differences import difference, history
from tamis.interchange.subset import SubsetFiles
from tamis.project import open_project
from tamis.report.summary import selection_lines
from tamis.settings.references import named
from tamis.training.tokenizer import encode, load_tokenizer, train_tokenizer
from tamis.verbs.elsewhere.export import export_selection
from tamis.verbs.plan import budget_lines, read_plan
from tamis.verbs.status import read_status

BUDGET = 400
ESTIMATED = "\n".join(
    [
        GRAPH.partition("[[selection]]")[0],
        selection("near", "got-d", f"{BUDGET / 1000}ktok", target="goal"),
        selection("drawn", "random", f"{BUDGET / 1000}ktok"),
    ]
)
COUNTED = ESTIMATED.replace("[project]\n", '[project]\ntokenizer = "words"\n', 1)
NAMES = ("near", "drawn")
MADE = CHOSEN | {"token_counts"}


@pytest.fixture(scope="module")
def estimated(tmp_path_factory, made_graph) -> Iterator[SmallProject]:
    """A graph whose two selections have a budget in tokens, without a tokenizer."""
    graph = made_graph.copy(tmp_path_factory.mktemp("estimated") / "graph")
    train_tokenizer([*COOKING, *SAILING], graph.root / "words", vocabulary=400)
    graph.configure(ESTIMATED)
    graph.make()
    yield graph
    graph.close()


@pytest.fixture(scope="module")
def first(tmp_path_factory, estimated) -> Iterator[SmallProject]:
    """The same with a tokenizer."""
    graph = estimated.copy(tmp_path_factory.mktemp("tokens") / "graph")
    graph.configure(COUNTED)
    graph.make(MADE)
    yield graph
    graph.close()


@pytest.fixture
def counted(tmp_path, first, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    graph = first.copy(tmp_path / "graph")
    yield graph
    graph.close()


def tokens_by(folder: Path, graph: SmallProject) -> dict[str, int]:
    """The oracle: the tokenizer itself asked about every document."""
    found = graph.store.read("documents", ["doc_id", "text"])
    ids = encode(load_tokenizer(folder), found["text"].to_list())
    return dict(zip(found["doc_id"], map(len, ids), strict=True))


def sums(graph: SmallProject, tokens: dict[str, int]) -> dict[str, int]:
    """The tokens of each choice, which is checked against the budget and the first document that missed."""
    found = {}
    for name in NAMES:
        decided = graph.store.read("decisions", ["doc_id", "verdict", "rank"], f"selection = '{name}'")
        ranked = decided.drop_nulls("rank").sort("rank")
        chosen = ranked.filter(pl.col("verdict") == "selected")["doc_id"].to_list()
        found[name] = sum(tokens[one] for one in chosen)
        assert 0 < found[name] <= BUDGET < found[name] + tokens[ranked["doc_id"][len(chosen)]]
    return found


def test_every_choice_is_within_one_document_of_the_budget_as_the_tokenizer_itself_counts(first):
    tokens = tokens_by(first.root / "words", first)
    assert dict(first.store.read("token_counts", ["doc_id", "n_tokens"]).iter_rows()) == tokens
    found = sums(first, tokens)
    assert abs(found["near"] - found["drawn"]) < max(tokens.values())


def test_page_status_card_summary_and_the_ui_say_the_same_number(counted):
    found = sums(counted, tokens_by(counted.root / "words", counted))
    status = read_status(open_project(counted.root))
    for name in NAMES:
        words = f"{found[name]:,} tokens"
        section = named(counted.project.settings.selection, name)
        card = SubsetFiles.of(export_selection(counted.project, name, "jsonl").path).card.read_text()
        line = next(line for line in status.selection_lines() if f" {name}:" in line)
        for said in (page_of(counted, name), card, line, selection_lines(counted.project, section)[0]):
            assert words in said
            assert "estimated" not in said
    assert {one["selection"]: one["tokens"] for one in status.selections} == found
    counted.reconfigure('sampler = "random"', 'sampler = "density"')
    counted.make(MADE)
    event = counted.instance.get_latest_materialization_event(dg.AssetKey("selected_subset"))
    shown = event.asset_materialization.metadata
    assert shown["tokens"].value == f"{shown['token_count'].value:,} tokens"


def page_of(graph: SmallProject, name: str) -> str:
    return (graph.home.reports / f"selection_{name}.html").read_text()


def test_nothing_changed_counts_nothing_and_a_file_that_comes_its_own_documents(counted):
    counted.make(MADE)  # a log in memory begins empty
    before = counted.state()
    counted.make(MADE)
    assert counted.state() == before
    write(counted.landing / "more.jsonl", lines([*texts("algebra", 2, 9), COOKING[5]]))
    counted.make(CORPUS | {"token_counts"})
    assert counted.store.count("token_counts") == counted.store.count("documents")
    event = counted.instance.get_latest_materialization_event(dg.AssetKey("token_counts"))
    facts = event.asset_materialization.metadata
    assert (facts["counted"].value, facts["reused"].value) == (2, 1)
    (counted.landing / "more.jsonl").unlink()
    assert "token_counts[web__more.jsonl]" in counted.make(CORPUS | {"token_counts"}).removed
    assert counted.store.count("token_counts") == counted.store.count("documents") > 0


def test_a_plan_says_the_budgets_and_what_counts_them(counted):
    counted.configure(ESTIMATED)
    words = f"budget of near, drawn: about {BUDGET} tokens, estimated as bytes / 4"
    assert budget_lines(counted.project, read_plan(counted.project)) == [words]
    removed = counted.make({"raw_shards"}).removed
    assert {entry.partition("[")[0] for entry in removed} == {"token_counts"}
    assert counted.store.count("token_counts") == 0


@pytest.mark.slow
@pytest.mark.with_pages
def test_another_tokenizer_counts_again_and_none_gives_the_estimated_choice_back(counted, estimated):
    train_tokenizer(["e e e"] * 3, counted.root / "words", vocabulary=260)
    assert {"token_counts", "selected_subset"} <= {one["asset"] for one in read_plan(counted.project)}
    counted.make(MADE)
    sums(counted, tokens_by(counted.root / "words", counted))
    counted.configure(ESTIMATED)
    words = f"budget of near, drawn: about {BUDGET} tokens, estimated as bytes / 4"
    assert budget_lines(counted.project, read_plan(counted.project)) == [words]
    counted.make()
    assert counted.store.count("token_counts") == 0
    assert counted.versions() == estimated.versions()
    last = len(history(counted.project, "near"))
    found = [difference(counted.project, "near", one, one + 1).settings for one in range(1, last)]
    *_, before, after = [one["tokenizer"] for one in found if "tokenizer" in one]
    assert after[1] == "none, tokens estimated as bytes / 4"
    assert before[1] == after[0] != before[0], "another one under the same name"
    assert "tokens, estimated as bytes / 4" in page_of(counted, "near")


def test_a_document_that_the_tokenizer_fails_on_is_estimated_and_named(counted):
    known = {word for text in [*COOKING, *SAILING[1:], PLAIN] for word in text.split()}
    strange = "Unheard-of words"
    write(counted.landing / "strange.jsonl", lines([strange]))
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(sorted(known))}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (counted.root / "words" / "tokenizer_config.json").unlink()
    tokenizer.save(str(counted.root / "words" / "tokenizer.json"))
    counted.make(MADE)
    doc_id = document_id(strange)
    row = counted.store.read("token_counts", ["n_tokens"], f"doc_id = '{doc_id}'")
    assert row["n_tokens"].to_list() == [None]
    shown = counted.store.read("quarantine").filter(pl.col("excerpt") == doc_id)
    assert [row["reason"] for row in shown.to_dicts()] == ["model_failed"]
    assert "estimated as bytes / 4" in shown["detail"][0]
    reasons = counted.store.read("decisions", ["reason"], f"doc_id = '{doc_id}'")["reason"]
    assert set(reasons) <= {"within_budget", "over_budget"}
    assert not counted.store.read("token_counts")["n_tokens"].drop_nulls().is_empty()


def test_an_altered_count_is_found_and_a_withdrawn_document_leaves(counted):
    gone = document_id(COOKING[7])
    counted.withdraw([gone])
    assert gone not in counted.store.read("token_counts", ["doc_id"])["doc_id"].to_list()
    table = counted.store.open("token_counts")
    row = table.to_arrow().slice(0, 1)
    place = row.schema.get_field_index("n_tokens")
    forged = row.set_column(place, row.schema.field(place), pa.array([row["n_tokens"][0].as_py() + 1]))
    table.merge_insert(["doc_id"]).when_matched_update_all().execute(forged)
    red = [node.name for node in counted.audit().nodes.values() if node.status == "red"]
    assert red
    assert all(name.startswith(("token_counts[", "table[token_counts]")) for name in red)


def test_the_tokenizer_that_the_graph_trains_counts_where_it_is_named(counted):
    named = COUNTED.replace('"words"', '"small"') + base_model() + "[pretraining]\nvocabulary = 512\n"
    counted.configure(named)
    counted.make(MADE | {"tokenizer"})
    key = counted.current["tokenizer", ""].input_key[:16]
    tokens = tokens_by(counted.home.checkpoints / "tokenizer" / "all" / key, counted)
    assert dict(counted.store.read("token_counts", ["doc_id", "n_tokens"]).iter_rows()) == tokens
    sums(counted, tokens)
    assert not counted.current.keys() & {("base_models", "small")}
