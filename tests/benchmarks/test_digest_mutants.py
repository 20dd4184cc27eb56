"""Constants are found in assignments of modules alone, and those that are drawn are changed, no others."""

from benchmarks.digest_mutants import constants, make

TEXT = '''"""A module."""
__all__ = ["LIMIT"]
LIMIT, RATE = 3, 0.5
NAMES: dict[str, bool] = {"ä": True}
def entry():
    return 4
'''


def test_constants_are_changed_where_they_stand(tmp_path):
    file = tmp_path / "tamis" / "a.py"
    file.parent.mkdir()
    file.write_text(TEXT)
    (file.with_name("b.py")).write_text("LEFT_OUT = 1")
    found = constants(tmp_path, frozenset({"tamis.b"}))
    assert [one.was for one in found] == ["3", "0.5", "'ä'", "True"]
    make(tmp_path, found, {"tamis/a.py": TEXT})
    changed = file.read_text()
    assert "LIMIT, RATE = 4, 0.635" in changed
    assert "{'äx': False}" in changed
    assert "return 4" in changed
    make(tmp_path, found[:1], {"tamis/a.py": TEXT})
    assert file.read_text() == TEXT.replace("= 3,", "= 4,")
