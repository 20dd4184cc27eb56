"""What end-to-end tests share: the small project, with nothing made yet, and as it is materialized."""

from collections.abc import Callable
from pathlib import Path

import pytest
from once import once
from small_project import SETTINGS, SmallProject, make_project


@pytest.fixture
def small_project(tmp_path, encoder_cache) -> SmallProject:
    return make_project(tmp_path / "project", encoder_cache)


@pytest.fixture(scope="session")
def materialized(shared, encoder_cache) -> Callable[..., SmallProject]:
    """Copies, with other settings if need be, of a small project that one worker materialized for all."""

    def make(root: Path) -> None:
        make_project(root, encoder_cache).tamis("materialize", alone=True)

    original = SmallProject(once(shared / "materialized", make))

    def copied(root: Path, settings: str = SETTINGS) -> SmallProject:
        project = original.copy(root)
        (root / "tamis.toml").write_text(settings)
        return project

    return copied


@pytest.fixture(scope="module")
def built(tmp_path_factory, materialized) -> SmallProject:
    """The small project as it is materialized, to be asked and not to be changed."""
    return materialized(tmp_path_factory.mktemp("built") / "project")


@pytest.fixture
def project(tmp_path, materialized) -> SmallProject:
    """The same to be changed."""
    return materialized(tmp_path / "copy")
