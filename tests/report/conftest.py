"""A checker that every page goes through: well-formed, self-contained, nothing unescaped."""

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

VOID = {"meta", "img", "br"}
HOSTILE = '<script>alert("x")</script> & https://example.org/a'


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)


@pytest.fixture
def read_page() -> Callable[[str], str]:
    """Check a page and return its visible text."""

    def read(page: str) -> str:
        assert page.startswith("<!DOCTYPE html>")
        reader = _Reader()
        reader.feed(page)
        reader.close()
        assert reader.open == []
        assert not re.search(r"https?://", page)
        names = {tag for tag, _ in reader.tags}
        assert not names & {"script", "link", "iframe"}
        for tag, attributes in reader.tags:
            assert "href" not in attributes
            if tag == "img":
                assert attributes["src"].startswith("data:image/png;base64,")
                assert attributes["alt"]
        return " ".join("".join(reader.text).split())

    return read


@pytest.fixture
def hostile() -> str:
    """Text that breaks a page which does not escape it."""
    return HOSTILE
