"""A small project whose values are said to be made: settings, a document, an example, heads; no run."""

import json
from pathlib import Path

from tamis.lineage.heads import Head, read_heads, write_heads
from tamis.lineage.look import look
from tamis.lineage.plan import input_key
from tamis.lineage.stages import stages
from tamis.project import Project, open_project

SETTINGS = """
[automation]
settle_seconds = 0.0
[[corpus]]
name = "web"
kind = "files"
path = "documents"
[[target]]
name = "goal"
kind = "files"
path = "target"
[[base_model]]
name = "small"
preset = "llama-0.8m"
"""


def make_project(root: Path, more: str) -> Project:
    """The project of SETTINGS and `more`."""
    for folder in ("documents", "target"):
        (root / folder).mkdir()
        (root / folder / "a.jsonl").write_text(json.dumps({"text": f"{folder} one"}) + "\n")
    (root / "tamis.toml").write_text(SETTINGS + more)
    return open_project(root)


def say_made(project: Project, asset: str, *keys: str) -> None:
    """The heads that steps leave which succeed now; where an input is missing, of another key."""
    for key in keys:
        heads, world = read_heads(project.home.store), look(project)
        found = input_key(stages()[asset], key, world, heads) or f"{asset}{key}"
        head = Head(asset=asset, partition=key, manifest=found, input_key=found, data_version=found)
        write_heads(project.home.store, [head])
