"""Sentences and commands that the slow tests of the how-to pages rely on are on their pages."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("test_how_to.py")
PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


def relied_on() -> list[tuple[str, str, str]]:
    """Return test, page and each literal sentence that the test looks for there."""
    asked = []
    for test in ast.parse(TESTS.read_text()).body:
        if not isinstance(test, ast.FunctionDef) or not test.name.startswith("test_"):
            continue
        calls = [node for node in ast.walk(test) if isinstance(node, ast.Call)]
        pages = {literal(call, 0) for call in calls if getattr(call.func, "id", "") == "Page"} - {""}
        for call in calls:
            method = getattr(call.func, "attr", "")
            sentences = call.args if method == "says" else call.args[:1] if method == "words" else []
            for place, _sentence in enumerate(sentences):
                if len(pages) == 1 and (text := literal(call, place)):
                    asked.append((test.name, *pages, text))
    return asked


def literal(call: ast.Call, place: int) -> str:
    node = call.args[place] if place < len(call.args) else None
    return str(node.value) if isinstance(node, ast.Constant) else ""


def test_most_pages_are_relied_on():
    assert len({page for _test, page, _text in relied_on()}) > 10


@pytest.mark.parametrize(("test", "page", "text"), relied_on())
def test_a_page_says_what_its_test_shows(test, page, text):
    whole = " ".join((PAGES / f"{page}.md").read_text().split())
    assert " ".join(text.split()) in whole, f"{test} needs this sentence, or another one there"
