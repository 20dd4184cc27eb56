"""Markup is told from prose that names tags and from code by the shape of a text."""

import inspect
import json
import random

import pytest

from tamis.readers.markup import is_markup, kind_of

WORDS = "The river carries sand and stones from the hills to the sea, and builds its banks anew each spring. "
BODY = f"<body><div class='a'><h1>Rivers</h1><p>{WORDS}</p></div></body>"
PAGE = f"<html><head><title>x</title></head>{BODY}</html>"
SCRIPT = "<script>function go(a) { if (a[0] == 1) { return {b: a}; } }</script>" * 20
MARKUP = {
    "a page": PAGE,
    "a page mostly of script": PAGE.replace("<p>", SCRIPT + "<p>"),
    "a body": "".join(f"<p>{WORDS}<em>so</em> it is.</p>\n" for _ in range(9)),
    "a fragment": f'<div class="post"><a href="/x">Rivers</a><br>{WORDS}</div>',
    "a menu": "<ul>" + "<li><a href='/a'>Home</a></li>" * 20 + "</ul>",
    "a table": "<table>" + "<tr><td>12</td><td>13</td></tr>" * 20 + "</table>",
    "upper case": PAGE.upper(),
    "paragraphs that are long": "".join(f"<p>{WORDS * 4}<b>so</b></p>" for _ in range(9)),
    "a page with some code": PAGE.replace(
        "</div>", f"<pre>for (i = 0; i &lt; n; i++) {{ a[i] = b[i]; }}</pre><p>{WORDS * 6}</p></div>"
    ),
}
NO_MARKUP = {
    "prose": WORDS * 20,
    "prose with signs": "If a < b and c > d, then <none> of 3 < 4 > 2 holds. " * 20,
    "prose that names tags": f"{WORDS * 10} Use <b>, not <i>, and close it by </b>. {WORDS * 10}",
    "line breaks alone": f"{WORDS}<br /><br />{WORDS}<br />" * 3,
    "a transcript": "<laughs> Well, <name> said <unk> so. <s> And then? </s> " * 20,
    "an address": "Ann <ann@example.org> wrote to Bob <bob@example.org>: see <https://example.org/a>. " * 9,
    "json": json.dumps([{"a": 1, "b": [1, 2]}] * 50, indent=1),
    "xml of something else": "<project><dependency><groupId>a</groupId></dependency></project>" * 20,
    "markdown": f"# Rivers\n\n{WORDS}\n\n- one\n- two\n\n> quoted\n\n`<div>`\n" * 5,
    "no letters": "<<<>>> << >> <" * 100,
    "nothing": "",
}
CODE = {
    "python": inspect.getsource(json.decoder) + inspect.getsource(random),
    "generics": "class A<B> extends C<A> {\n  Map<A, List<B>> of;\n"
    "  List<A> get(B b) {\n    return b;\n  }\n}\n" * 9,
    "jsx": "export function List({items}) {\n  const [a, setA] = useState(null);\n  return (\n"
    '    <div className="list">\n      {items.map((item) => (\n'
    "        <a key={item.id} onClick={() => setA(item)}>{item.name}</a>\n      ))}\n    </div>\n  );\n}\n"
    * 5,
    "strings in javascript": "function add(a) {\n"
    "  html += '<div><b>' + a.name + '</b></div>';\n"
    "  element.innerHTML = html;\n  return { a: a, b: [1, 2] };\n}\n" * 9,
    "php": "<?php\nforeach ($rows as $row) {\n  echo '<tr><td>' . $row['a'] . '</td></tr>';\n"
    "  $n = $n + 1;\n}\n?>\n" * 9,
}


@pytest.mark.parametrize("what", MARKUP)
def test_markup(what):
    assert kind_of(MARKUP[what]) == "markup"
    assert is_markup(MARKUP[what])


@pytest.mark.parametrize("what", NO_MARKUP)
def test_what_is_none(what):
    assert kind_of(NO_MARKUP[what]) != "markup"
    assert not is_markup(NO_MARKUP[what], stated=True) or what in ("line breaks alone",)


@pytest.mark.parametrize("what", CODE)
def test_code_is_code_whatever_tags_it_writes(what):
    assert kind_of(CODE[what]) == "code"


def test_a_column_that_is_said_to_hold_html_needs_one_element():
    assert is_markup(f"<p>{WORDS}", stated=True)
    assert is_markup("\n<!DOCTYPE html>x", stated=True)
    assert not is_markup(f"<p>{WORDS}")
    assert not is_markup(WORDS, stated=True)
    assert not is_markup("<unk> said so", stated=True)


def test_a_long_text_is_judged_in_time():
    for text in ("<" * 1_000_000, "<a " * 300_000, "<!--" * 200_000, "<script>" * 100_000, "<a>" * 300_000):
        kind_of(text)
