"""Scores, benchmarks, a control and an evaluation of the user's own: everything is as it was."""

import golden_projects
import golden_reading
import pytest

NAME = "open-0.1"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "project"
    golden_projects.build(NAME, folder)
    return folder


def test_the_open_project_gives_what_it_gave(root):
    assert golden_projects.compared(NAME, golden_projects.content_of(root)) == ""


def test_every_table_and_field_is_compared_or_named_as_not_read(root):
    assert golden_reading.unread(root / ".tamis") == []
