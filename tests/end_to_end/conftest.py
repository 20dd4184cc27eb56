"""What end-to-end tests share: a small project with nothing made yet, and a materialized copy to change."""

from pathlib import Path

import pytest
from projects import SmallProject, make_project

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test of this folder slow unless it is a smoke test: whole runs are for `make test-all`."""
    for item in items:
        if item.path.is_relative_to(HERE) and not item.get_closest_marker("smoke"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def small_project(tmp_path, encoder_cache) -> SmallProject:
    return make_project(tmp_path / "project", encoder_cache)


@pytest.fixture
def project(tmp_path, materialized) -> SmallProject:
    """Return a materialized small project that the test may change."""
    return materialized(tmp_path / "copy")
