"""The form of a home: what another version of Tamis wrote is refused with the way to rebuild it."""

import pyarrow as pa
import pytest

from tamis.store.home import Home, HomeFormError, placed
from tamis.store.schemas import schema_of


def test_a_home_of_another_form_is_refused_and_the_error_says_how_to_rebuild_it(tmp_path):
    home = Home(tmp_path)
    schema = schema_of("heads")
    without = pa.schema([field.remove_metadata() for field in schema])
    home.store.append("heads", pa.Table.from_pylist([], schema=without))
    with pytest.raises(HomeFormError, match=r"by Tamis 0.1, .* move the .* away and run `tamis materialize`"):
        placed(home)


def test_a_home_of_this_form_is_opened(tmp_path):
    home = Home(tmp_path)
    home.store.append("heads", pa.Table.from_pylist([], schema=schema_of("heads")))
    assert placed(home) == home
