"""Docstrings are found without running anything, in order, with where they stand."""

import ast
import inspect
import json
import sys
import warnings
from collections import OrderedDict
from importlib import metadata

import pytest

from tamis.corpus import docstrings, list_shards, read_shard
from tamis.corpus.docstrings import module_name, package_licence
from tamis.corpus.documents import all_documents
from tamis.settings.config import CorpusSection

SOURCE = '''"""Module text."""
import sys
if sys.platform:
    class Outer:
        """Outer text.

            Indented as in the source.
        Back.
        """
        async def method(self):
            \'\'\'Method text.\'\'\'
            def inner():
                r"""Inner \\d text."""
        class Nested:
            "Nested text."
    try:
        def tried(): "Tried text."
    except ImportError:
        def fallen_back(): "Fallen back text."
for _ in []:
    pass
else:
    def in_else(): "Else text."
match 1:
    case 1:
        def in_case(): "Case text."
def without(): return lambda: "not a docstring"
def blank(): "  "
def concatenated(): "not" f"one"
'''


def docs(**values):
    return CorpusSection(name="docs", kind="python-docs", **values)


@pytest.fixture
def package(tmp_path, monkeypatch):
    files = {
        "__init__.py": SOURCE.encode(),
        "b.py": b'"""Text of b."""\nraise RuntimeError("executed")\n',
        "a/__init__.py": b'"""Text of a."""',
        "a/latin.py": '# coding: latin-1\n"""Text: caf\u00e9"""'.encode("latin-1"),
        "a/tests/test_a.py": b'"""Not read."""',
        "test/x.py": b'"""Not read."""',
        "broken.py": b"def (:\n",
        "nul.py": b"\x00",
        "warns.py": b'"""Text: \\d."""\n',
    }
    for name, data in files.items():
        path = tmp_path / "specimen" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_docstrings_in_order_of_file_and_line(package):
    (shard,) = list_shards(docs(packages=("specimen",)), package)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = all_documents(read_shard(shard, docs(packages=("specimen",), language="en")))
    assert list(batch.documents.select("source", "text").iter_rows()) == [
        ("specimen:<module>", "Module text."),
        ("specimen:Outer", "Outer text.\n\n    Indented as in the source.\nBack."),
        ("specimen:Outer.method", "Method text."),
        ("specimen:Outer.method.<locals>.inner", r"Inner \d text."),
        ("specimen:Outer.Nested", "Nested text."),
        ("specimen:tried", "Tried text."),
        ("specimen:fallen_back", "Fallen back text."),
        ("specimen:in_else", "Else text."),
        ("specimen:in_case", "Case text."),
        ("specimen.a:<module>", "Text of a."),
        ("specimen.a.latin:<module>", "Text: café"),
        ("specimen.b:<module>", "Text of b."),
        ("specimen.warns:<module>", "Text: \\d."),
    ]
    assert batch.documents["row"].to_list() == list(range(13))
    assert set(batch.documents["language"]) == {"en"}
    assert json.loads(batch.documents["metadata"][3]) == {
        "line": 12,
        "path": "__init__.py",
        "qualname": "Outer.method.<locals>.inner",
    }
    assert "specimen" not in sys.modules


def test_files_that_do_not_parse_are_named(package):
    (shard,) = list_shards(docs(packages=("specimen",)), package)
    quarantine = all_documents(read_shard(shard, docs(packages=("specimen",)))).quarantine
    assert list(quarantine.select("row", "reason").iter_rows()) == [
        (4, "malformed_row"),
        (5, "malformed_row"),
    ]
    assert [detail.partition(":")[0] for detail in quarantine["detail"]] == ["broken.py", "nul.py"]


def test_a_file_is_parsed_again_only_when_its_content_changed(package, monkeypatch):
    parsed, parse = [], ast.parse
    monkeypatch.setattr(ast, "parse", lambda source: parsed.append(source) or parse(source))
    monkeypatch.setattr(docstrings, "_parsed", OrderedDict())

    def read() -> list[str]:
        (shard,) = list_shards(docs(packages=("specimen",)), package)
        return all_documents(read_shard(shard, docs(packages=("specimen",)))).documents["text"].to_list()

    first, count = read(), len(parsed)
    parsed.clear()
    assert read() == first
    assert len(parsed) == 2 < count  # what does not parse is tried again
    (package / "specimen" / "b.py").write_text('"""Another text of b."""')
    parsed.clear()
    assert read() == [text if text != "Text of b." else "Another text of b." for text in first]
    assert len(parsed) == 3


def test_texts_agree_with_inspect():
    import textwrap

    (shard,) = list_shards(docs(packages=("textwrap",)), None)
    found = all_documents(read_shard(shard, docs(packages=("textwrap",)))).documents
    by_source = dict(found.select("source", "text").iter_rows())
    for qualname, thing in {
        "<module>": textwrap,
        "TextWrapper": textwrap.TextWrapper,
        "TextWrapper.fill": textwrap.TextWrapper.fill,
        "dedent": textwrap.dedent,
    }.items():
        assert by_source[f"textwrap:{qualname}"] == inspect.getdoc(thing).strip()


def test_module_names():
    assert module_name("scipy", "stats/_x.py") == "scipy.stats._x"
    assert module_name("scipy", "__init__.py") == "scipy"
    assert module_name("six", "six.py") == "six"


def test_licence_comes_from_the_metadata_of_the_package():
    stated = metadata.metadata("numpy").get("License-Expression")  # older releases have a classifier alone
    assert package_licence("numpy") == (stated or "BSD License")
    assert package_licence("PIL") == "MIT-CMU"
    assert package_licence("no_such_package") is None
