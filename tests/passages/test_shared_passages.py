"""Withdrawn passages that several documents share, or that arrive with a document later."""

import json

import pytest
from projects import corpus, settings, write
from split_projects import ALL, LONG, ROWS, SPLIT, document, places, project_at

from tamis.readers.text import document_id
from tamis.verbs.elsewhere.export import Extras, export_selection

HEAD = " ".join(f"shared{number}" for number in range(30)) + "."
FIRST, SECOND = (f"{HEAD}\n\n{document(seed, 8)}" for seed in (50, 51))
SHARED = document_id(HEAD)
SPLITS = ("17 words", None)
READ = frozenset({"raw_shards", "documents"})


def with_split(project, split):
    project.configure(settings(corpus(**({"split": split} if split else {})), ALL))
    project.make(READ)


def texts(project) -> str:
    return "\n".join(project.rows("documents")["text"])


def put(project, name, *rows):
    write(project.root / "documents" / name, [json.dumps({"text": text}) for text in rows])


@pytest.fixture
def sharing(tmp_path, nowhere):
    project = project_at(tmp_path / "project", ALL)
    put(project, "b.jsonl", FIRST)
    put(project, "c.jsonl", SECOND)
    project.make(READ)
    assert set(places(project).filter(doc_id=SHARED)["passage_of"]) == {
        document_id(FIRST),
        document_id(SECOND),
    }
    yield project
    project.close()


@pytest.mark.parametrize("by", ["document", "shard"])
def test_a_shared_passage_that_goes_with_a_document_stays_away_however_others_are_cut(sharing, by):
    if by == "document":
        sharing.withdraw([document_id(FIRST)])
    else:
        sharing.withdraw([], ["web__b.jsonl"])
    sharing.make(READ)
    left = places(sharing).filter(passage_of=document_id(SECOND))
    assert len(left)
    assert SHARED not in left["doc_id"]
    for split in SPLITS:
        with_split(sharing, split)
        assert "shared7" not in texts(sharing)
    with_split(sharing, SPLIT)
    assert places(sharing).filter(passage_of=document_id(SECOND)).equals(left)
    sharing.assert_sound(READ, amber=True)


def test_a_withdrawn_passage_that_arrives_with_a_document_stays_away_however_it_is_cut(tmp_path, nowhere):
    project = project_at(tmp_path / "project", ALL)
    put(project, "b.jsonl", FIRST)
    project.make(READ)
    project.withdraw([SHARED])
    put(project, "c.jsonl", SECOND)
    project.make(READ)
    left = places(project).filter(passage_of=document_id(SECOND))
    assert len(left)
    for split in SPLITS:
        with_split(project, split)
        assert "shared7" not in texts(project)
    with_split(project, SPLIT)
    assert places(project).filter(passage_of=document_id(SECOND)).equals(left)
    project.close()


def test_passages_of_a_document_that_left_are_withdrawn_with_it(project, tmp_path):
    """Their rows in an export of passages, too; and a passage does not come back with its document."""
    own = places(project).filter(row=3)["doc_id"]
    other = places(project).filter(row=2)["doc_id"][1]
    done = export_selection(project.project, "all", "jsonl", extras=Extras(passages=True))
    rows = [json.loads(line) for line in done.path.read_text().splitlines()]
    write(project.root / "documents" / "a.jsonl", [json.dumps(row) for row in [*ROWS[:2], *ROWS[4:]]])
    project.make(READ)
    project.withdraw([document_id(LONG[3]), other])
    assert set(own) <= set(project.rows("withdrawals")["doc_id"])
    left = [json.loads(line) for line in done.path.read_text().splitlines()]
    assert left == [row for row in rows if row["doc_id"] not in {*own, other}]
    write(project.root / "documents" / "a.jsonl", map(json.dumps, ROWS))
    with_split(project, None)
    stored = project.rows("occurrences")["doc_id"]
    assert stored.is_in([document_id(LONG[2]), document_id(LONG[3])]).sum() == 0
    assert document_id(LONG[1]) in stored
