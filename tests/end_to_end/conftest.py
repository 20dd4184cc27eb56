"""What end-to-end tests share: an encoder distilled once, and the small project."""

import pytest
from small_project import SmallProject, make_project


@pytest.fixture(scope="session")
def encoder_cache(tmp_path_factory):
    """The static encoder, distilled once for all tests of the session."""
    from tamis.embedding import load_encoder

    cache = tmp_path_factory.mktemp("encoder") / "cache"
    load_encoder("static", cache=cache)
    return cache


@pytest.fixture
def small_project(tmp_path, encoder_cache) -> SmallProject:
    return make_project(tmp_path / "project", encoder_cache)
