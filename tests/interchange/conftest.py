"""The project of `made_exports`, whole, with repetitions, and exported."""

import pytest
from made_exports import DECISIONS, project_of

from tamis.project import Project
from tamis.verbs.elsewhere.export import export_selection


@pytest.fixture
def project(tmp_path) -> Project:
    """The project with everything in its home."""
    return project_of(tmp_path, DECISIONS)


@pytest.fixture
def repeating(tmp_path) -> Project:
    """The same with a training set that has the second document three times."""
    return project_of(
        tmp_path, [row | {"training_count": 3 if row["rank"] == 2 else None} for row in DECISIONS]
    )


@pytest.fixture
def exported(project):
    """The selection written as parquet, with all that describes it."""
    return export_selection(project, "near", "parquet").path
