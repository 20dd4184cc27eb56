"""Tell markup (pages in HTML or parts of them) from prose and code by the shape of a text.

A single tag proves nothing: prose names tags, code writes them, generics look like them. The density of HTML
tags counts, their kinds, their spread over the text, whether elements are closed, and whether the text
between the tags is code.
"""

import re
from collections import Counter
from typing import Literal

_NAMES = """
a abbr address article aside b big blockquote body br button caption center cite code col dd del details div
dl dt em fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe img input
label legend li link main mark meta nav noscript object ol optgroup option p picture pre q s script section
select small source span strike strong style sub summary sup table tbody td textarea tfoot th thead time title
tr tt u ul var video
"""
_FREE = "br col hr img input link meta source p li dd dt td th tr option tbody thead"
TAGS, UNCLOSED = frozenset(re.findall(r"\w+", _NAMES)), frozenset(re.findall(r"\w+", _FREE))
"""Elements of HTML, and those of them without an end tag or with an optional one."""
LEAST_ELEMENTS, LEAST_KINDS = 2, 2
"""Closed elements, and kinds of tags; two elements that need no end tag count as a closed one."""
LEAST_DENSITY = 0.002
"""Tags a character, two in a thousand: a page of long paragraphs has more."""
LEAST_CLOSED = 0.4
"""Share of the elements that need an end tag and have it."""
BLOCKS, LEAST_BLOCKS = 8, 0.5
"""Equal parts of a text, and the least share of them with a tag; fewer are a quotation in prose."""
MOST_CODE_SIGNS, MOST_CODE_LINES = 0.045, 0.5
LOOKED_AT = 50_000
"""Characters of a text that are judged."""
_SILENT = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,9})(?:\s[^<>]*|/)?>")
_BEGINS = re.compile(r"\s*(?:<(?:\?xml|!--)[^>]*>\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_FIRST = re.compile(r"\s*<([a-zA-Z][a-zA-Z0-9]{0,9})[\s/>]")
_SIGNS = re.compile(r"[{}()\[\];=<>_$]")
_CODE_END = re.compile(r"[;{}(\[,:)=\\>]\s*$|^\s*(?:#|//|\*|@|def |class |import |from |return\b)")
Kind = Literal["markup", "code", ""]


def is_markup(text: str, stated: bool = False) -> bool:
    """Return whether a text is HTML; where tamis.toml has `stated` so, a tag at its beginning suffices."""
    if stated and (_BEGINS.match(text) or ((first := _FIRST.match(text)) and first[1].lower() in TAGS)):
        return True
    return kind_of(text, code=not stated) == "markup"


def kind_of(text: str, code: bool = True) -> Kind:
    """Return "markup", "code", or "" for prose. `code`: whether to look for code, which may hold markup."""
    text = text[:LOOKED_AT]
    between = _SILENT.sub(" ", text)
    tags = [match for match in _TAG.finditer(between) if match[2].lower() in TAGS]
    if _is_tagged(tags, len(between)):
        between = _TAG.sub(" ", between)
        return "code" if code and is_code(between) else "markup"
    return "code" if code and is_code(text) else ""


def _is_tagged(tags: list[re.Match[str]], characters: int) -> bool:
    """Return whether the tags of a text of that length are dense, various, spread and closed enough."""
    names = [tag[2].lower() for tag in tags]
    if len(tags) < LEAST_DENSITY * characters or len(set(names)) < LEAST_KINDS:
        return False
    blocks = {BLOCKS * tag.start() // characters for tag in tags}
    if len(blocks) < min(len(tags), LEAST_BLOCKS * BLOCKS):
        return False
    begun, ended = Counter[str](), Counter[str]()
    for tag, name in zip(tags, names, strict=True):
        if tag[1]:
            ended[name] += begun[name] > ended[name]
        else:
            begun[name] += 1
    needed = sum(count for name, count in begun.items() if name not in UNCLOSED)
    closed = sum(count for name, count in ended.items() if name not in UNCLOSED)
    free = sum(count for name, count in begun.items() if name in UNCLOSED)
    return closed + free / 2 >= LEAST_ELEMENTS and closed >= LEAST_CLOSED * needed


def is_code(text: str) -> bool:
    """Return whether the lines of a text end like code and have the signs of code."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return False
    ends = sum(bool(_CODE_END.search(line)) for line in lines)
    return ends >= MOST_CODE_LINES * len(lines) and len(_SIGNS.findall(text)) >= MOST_CODE_SIGNS * len(text)
