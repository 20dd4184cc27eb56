"""Pages in a project: what plan says of markup, kept columns, records that are no page, input keys."""

import inspect
import json
import random

import polars as pl
import pytest
from made_archives import answer, record
from projects import corpus, plain_project, settings, target, texts, write, write_jsonl

from tamis.corpus import read_shard
from tamis.corpus.intake import store_shards
from tamis.corpus.refusing import Refusal
from tamis.corpus.shards import Shard
from tamis.corpus.stage import DOCUMENTS_STAGE, EXAMPLES_STAGE
from tamis.corpus.targets import read_target_rows
from tamis.readers import pages
from tamis.readers.text import document_id
from tamis.scan.markup import markup_lines
from tamis.scan.precheck import missing_packages
from tamis.scan.quarantine import odd_value_lines
from tamis.scan.sources import scan
from tamis.scan.stored_texts import stored_text_lines
from tamis.settings.config import CorpusSection, TargetSection
from tamis.verbs.plan import checked_plan
from tamis.verbs.status import read_status
from tamis.withdrawal.asking import Asking
from tamis.withdrawal.withdrawing import WithdrawalReason, withdraw

needs_library = pytest.mark.skipif(not pages.is_installed(), reason="the extra web is not installed")
WORDS = "The river carries sand and stones from the hills to the sea, and builds its banks anew each spring."
CORPUS = CorpusSection(name="web", kind="files", path="documents")


def page(number: int) -> str:
    return (
        f"<html><head><title>Page {number}</title></head><body><ul><li><a href='/'>Home</a></li></ul>"
        f"<main><h1>Page {number}</h1><p>{WORDS}</p><p>{number} {WORDS}</p></main></body></html>"
    )


def files(folder, **contents: list[str]) -> list[Shard]:
    """Files of rows in a folder."""
    found = []
    for name, rows in contents.items():
        path = folder / f"{name}.jsonl"
        write_jsonl(path, rows)
        found.append(Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind="file", path=path))
    return found


def prose(count: int) -> list[str]:
    return [f"{number}. {text} {WORDS}" for number, text in enumerate(texts("algebra", count))]


def code(count: int) -> list[str]:
    lines = inspect.getsource(json.decoder).splitlines() + inspect.getsource(random).splitlines()
    return ["\n".join(lines[start : start + 40]) + f"\n{start}" for start in range(count)]


def test_plan_counts_the_texts_that_are_markup(tmp_path):
    shards = files(tmp_path, a=prose(400), b=[*prose(60), *map(page, range(41))])
    (line,) = markup_lines([CORPUS], shards)
    assert line.startswith('41 of 501 texts of web are markup: set extract = "html" in [[corpus]] web')


def test_code_with_signs_of_tags_counts_for_itself(tmp_path):
    loop = "for (i = 0; i < n; i++) { a[i] = b[i] << 2; }\n" * 12
    rows = [*prose(2_000), *map(page, range(60)), *(f"{loop}{number};" for number in range(40))]
    (line,) = markup_lines([CORPUS], files(tmp_path, a=rows))
    assert line.startswith("60 of 2,100 texts of web are markup")


def test_plan_names_the_command_where_the_extra_is_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "is_installed", lambda: False)
    (line,) = markup_lines([CORPUS], files(tmp_path, a=list(map(page, range(9)))))
    assert pages.INSTALL in line
    text = settings(corpus(), target(extract="html"))
    project = plain_project(tmp_path, text, {}).project
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert any('extract = "html" needs' in one and "[web]" in one for one in missing_packages(project))


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([*code(300), *map(page, range(60))], id="pages in a code base"),
        pytest.param([*prose(60), *code(50), *map(page, range(30))], id="more code than pages"),
        pytest.param([*prose(100), *["Use <b>, <i> or </b>, and <p>."] * 50], id="tags that are named"),
        pytest.param([*prose(500), page(1), page(2)], id="two pages"),
        pytest.param([], id="nothing"),
    ],
)
def test_plan_says_nothing_of(tmp_path, rows):
    assert list(markup_lines([CORPUS], files(tmp_path, a=rows))) == []


def test_plan_says_nothing_where_it_is_settled(tmp_path):
    shards = files(tmp_path, a=list(map(page, range(30))))
    for update in ({"extract": "html"}, {"format": "messages"}, {"kind": "python-docs"}):
        assert list(markup_lines([CORPUS.model_copy(update=update)], shards)) == []
    assert list(markup_lines([CORPUS], [])) == []


def test_plan_looks_at_a_part_of_large_corpora(tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.scan.markup.CHARACTERS", 10_000)
    (line,) = markup_lines([CORPUS], files(tmp_path, a=list(map(page, range(300)))))
    assert "texts of web that were looked at are markup" in line
    assert 10 < int(line.split()[0]) < 60


def test_the_whole_plan_says_it(tmp_path):
    write_jsonl(tmp_path / "documents" / "a.jsonl", [*prose(30), *map(page, range(10))])
    project = plain_project(tmp_path, settings(corpus()), {}).project
    warnings = checked_plan(project)[1].warnings
    line = next(line for line in warnings if "markup" in line)
    assert line.startswith("10 of 40 texts of web are markup: set")
    project = plain_project(tmp_path, settings(corpus(extract="html")), {}).project
    assert not [line for line in checked_plan(project)[1].warnings if "markup" in line]


def stored(project):
    """Read all files of a project into its tables."""
    section = {one.name: one for one in project.settings.corpus}
    shards = [(one.key, read_shard(one, section[one.corpus])) for one in scan(project).files.values()]
    return [intake for group in store_shards(project.home.store, shards) for intake in group]


def test_the_status_says_it_of_what_is_stored(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "documents" / "a.jsonl", [*prose(30), *map(page, range(10))])
    write_jsonl(tmp_path / "sound" / "b.jsonl", prose(30))
    text = settings(corpus(), corpus("sound", "sound"))
    project = plain_project(tmp_path, text, {}).project
    said = next(line for line in checked_plan(project)[1].warnings if "markup" in line)
    stored(project)
    assert [line for line in read_status(project).warnings if "markup" in line] == [said]
    extracting = plain_project(tmp_path, settings(corpus(extract="html")), {}).project
    assert not [line for line in read_status(extracting).warnings if "markup" in line]
    monkeypatch.setattr("tamis.scan.stored_texts.LOOKED_AT", 35)
    (line,) = stored_text_lines(project.home.store, project.settings.corpus)
    assert " of 35 texts of web that were looked at are markup: " in line


@needs_library
def test_examples_of_a_target_are_the_main_texts_of_its_pages(tmp_path):
    rows = [json.dumps({"text": page(number), "topic": "rivers"}) for number in range(12)]
    write(tmp_path / "target" / "goal.jsonl", [*rows, json.dumps({"text": WORDS, "topic": "rivers"})])
    raw = TargetSection(name="goal", kind="files", path="target")
    goal = raw.model_copy(update={"extract": "html", "label_column": "topic"})
    read = read_target_rows(goal, tmp_path).examples
    assert len(read) == len(read_target_rows(raw, tmp_path).examples) == 13
    assert not read["text"].str.contains("<").any()
    assert WORDS in read["text"].to_list(), "texts that are no markup stay as they are"
    assert set(read["label"]) == {"rivers"}
    withdrawn = Refusal(doc_ids=pl.Series([document_id(page(3))]))
    assert len(withdrawn.documents(read)[0]) == 12


def test_pages_of_a_target_are_a_setting_of_its_examples(tmp_path):
    text = settings(corpus(), target(extract="html"))
    project = plain_project(tmp_path, text)
    stated = EXAMPLES_STAGE.settings(project.snapshot, "goal")
    assert (stated["extract"], stated["pages"]) == ("html", pages.identity())
    project.configure(settings(corpus(), target()))
    assert not {"extract", "pages"} & EXAMPLES_STAGE.settings(project.snapshot, "goal").keys()


@pytest.mark.parametrize(
    "more",
    [{"format": "messages"}, {"prompt_column": "q", "response_column": "a"}, {"kind": "python-docs"}],
)
def test_examples_that_are_no_pages_are_not_extracted(more):
    with pytest.raises(ValueError, match="no value, since these examples are no pages"):
        TargetSection(**{"name": "goal", "kind": "files", "path": "target", "extract": "html", **more})


@needs_library
def test_columns_of_pages_are_kept_and_other_records_counted(tmp_path):
    folder = tmp_path / "documents"
    write(folder / "a.html", [page(1)])
    (folder / "b.warc").write_bytes(answer(2) + record(b"x", "request") + record(b"x", "warcinfo"))
    project = plain_project(tmp_path, settings(corpus()), {}).project
    made = stored(project)
    kept = project.home.store.read("kept_rows", ["shard", "row", "content"]).sort("shard", "row")
    rows = [json.loads(content) for row, content in kept.select("row", "content").iter_rows() if row >= 0]
    assert rows == [
        {"title": "Page 1", "id_in_file": document_id(page(1))},
        {
            "title": "Page 2",
            "url": "https://example.org/2",
            "date": "2026-01-02T03:04:05Z",
            "id_in_file": rows[1]["id_in_file"],
        },
    ]
    assert list(odd_value_lines(project.home.store)) == [
        "corpus web: 2 records without a page: 1 of type request, 1 of type warcinfo"
    ]
    assert [one.metadata().get("records_left_out", 0) for one in sorted(made, key=lambda one: one.shard)] == [
        0,
        2,
    ]


@needs_library
def test_a_page_is_withdrawn_by_the_text_in_its_file(tmp_path):
    folder = tmp_path / "documents"
    write(folder / "a.html", [page(1)])
    write(folder / "b.html", [page(2)])
    project = plain_project(tmp_path, settings(corpus()), {}).project
    stored(project)
    asking = Asking(store=project.home.store)
    asking.text((folder / "a.html").read_text(), "a.html")
    withdraw(project.home, asking.done(), WithdrawalReason.MISTAKE)
    texts = project.home.store.read("documents", ["text"])["text"].to_list()
    assert ["Page 2" in text for text in texts] == [True]
    write(folder / "c.html", [page(1)])
    stored(project)
    assert project.home.store.read("documents", ["text"])["text"].to_list() == texts


@needs_library
def test_the_library_is_a_setting_of_files_of_pages_alone(tmp_path, monkeypatch):
    write(tmp_path / "documents" / "a.html", [page(1)])
    write_jsonl(tmp_path / "documents" / "b.jsonl", prose(3))

    def keys(**more) -> dict[str, dict]:
        project = plain_project(tmp_path, settings(corpus(**more)), {}).project
        snapshot = scan(project)
        return {key: DOCUMENTS_STAGE.settings(snapshot, key) for key in snapshot.shards}

    before = keys()
    monkeypatch.setattr(pages, "identity", lambda: "another version")
    after, extracting = keys(), keys(extract="html")
    assert {key for key in before if before[key] != after[key]} == {"web__a.html"}
    assert all(extracting[key] != before[key] for key in before)
