"""A whole project without its files: what lies in the corpora is said, what was made is imagined."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tamis.corpus import Shard
from tamis.lineage.automation import next_groups
from tamis.lineage.heads import Head, Heads
from tamis.lineage.plan import due_partitions, input_key
from tamis.lineage.stages import stages
from tamis.lineage.world import World
from tamis.project import Project, open_project

SETTINGS = """
[[corpus]]
name = "web"
kind = "files"
path = "documents"

[[target]]
name = "goal"
kind = "files"
path = "target"

[[target]]
name = "other"
kind = "files"
path = "target"

[[selection]]
name = "near"
sampler = "got-d"
target = "goal"
budget = 10

[[selection]]
name = "thin"
sampler = "density"
budget = 10

[[base_model]]
name = "small"
preset = "llama-0.8m"

[scaling]
target = "goal"
models = ["small"]
sizes = [5, 10]

[comparison]
model = "small"
selections = ["near"]
on_request = { models = ["small"], selections = ["near", "thin"] }
"""


@dataclass
class Imagined:
    """A project whose stages are made by writing heads: a value is the hash of what it depends on."""

    project: Project
    contents: dict[str, str] = field(default_factory=dict)
    heads: Heads = field(default_factory=dict)
    asked: frozenset[str] = frozenset()

    def world(self) -> World:
        shards = {
            key: Shard(corpus="web", name=key, key=key, kind="file", path=Path(key)) for key in self.contents
        }
        targets = {target.name: "1" for target in self.project.settings.target}
        return World(self.project, shards, dict(self.contents), targets, asked=self.asked)

    def materialize(self, wanted=None, settle=True) -> list[tuple[str, str]]:
        """Make everything that is due, one group after the other; returns (asset, partition) in order."""
        made = []
        while groups := next_groups(self.world(), self.heads, wanted, settle):
            for asset in groups[0].assets:
                made += [(asset, key) for key in self.make(asset, groups[0].partitions)]
        return made

    def make(self, asset: str, partitions: tuple[str, ...]) -> list[str]:
        world, stage = self.world(), stages()[asset]
        due = {found.partition for found in due_partitions(stage, world, self.heads)}
        for name in [asset, *(other.name for other in stages().values() if other.made_with == asset)]:
            for key in [key for key in partitions if key in due]:
                found = input_key(stages()[name], key, world, self.heads)
                assert found is not None, f"{name}[{key}] was started before its inputs were there"
                version = hashlib.sha256(found.encode()).hexdigest()
                self.heads[(name, key)] = Head(
                    asset=name, partition=key, manifest=version, input_key=found, data_version=version
                )
        return sorted(due.intersection(partitions))

    def versions(self) -> dict[tuple[str, str], str]:
        return {entry: head.data_version for entry, head in self.heads.items()}


@pytest.fixture
def imagined(tmp_path):
    (tmp_path / "tamis.toml").write_text(SETTINGS)
    return Imagined(open_project(tmp_path), {"web__a": "1", "web__b": "1"})
