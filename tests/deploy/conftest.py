"""The encoder of the end-to-end tests serves these, too."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "end_to_end"))


@pytest.fixture(scope="session")
def encoder_cache(tmp_path_factory):
    """The static encoder, distilled once for all tests of the session."""
    from tamis.embedding import load_encoder

    cache = tmp_path_factory.mktemp("encoder") / "cache"
    load_encoder("static", cache=cache)
    return cache
