"""Names of crawls in a card: none acts as markup, breaks a table or reaches a terminal as it is."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tamis.interchange.card import LONGEST, code, data_card, words
from tamis.interchange.facts import Facts, Written
from tamis.selection.pool import Tokens

HOSTILE = [
    "a\x1b[31mred\x1b]0;title\x07",
    "line\nbreak\r\n| x | 9 | 9 |",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://example.org/p.png)",
    "[click](javascript:alert(1))",
    "**bold** __init__ _it_ ~~gone~~ $x$",
    "a`b``c|d\\",
    "`",
    "&lt;b&gt; &#x41;",
    "\u202egnp.exe\u2066",
    "\x85\u2028\u2029\x7f\x9b31m",
    "# head\n\n---\n: [a, {b: c}]",
    "  ",
    "",
    "l" * 5_000,
]


@pytest.mark.parametrize(
    "name", ["posts", "CC-BY-4.0", "web__a.jsonl", "data/a (1), b: c's", "naïve 東京 50%"]
)
def test_plain_names_stay_as_they_are(name):
    assert words(name) == name


def test_a_pipe_is_escaped_and_each_entry_of_a_list_is_written_by_itself():
    assert words("a|b") == "a\\|b"
    assert words(["nc*", "gpl"]) == "`nc*`, gpl"
    assert code("a`b") == "``a`b``"
    assert code("`") == "`` ` ``"
    assert code("a|b") == "`a\\|b`"


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)))
def test_no_value_leaves_its_line_its_cell_or_its_code(value):
    for shown in (words(value), code(value)):
        assert len(shown.splitlines()) <= 1
        assert not re.search("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)
        assert len(shown) < LONGEST * 11
        assert not re.search(r"(?<!\\)\|", shown)
        if shown.startswith("`"):
            fence = re.match("`+", shown)[0]
            assert shown.endswith(fence)
            assert fence not in shown[len(fence) : -len(fence)]
        else:
            assert not re.search(r"[<>&`*\[\]!~$#]", shown)


class Tags(HTMLParser):
    """What a reader of HTML finds outside of code."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text))

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)


FACTS = Facts(
    project="p",
    selection="near",
    version=1,
    manifest="0" * 64,
    made_at="2026-01-01",
    settings={"sampler": "got-d", "filters": {"sources_denied": HOSTILE}},
    pool=9,
    eligible=9,
    documents=3,
    copies=3,
    n_bytes=9,
    tokens=Tokens(tokens=9, documents=3, estimated=0),
    reasons=tuple(("heuristic", name, 1) for name in HOSTILE if name),
    licences=tuple((name or None, 1, 1) for name in HOSTILE),
    sources=tuple((name or None, 1, 1) for name in HOSTILE),
    shards=1,
    histograms=(),
)


def test_a_card_of_hostile_names_is_a_card():
    columns = pa.schema([pa.field(name, pa.string()) for name in HOSTILE])
    written = Written(
        name="a`b|<i>.parquet", columns=columns, form="parquet", size=1, sha256="0" * 64, known=frozenset()
    )
    text = data_card(FACTS, written, ["c`\x1b.json"])
    _start, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["configs"][0]["data_files"] == "a`b|<i>.parquet"
    assert Tags(body).found == []
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    for title in ("Licences", "Sources"):
        table = text.split(f"## {title}")[1].split("\n\n## ")[0].split("\n| ---")[1].splitlines()[1:]
        assert len([row for row in table if row.startswith("| ")]) == len(HOSTILE)
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in table if row} == {4}


@pytest.mark.parametrize("licence", [name for name in HOSTILE if name.strip()])
def test_the_head_of_a_card_is_yaml_whatever_the_licence_and_the_file_are_called(licence):
    facts = replace(FACTS, licences=((licence, 3, 9),))
    written = Written(
        name=f"{licence}.parquet",
        columns=pa.schema([]),
        form="parquet",
        size=1,
        sha256="0",
        known=frozenset(),
    )
    head = data_card(facts, written, []).split("\n---\n")[0].removeprefix("---\n")
    value = yaml.safe_load(head)
    assert list(value) == ["pretty_name", "license", "license_name", "configs"]
    assert len(value["license_name"].splitlines()) == 1
    assert value["configs"][0]["data_files"] == f"{licence}.parquet"
