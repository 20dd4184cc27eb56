"""A project of conversations: the pool, a target, what a model's template does not take, and an export."""

import json

import pytest
from projects import CORPUS, base_model, corpus, plain_project, selection, settings, target, texts, write

from tamis.training import train_tokenizer
from tamis.training.chats import Chat
from tamis.training.storing import split_examples
from tamis.verbs.elsewhere.export import export_selection
from tamis.verbs.status import read_status

MADE = CORPUS | {"token_counts", "target_examples", "contamination", "selected_subset"}
SAID = texts("cooking", 40)
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{{ message.content }}{{ eos_token }}{% endfor %}"
)


def chat(number: int, role: str = "user") -> dict:
    turns = [{"role": role, "content": SAID[number]}, {"role": "assistant", "content": SAID[number + 1]}]
    return {"messages": turns, "id": number}


@pytest.fixture
def project(tmp_path, nowhere):
    root = tmp_path / "project"
    write(root / "chats" / "a.jsonl", [json.dumps(chat(n)) for n in (0, 2, 4)])
    examples = [chat(6), chat(8), chat(10, "tool"), chat(12), chat(14)]
    write(root / "target" / "a.jsonl", [json.dumps(one) for one in examples])
    train_tokenizer(SAID, root / "model", vocabulary=300)
    config = root / "model" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": TEMPLATE}))
    text = settings(
        corpus("chats", "chats", format="messages"),
        target(format="messages", train=2, held_out=2),
        selection("all", "random", 10),
        base_model(preset=None, path="model"),
    )
    made = plain_project(root, text, {})
    yield made
    made.close()


def test_conversations_are_a_pool_and_a_target(project):
    project.make(MADE)
    stored = set(project.store.read("documents", ["text"])["text"])
    assert stored == {f"{SAID[n]}\n\n{SAID[n + 1]}" for n in (0, 2, 4)}
    learnt = {}
    for split in ("train", "held_out"):
        learnt |= split_examples(project.store, "goal", split)
    expected = {Chat(turns=(("user", SAID[n]), ("assistant", SAID[n + 1]))) for n in (6, 8, 12, 14)}
    assert set(learnt.values()) == expected
    bad = project.store.read("quarantine", ["shard", "row", "detail"]).rows()
    assert [row[:2] for row in bad] == [("target/goal/a.jsonl", 2)]
    assert bad[0][2].endswith("model rejects it: no tools")
    assert project.audit().status != "red"
    lines = export_selection(project.project, "all", "jsonl").path.read_text().splitlines()
    found = sorted((json.loads(line) for line in lines), key=lambda row: row["id"])
    assert [row["messages"] for row in found] == [chat(n)["messages"] for n in (0, 2, 4)]

    versions = project.versions()
    project.make(MADE)
    assert project.versions() == versions


PROMPT = " ".join(SAID[20:34])


def below_the_prompt(number: int) -> str:
    system = {"role": "system", "content": PROMPT}
    asked, answered = f"What is {number}?", f"{number}"
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return json.dumps({"messages": [system, *turns]})


@pytest.mark.with_pages
def test_chats_below_one_prompt_are_kept_and_a_file_of_copies_is_named(tmp_path, nowhere):
    """The prompt has 420 words, question and answer have four."""
    root = tmp_path / "project"
    write(root / "chats" / "a.jsonl", [below_the_prompt(number) for number in range(30)])
    write(root / "documents" / "copies.jsonl", [json.dumps({"text": f"{PROMPT} {n}"}) for n in range(25)])
    write(root / "target" / "a.jsonl", [below_the_prompt(number) for number in range(100, 120)])
    text = settings(
        corpus("chats", "chats", format="messages"),
        corpus(),
        target(format="messages", train=10, held_out=8),
        selection("all", "random", 100, target="goal"),
    )
    made = plain_project(root, text, {})
    made.make(MADE)
    assert made.store.read("target_examples")["split"].value_counts(sort=True)["count"].to_list() == [
        10,
        8,
        2,
    ]
    chosen = made.store.read("selected_subset", ["doc_id"])["doc_id"]
    assert len(chosen) == 31
    assert made.store.count("contamination") == 0
    (line,) = (one for one in read_status(made.project).warnings if "near-duplicates" in one)
    assert line.startswith("file copies.jsonl of corpus web: 24 of its 25 documents are near-duplicates")
    assert line.partition(";")[0] in (made.home.reports / "selection_all.html").read_text()
    assert made.audit().status != "red"
    made.close()
