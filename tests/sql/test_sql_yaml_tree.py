"""YAML with lines."""

import pytest

from tamis.sql.errors import ProjectFileError
from tamis.sql.properties import read_yaml


def test_nodes_know_their_lines(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text("name: toy\nlist:\n  - one\n  - key: >\n      folded\n      text\n", encoding="utf-8")
    fields = read_yaml(file).fields(("name", "list"))
    assert (fields["name"].text(), fields["name"].line) == ("toy", 1)
    first, second = fields["list"].items()
    assert (first.text(), first.line) == ("one", 3)
    assert (second.mapping()["key"].text(), second.mapping()["key"].line) == ("folded text", 4)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\na: 2\n", 2, "occurs twice"),
        ("a: 1\nb: [1, 2\n", 3, "not valid YAML"),
        ("b: 1\n", 1, "'a' is missing"),
        ("a: 1\nc: 2\n", 2, "unknown key 'c'; valid: a, b"),
        ("- 1\n", 1, "expected a mapping"),
        ("a: !!python/name:os.system x\n", 1, "not valid YAML"),
    ],
)
def test_mistakes_name_the_line(tmp_path, text, line, message):
    file = tmp_path / "a.yml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ProjectFileError, match=message) as caught:
        read_yaml(file).fields(("a",), ("b",))["a"].text()
    assert caught.value.line == line


def test_an_empty_file_is_an_empty_mapping_and_wrong_kinds_fail(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text("", encoding="utf-8")
    assert read_yaml(file).fields(optional=("a",)) == {}
    file.write_text("a: {b: 1}\n", encoding="utf-8")
    node = read_yaml(file).mapping()["a"]
    for use, problem in ((node.items, "expected a list"), (node.text, "expected text")):
        with pytest.raises(ProjectFileError, match=problem):
            use()
