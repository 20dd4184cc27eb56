"""The server for agents, asked by the client of its package: the JSON of the verbs, no text, nothing made."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from projects import SmallProject, write

from tamis.cli import main
from tamis.cli.agents import READING, server_of, without_text


def asked(with_text: bool, *calls: tuple[str, Mapping[str, Any]]) -> list[Any]:
    """Return the answers of a server in this process: JSON values, or the sentence of an error."""

    async def ask() -> list[Any]:
        async with Client(server_of(with_text)) as client:
            return [read(await client.call_tool(name, dict(given))) for name, given in calls]

    return anyio.run(ask)


def read(result: Any) -> Any:
    (content,) = result.content
    return content.text if result.is_error else json.loads(content.text)


@pytest.fixture
def project(built, monkeypatch, nowhere) -> SmallProject:
    monkeypatch.chdir(built.root)
    for name, value in built.environment.items():
        monkeypatch.setenv(name, value)
    return built


def contents(folder: Path) -> dict[str, bytes]:
    """All files but caches and databases, whose readers SQLite notes in them."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "cache" not in path.parts)
    return {str(path): path.read_bytes() for path in files if ".db" not in path.name}


def test_answers_are_those_of_the_verbs_and_nothing_is_written(project, capsys):
    chosen = project.store.read("selected_subset", ["doc_id"])["doc_id"][0]
    before = contents(project.home.root)
    found = asked(
        False,
        ("status", {}),
        ("plan", {}),
        ("explain", {"document": chosen[:12]}),
        ("versions", {"selection": "near-algebra"}),
        ("gaps", {"target": "algebra"}),
        ("audit", {"name": "near-algebra"}),
        ("comparison", {}),
    )
    assert contents(project.home.root) == before
    verbs = [
        ["status"],
        ["plan"],
        ["explain", chosen],
        ["diff", "near-algebra", "--list"],
        ["gaps", "algebra"],
        ["audit", "near-algebra", "--quick"],
    ]
    for words, answer in zip(verbs, found, strict=False):
        capsys.readouterr()
        assert main([*words, "--json"]) == 0
        expected = json.loads(capsys.readouterr().out)
        assert (answer["entries"] if words == ["plan"] else answer) == expected, words
    agreement = found[-1]["agreement"]
    assert {row["sampler_a"] for row in agreement} >= {"got-d", "density"}
    assert found[-1]["trained"] is None


def test_texts_are_answered_with_consent_alone(project):
    chosen = project.store.read("selected_subset", ["doc_id"])["doc_id"][0]
    (text,) = project.store.read("documents", ["text"], f"doc_id = '{chosen}'")["text"]
    assert asked(True, ("text", {"document": chosen})) == [{"doc_id": chosen, "text": text}]
    (refused,) = asked(False, ("text", {"document": chosen}))
    assert "text" in refused
    assert text not in refused
    quoted = {"excerpt": "a row", "detail": "line 3: a row", "reason": "bad"}
    assert without_text({"quarantine": [quoted]}) == {"quarantine": [{"reason": "bad"}]}
    shown = {"evidence": {"measured": {"shared_words": ["a b"]}, "allowed": "none"}, "detail": "exam"}
    assert without_text([shown]) == [{"evidence": {"measured": {}, "allowed": "none"}, "detail": "exam"}]


def test_what_cannot_be_answered_is_a_sentence(project):
    calls = [
        ("explain", {"document": "nonsense"}),
        ("gaps", {"target": "algebr"}),
        ("diff", {"selection": "near-algebra", "end": 9}),
        ("scaling", {"target": "algebra"}),
        ("explain_checkpoint", {"name": "none"}),
    ]
    said = asked(False, *calls)
    assert "pass all 32 digits of the id" in said[0]
    assert "did you mean 'algebra'?" in said[1]
    assert "only version 1" in said[2]
    assert "target with a scaling report" in said[3]
    assert "none" in said[4]


def test_quarantine_of_a_project_is_answered_without_what_its_rows_say(materialized, tmp_path, monkeypatch):
    project = materialized(tmp_path / "copy")
    monkeypatch.chdir(project.root)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    write(project.root / "landing" / "bad.jsonl", ['{"text": "sound one of many words"}', '{"text": "sec'])
    project.make({"raw_shards", "documents"})
    (state,) = asked(False, ("status", {}))
    (entry,) = state["quarantine"]
    assert entry["reason"]
    assert "excerpt" not in entry
    (whole,) = asked(True, ("status", {}))
    assert "excerpt" in whole["quarantine"][0]


def test_the_command_serves_on_stdin_and_stdout(project):
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "tamis.cli", "mcp"], env=dict(project.environment)
    )

    async def ask() -> Any:
        async with Client(server) as client:
            listed = (await client.list_tools()).tools
            return listed, read(await client.call_tool("status", {}))

    listed, state = anyio.run(ask)
    assert {tool.name for tool in listed} == {tool.__name__ for tool in READING}
    assert all(tool.annotations.read_only_hint and tool.description for tool in listed)
    assert state["project"] == project.project.settings.project.name


def test_without_the_package_the_command_that_installs_it_is_said(project, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    assert main(["mcp"]) == 2
    assert "[mcp]" in capsys.readouterr().err
