"""Pieces of real web pages: main text, raw markup, and what stands around the main text.

The main text is that of the element that holds it by the site's own template (`MAIN`), without what stands
there for navigation (`BESIDE`); navigation is every other visible text. Pages are drawn package by package,
so that a package of thirty thousand pages counts as one of thirty.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from benchmarks._form_data import paragraphs

MAIN = re.compile(
    r'role="main"|id="(main|main-content|page-content|docs-body|content)"|class="(refentry|sect1|chapter)"'
)
BESIDE = re.compile(
    r'class="[^"]*\b(headerlink|toplang|nav\w*|nosearch|menu|sphinxsidebar|sidebar|toc)\b'
    r'|id="(quickview|topnav)"'
)
SILENT = frozenset({"script", "style", "template", "noscript", "svg", "head"})
VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
LONGEST, SHORTEST, MOST_BYTES = 1_500, 60, 500_000
"""Characters of a piece, and bytes of a page."""
BODY, MARKUP, NAVIGATION = "bodies of pages", "markup", "navigation"
FITTED_ON = frozenset({"apache2-doc", "sqlite3-doc", "sqlite3"})
"""Packages that the model of form in the package is fitted on."""


class _Split(HTMLParser):
    """Visible texts of a page, apart: those of its main element and all others."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.inside: list[str] = []
        self.outside: list[str] = []
        self._open: list[tuple[str, bool, bool]] = []  # tag, whether in the main text, whether silent
        self._found = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        shown = " ".join(f'{name}="{value}"' for name, value in attrs)
        main, silent = self._open[-1][1:] if self._open else (False, False)
        begins = not self._found and (tag == "main" or bool(MAIN.search(shown)))
        self._found = self._found or begins
        beside = tag in ("nav", "header", "footer", "button") or bool(BESIDE.search(shown))
        self._open.append((tag, (main or begins) and not beside, silent or tag in SILENT))

    def handle_endtag(self, tag: str) -> None:
        places = [place for place, entry in enumerate(self._open) if entry[0] == tag]
        if places:
            del self._open[places[-1] :]

    def handle_data(self, data: str) -> None:
        if self._open and not self._open[-1][2]:
            (self.inside if self._open[-1][1] else self.outside).append(data)


def split_page(page: str) -> tuple[str, str]:
    """Return the main text and the text around it; both "" for an unknown template."""
    parser = _Split()
    parser.feed(page)
    around = "\n".join(filter(None, (" ".join(part.split()) for part in parser.outside)))
    inside = "".join(parser.inside)
    blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", inside))
    return ("\n\n".join(filter(None, blocks)), around) if inside.strip() else ("", "")


def piece_of(page: str, kind: str, generator: np.random.Generator) -> str:
    """Return a piece of a page of one of the kinds, "" where it has none."""
    length = int(generator.integers(300, LONGEST))
    if kind == MARKUP:
        start = page.find("<body") if "<body" in page else 0
        start += int(generator.integers(max(len(page) - start - length, 1)))
        return page[start : start + length]
    main, around = split_page(page)
    if kind == NAVIGATION:
        start = int(generator.integers(max(len(around) - length, 0) + 1))
        piece = around[start : start + length]
        return piece if len(piece) >= SHORTEST and main else ""
    parts = paragraphs(main, most=LONGEST)
    return parts[int(generator.integers(len(parts)))] if parts else ""


def _in_order(folder: Path, kind: str, seed: int) -> Iterator[Path]:
    """Yield pages below a folder, packages by turns, those of a package in an order by hash.

    Pages that the model of form has seen are left out.
    """
    packages: dict[str, list[Path]] = defaultdict(list)
    for path in folder.rglob("*.html"):
        parts = path.relative_to(folder).parts
        package = parts[parts.index("doc") + 1] if "doc" in parts[:-2] else parts[0]
        if FITTED_ON.isdisjoint(parts):
            packages[package].append(path)
    queues = [
        iter(
            sorted(
                paths, key=lambda one: sha256(f"{seed} {kind} {one.relative_to(folder)}".encode()).digest()
            )
        )
        for _, paths in sorted(packages.items())
    ]
    while queues:
        for queue in list(queues):
            try:
                yield next(queue)
            except StopIteration:
                queues.remove(queue)


def pieces(folder: Path | None, kind: str, count: int, seed: int) -> list[str]:
    """Return up to `count` different pieces of a kind, each of another page; [] without a folder."""
    found: dict[str, None] = {}
    for path in _in_order(folder, kind, seed) if folder else ():
        if len(found) >= count:
            break
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES:
            continue
        page = path.read_bytes().decode("utf-8", "replace")
        mark = int.from_bytes(sha256(page.encode("utf-8", "replace")).digest()[:8], "big")
        piece = piece_of(page, kind, np.random.default_rng([seed, mark])).strip()
        if len(piece) >= SHORTEST:
            found[piece] = None
    return list(found)
