"""The project that tests of a tuning copy: all that comes before the search is made, once for a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import SmallProject
from tuned_project import make_begun


@pytest.fixture(scope="session")
def begun(tmp_path_factory, encoder_cache: Path) -> SmallProject:
    return make_begun(tmp_path_factory.mktemp("tuned") / "project", encoder_cache)


@pytest.fixture
def project(begun: SmallProject, tmp_path, nowhere, monkeypatch) -> Iterator[SmallProject]:
    monkeypatch.setenv("TAMIS_TRUST", "1")
    made = begun.copy(tmp_path / "project")
    yield made
    made.close()
