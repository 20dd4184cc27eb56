"""The home that tests of withdrawal begin with."""

import pytest
from withdrawal_home import made_home

from tamis.store.home import Home


@pytest.fixture
def home(tmp_path) -> Home:
    return made_home(tmp_path / "home")
