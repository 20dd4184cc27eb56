"""A home that an earlier release made: everything in it is read, continued and erased by the code of today.

`home-0.2.tar.xz` is the project that `make_home.py` made with Tamis 0.2 (commit 51cdcf94), without its cache.
Never pack it again with later code. A release that changes what a home holds adds one of its own.
"""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from projects import SmallProject

PACKED = Path(__file__).with_name("home-0.2.tar.xz")
WITHDRAWN = {"web__withdrawn.jsonl": 5, "web__sea.jsonl": 2}
HELD_BACK = "web__shrinks.jsonl"


@pytest.fixture
def home(tmp_path, encoder_cache) -> SmallProject:
    """The project of 0.2, with the encoder that its cache held."""
    with tarfile.open(PACKED) as packed:
        packed.extractall(tmp_path, filter="data")
    shutil.copytree(encoder_cache, tmp_path / ".tamis/cache")
    return SmallProject(tmp_path, durable=True)


def withdrawn_texts(project: SmallProject) -> list[str]:
    """Return the texts that were withdrawn, which are still in the user's files."""
    rows = [
        json.loads(line) for line in (project.root / "documents/withdrawn.jsonl").read_text().splitlines()
    ]
    return [row["text"] for row in rows]


def files_with(project: SmallProject, texts: list[str]) -> list[str]:
    """Return the files of the home that hold one of the texts."""
    files = [path for path in project.home.root.rglob("*") if path.is_file() and "cache" not in path.parts]
    return [str(path) for path in files for text in texts if text.encode() in path.read_bytes()]


def assert_not_red(project: SmallProject) -> None:
    """Check that the audit finds nothing altered or lost."""
    audit = project.json("audit")
    assert audit["status"] in ("green", "amber"), audit


def test_the_past_is_read(home):
    status = home.json("status", code=None)
    assert status["documents"] == 100
    assert [one["selection"] for one in status["selections"]] == ["best", "pinned", "random"]
    assert len(home.json("diff", "best", "--list")) == 21
    assert home.json("diff", "best", "19", "20")
    assert_not_red(home)
    withdrawn = [doc_id for one in home.json("withdraw", "--list") for doc_id in one["doc_ids"]]
    assert len(withdrawn) == sum(WITHDRAWN.values())
    assert "nothing was found" in home.tamis("withdraw", "--verify").stdout
    rows = home.store.read("decisions").filter(selection="best", verdict="selected")
    explained = home.json("explain", rows["doc_id"][0])
    assert explained["checkpoints"]
    assert {one["selection"] for one in explained["decisions"]} == {"best", "pinned", "random"}


def test_the_past_goes_on(home):
    """The held-back file stays, the pinned choice too, and what was withdrawn does not come back."""
    pinned = chosen(home, "pinned")
    (home.root / "documents/new.jsonl").write_text(
        json.dumps({"text": "A gull lost the compass at noon."}) + "\n"
    )
    said = home.tamis("materialize", code=1)
    assert HELD_BACK in said.stderr + said.stdout
    assert home.json("status", code=None)["documents"] == 101
    assert chosen(home, "pinned") == pinned
    assert files_with(home, withdrawn_texts(home)) == []
    assert_not_red(home)
    home.tamis("materialize", "--allow-removal", HELD_BACK)
    assert home.json("status")["documents"] == 101 - 37
    assert_not_red(home)


def test_a_document_of_the_past_is_erased_and_a_choice_comes_back(home):
    home.tamis("restore", "best", "15")
    assert len(chosen(home, "best")) <= 15
    home.tamis("export", "best", "--format", "jsonl")
    rows = (home.home.exports / "best.jsonl").read_text().splitlines()
    text = json.loads(rows[0])
    home.tamis("withdraw", text["doc_id"])
    assert files_with(home, [text["text"], *withdrawn_texts(home)]) == []
    assert "nothing was found" in home.tamis("withdraw", "--verify").stdout
    assert_not_red(home)


def chosen(project: SmallProject, selection: str) -> set[str]:
    """Return the ids of the documents that a selection holds."""
    rows = project.store.read("decisions").filter(selection=selection, verdict="selected")
    return set(rows["doc_id"])
