"""A checker that every page goes through: well-formed, self-contained, nothing unescaped."""

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

VOID = {"meta", "img", "br", "input"}
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
        if self.open[-1:] not in (["style"], ["script"]):
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
        assert not {tag for tag, _ in reader.tags} & {"link", "iframe"}
        # The one script that runs is that whose digest the policy names.
        running = [tag for tag, attributes in reader.tags if tag == "script" and "type" not in attributes]
        assert len(running) == page.count("sha256-") <= 1
        for tag, attributes in reader.tags:
            assert re.fullmatch(r"index\.html|[a-z]+_[^<>\"'&]+\.html", attributes.get("href", "a_page.html"))
            assert not [name for name in attributes if name.startswith("on")]
            if tag == "img":
                assert attributes["src"].startswith("data:image/png;base64,")
                assert attributes["alt"]
        return " ".join("".join(reader.text).split())

    return read


@pytest.fixture
def hostile() -> str:
    """Text that breaks a page which does not escape it."""
    return HOSTILE
