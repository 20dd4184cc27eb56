"""A project with long documents, made once, and copies of it."""

import pytest
from split_projects import ALL, FEW, MADE, project_at


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    project = project_at(tmp_path_factory.mktemp("split") / "project", ALL, FEW)
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def project(built, tmp_path, nowhere):
    copied = built.copy(tmp_path / "project")
    yield copied
    copied.close()
