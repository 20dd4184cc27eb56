"""`tamis init --documents`: the first rows of files say how they are read, and what may be a mistake."""

import json
import tomllib
from pathlib import Path

import pytest
from projects import texts
from shard_files import PACK, WRITERS, written

from tamis.cli import main
from tamis.corpus import list_shards
from tamis.corpus.documents import Reading, all_documents, read_as
from tamis.corpus.targets import read_target, split_target
from tamis.settings.config import Settings, load_settings

PROSE = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text().split("\n\n")
CODE = "for (int i = 0; i < n; i++) {\n    x[i] = y[i];\n}\nreturn x;\n" * 4


def rows(column: str = "text", count: int = 150, seed: int = 0) -> list[dict]:
    return [{"id": str(number), column: text} for number, text in enumerate(texts("algebra", count, seed))]


def chats(count: int = 30) -> list[dict]:
    return [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": f"yes {number}"}]}
        for number, text in enumerate(texts("sailing", count))
    ]


def write(path: Path, own: list[dict], ending: str = ".jsonl", packing: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written(path.parent, path.name, PACK[packing](WRITERS[ending](own)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a goal of 150 different examples."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "goal.jsonl", rows(seed=9))
    return tmp_path


def init(*documents: str, more: tuple[str, ...] = ("--target", "goal.jsonl")) -> tuple[Settings, dict]:
    """Return the settings that `tamis init` writes for files, and the values as written."""
    assert main(["init", "made", "--documents", *documents, *more]) == 0
    path = Path("made/tamis.toml")
    return load_settings(path), tomllib.loads(path.read_text())


def refused(capsys, *call: str) -> str:
    """Return the sentence in which a call is refused; nothing is written."""
    before = sorted(Path().rglob("*"))
    assert main(["init", "made", *call]) == 2
    assert sorted(Path().rglob("*")) == before
    return capsys.readouterr().err


def stored(settings: Settings, root: Path) -> list[str]:
    """Return the texts that the corpora of a project yield when their files are read whole."""
    found = []
    for corpus in settings.corpus:
        for shard in list_shards(corpus, root):
            batch = all_documents(read_as(shard, corpus, Reading()))
            assert batch.quarantine.is_empty()
            found += batch.documents["text"].to_list()
    return found


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("ending", WRITERS)
def test_all_rows_are_read_by_what_the_first_ones_say(folder, ending, packing):
    packing = "" if ending in (".parquet", ".arrow") else packing
    own = rows("content")
    write(folder / "data" / f"a{ending}{packing}", own, ending, packing)
    settings, values = init("data")
    assert values["corpus"][0]["text_column"] == "content"
    assert sorted(stored(settings, folder / "made")) == sorted(row["content"] for row in own)


def test_files_with_texts_in_different_columns_are_all_read(folder):
    own = {name: texts("sailing", 20, seed) for seed, name in enumerate(("content", "body", "content_2"))}
    for name, some in own.items():
        column = name.partition("_")[0]
        write(folder / "data" / f"{name}.jsonl", [{"id": 1, column: text} for text in some])
    settings, values = init("data/*.jsonl")
    assert values["corpus"][0]["text_column"] == ["content", "body"]
    write(folder / "data" / "both.jsonl", [{"body": "1", "content": text} for text in texts("cooking", 9)])
    (folder / "made" / "tamis.toml").unlink()
    assert sorted(stored(settings, folder / "made")) == sorted(
        [*(text for some in own.values() for text in some), *texts("cooking", 9)]
    )
    # Where the first of several columns is not what a file should be read by, each file decides.
    write(folder / "data" / "c.jsonl", [{"summary": text, "content": 7} for text in texts("cooking", 9)])
    write(folder / "data" / "d.jsonl", [{"content": "7", "summary": f"{text} and"} for text in PROSE[:9]])
    assert init("data/[cd].jsonl")[1]["corpus"][0]["text_column"] == "summary"


def test_chats_and_texts_are_told_apart(folder, capsys):
    write(folder / "data" / "chat.jsonl", chats())
    write(folder / "data" / "text.jsonl", rows(count=30))
    (folder / "data" / "note.md").write_text("A note is a text of its own.")
    said = refused(capsys, "--documents", "data", "--target", "goal.jsonl")
    assert "conversations (messages) in chat.jsonl, texts in note.md" in said
    settings, values = init("data/chat.jsonl", "data/text.jsonl")
    assert [one.get("format") for one in values["corpus"]] == ["messages", None]
    assert len(stored(settings, folder / "made")) == 60
    (folder / "made" / "tamis.toml").unlink()
    settings, values = init("data/[n-t]*")
    assert len(stored(settings, folder / "made")) == 31


def test_the_target_is_split_as_its_size_allows(folder, capsys):
    write(folder / "pool.jsonl", rows())
    for count, train, held_out in ((150, 100, 50), (99, 99, 0), (3, 3, 0), (4_000, 2_000, 500)):
        words = [f"word{number} " * 12 for number in range(count)]
        write(folder / "goal.jsonl", [{"text": text} for text in words])
        settings, values = init("pool.jsonl")
        goal = values["target"][0]
        assert (goal["train"], goal["held_out"]) == (train, held_out)
        examples, _bad = read_target(settings.target[0], folder / "made")
        split_target(examples, None, train, held_out, 0)
        said = capsys.readouterr()
        assert ("with fewer than 100" in said.err) == (count < 100)
        assert ("no model is measured" in said.out) == (held_out == 0)
        (folder / "made" / "tamis.toml").unlink()
    more = ("--target", "goal.jsonl", "--hold-out", "7")
    assert init("pool.jsonl", more=more)[1]["target"][0]["held_out"] == 7


def test_examples_that_repeat_one_another_are_not_held_out(folder, capsys):
    write(folder / "pool.jsonl", rows())
    same = " ".join(texts("algebra", 20, 3))
    write(folder / "goal.jsonl", [{"text": f"{same} {number}"} for number in range(120)])
    goal = init("pool.jsonl")[1]["target"][0]
    assert (goal["train"], goal["held_out"]) == (120, 0)
    assert "repeat one another" in capsys.readouterr().err


def test_files_of_the_target_are_no_documents(folder, capsys):
    write(folder / "a.jsonl", rows(count=20))
    said = refused(capsys, "--documents", "goal.jsonl", "--target", "goal.jsonl")
    assert "goal.jsonl is both pool and target" in said
    for documents in (("*.jsonl",), ("a.jsonl", "goal.jsonl"), ("a.jsonl", "goal*")):
        settings, _values = init(*documents)
        assert len(stored(settings, folder / "made")) == 20
        assert "examples" in capsys.readouterr().out
        (folder / "made" / "tamis.toml").unlink()


def test_another_column_that_would_do_is_named_and_can_be_taken(folder, capsys):
    own = [
        {"title": f"A title of {number} words, which is as long as a sentence", "content": text}
        for number, text in enumerate(PROSE[:30])
    ]
    write(folder / "pool.jsonl", own)
    init("pool.jsonl")
    assert "texts in column 'content'; 'title' would do, too (--text-column)" in capsys.readouterr().out
    (folder / "made" / "tamis.toml").unlink()
    write(folder / "goal.jsonl", [{"title": text} for text in texts("algebra", 120)])
    assert init("pool.jsonl", more=("--target", "goal.jsonl", "--text-column", "title"))[1]["corpus"][0][
        "text_column"
    ] == ("title")


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ("numbers.jsonl", "no column has a text; columns found: a, b. Name the column with --text-column"),
        ("none/*.jsonl", "none/*.jsonl: no file matches"),
        ("gaol.jsonl", "there is no such file or folder; did you mean 'goal.jsonl'?"),
        ("pictures", "none of its files has an ending that is read"),
        ("empty", "no file is in it that can be read"),
        ("cut.jsonl.gz", "no text can be read"),
    ],
)
def test_files_that_say_nothing_are_named(folder, capsys, documents, said):
    write(folder / "numbers.jsonl", [{"a": 1, "b": "x1"} for _ in range(30)])
    written(folder, "cut.jsonl.gz", b"\x1f\x8b\x08\0")
    (folder / "empty").mkdir()
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(b"\x89PNG")
    assert said in refused(capsys, "--documents", documents, "--target", "goal.jsonl")


def test_a_file_that_cannot_be_read_among_good_ones_is_named(folder, capsys):
    write(folder / "data" / "a.jsonl", rows(count=20))
    (folder / "data" / "b.jsonl").write_text("")
    init("data")
    assert "data: b.jsonl cannot be read so: the file holds nothing" in capsys.readouterr().err


@pytest.mark.parametrize("code", [8, 2])
def test_a_tenth_that_is_no_prose_is_said(folder, capsys, code):
    prose = [text for text in PROSE if len(text) > 300 and "|" not in text][:20]
    write(folder / "pool.jsonl", [{"text": f"{text}\n{number}"} for text in prose for number in range(3)])
    write(folder / "more.jsonl", [{"text": f"{CODE}{number}"} for number in range(code)])
    init("pool.jsonl", "more.jsonl")
    said = capsys.readouterr().err
    assert ("are no English prose (code" in said) == (code == 8)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("--documents", "goal.jsonl"), "name files with --target FILE"),
        (("--documents", "goal.jsonl", "--budget", "3"), "--budget goes with --from-select"),
        (("--target", "goal.jsonl"), "--target goes with --documents FILE ... or --from-select"),
        (("--documents", "goal.jsonl", "--from-select", "goal.jsonl"), "use one of them"),
        (("--documents", "-", "--target", "goal.jsonl"), "save standard input and pipes to files"),
    ],
)
def test_options_that_do_not_go_together(folder, capsys, call, said):
    assert said in refused(capsys, *call)


def test_the_project_is_the_template_with_other_sections(folder):
    write(folder / "pool.jsonl", rows())
    _settings, values = init("pool.jsonl")
    assert main(["init", "plain"]) == 0
    plain = tomllib.loads(Path("plain/tamis.toml").read_text())
    for one in (values, plain):
        del one["corpus"], one["target"], one["project"]["name"]
    assert json.dumps(values) == json.dumps(plain)
