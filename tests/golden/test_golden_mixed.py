"""Several formats, pairs, labels, filters, a judge's server, a withdrawal: everything is as it was."""

from dataclasses import replace

import content as reading
import golden_compare
import golden_projects
import golden_reading
import golden_storing
import lancedb
import pytest

NAME = "mixed-0.1"


@pytest.fixture(scope="module")
def root(tmp_path_factory, encoder_cache):
    folder = tmp_path_factory.mktemp("golden") / "project"
    golden_projects.build(NAME, folder, encoder_cache)
    return folder


def test_the_mixed_project_gives_what_it_gave(root):
    assert golden_projects.compared(NAME, golden_projects.content_of(root)) == ""


def test_every_table_and_field_is_compared_or_named_as_not_read(root, monkeypatch):
    home = root / ".tamis"
    assert golden_reading.unread(home) == []
    monkeypatch.setitem(reading.TABLES, "density", replace(reading.TABLES["density"], sketch=""))
    monkeypatch.delitem(reading.TABLES, "quarantine")
    assert golden_reading.unread(home) == ["quarantine", "scores_density.density"]


@pytest.mark.parametrize(
    ("table", "where", "change", "expected"),
    [
        ("decisions", "verdict = 'selected'", {"verdict": "rejected"}, "decisions.verdict"),
        ("near_duplicates", "jaccard > 0.0", {"kept": "0" * 32}, "near_duplicates.kept"),
        ("mart_intake", "places > 1", {"places": 77}, "mart_intake.places"),
        ("quarantine", "row = 12", None, "quarantine.(row)"),
    ],
)
def test_what_is_altered_in_the_store_is_reported(root, table, where, change, expected):
    """After the comparison, since each alters the home."""
    store = lancedb.connect(root / ".tamis" / "lance").open_table(table)
    if change is None:
        store.delete(where)
    else:
        store.update(where=where, values=change)
    wanted = golden_storing.read(reading.HERE / NAME)
    frame = golden_reading.shortened(dict(golden_reading.tables_of(root / ".tamis")))[table]
    found = golden_compare.Golden(
        content={**wanted.content, table: frame}, machine=wanted.machine, packages=wanted.packages
    )
    values = {one.value for one in golden_compare.differences(wanted, found)}
    assert expected in values
