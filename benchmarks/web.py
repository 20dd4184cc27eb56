"""Main text of web pages: F1 and pages a CPU second of extractors, as JSON lines on stdout.

    python -m benchmarks.web [FOLDER] [--pages 60] [--seed 0] [--archive 200]

Real pages whose main text is known, below FOLDER (default /usr/share/doc): HTML of Debian's documentation
packages, unpacked there by `apt-get download NAME` and `dpkg -x NAME*.deb FOLDER`. Measured with
python3.11-doc, apache2-doc, python-flask-doc, debian-policy, debian-faq, debian-reference-en,
developers-reference, git-doc, exim4-doc-html, postgresql-doc-15, python-sqlalchemy-doc and rust-doc. The
main text of a page is known in two ways:

- `source`: the file it was made of, in reStructuredText or AsciiDoc: `_sources/NAME.rst.txt` of Sphinx, or
  `NAME.txt` beside `NAME.html`. The few words of its markup count against every extractor alike; pages that
  share under half of their words with it (made of docstrings, or lists of links) are left out.
- `element`: the text of the element that holds it by the site's own template (`MAIN`), without what stands
  there for navigation (`BESIDE`), by the parser of Python's standard library.

A page counts by its words, in lower case, as a multiset: precision, recall and F1, averaged over pages; a
page without text counts 0. Up to --pages of each package and way, drawn by --seed. `all_text` is every
visible word. Times are CPU seconds of one process, from the decoded page to the text. A library that is not
installed is named on stderr, and its lines are missing. Without pages, the benchmark says so and ends.

Then the reader of Tamis reads a web archive (`.warc.gz`) of --archive MB unpacked, written to a temporary
folder from the same pages in turn, each with a number: pages a CPU second from bytes to rows, and the
resident memory of its process after 200 pages and at its peak. No claim. Two minutes.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

from benchmarks._flags import at_least, begin
from benchmarks._quality_data import Report
from benchmarks._web_archive import read_in_child, write_archive

MAIN = re.compile(
    r'role="main"|id="(main|main-content|page-content|docs-body|content)"|class="(refentry|sect1|chapter)"'
)
"""Attributes of the element of the main text: Sphinx, rustdoc, Apache, SQLAlchemy, Exim, DocBook."""
BESIDE = re.compile(
    r'class="[^"]*\b(headerlink|toplang|nav\w*|nosearch|menu|sphinxsidebar|sidebar|toc)\b|id="(quickview|topnav)"'
)
SILENT = frozenset({"script", "style", "button", "nav", "template", "noscript", "svg", "head"})
VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)
WORD = re.compile(r"\w+")
LEAST_SHARED, LEAST_WORDS, MOST_BYTES = 0.5, 50, 2_000_000
Extractor = Callable[[str], str]


class _Main(HTMLParser):
    """Text of the first element that matches `MAIN` (or `main`), without `BESIDE` and `SILENT`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._open: list[tuple[str, bool, bool]] = []
        self._found = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        shown = " ".join(f'{name}="{value}"' for name, value in attrs)
        inside, silent = (self._open[-1][1], self._open[-1][2]) if self._open else (False, False)
        begins = not self._found and (tag == "main" or bool(MAIN.search(shown)))
        self._found = self._found or begins
        silent = silent or tag in SILENT or (inside and bool(BESIDE.search(shown)))
        self._open.append((tag, inside or begins, silent))

    def handle_endtag(self, tag: str) -> None:
        places = [place for place, one in enumerate(self._open) if one[0] == tag]
        if places:
            del self._open[places[-1] :]

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][1] and not self._open[-1][2]:
            self.parts.append(data)


def words_of(text: str) -> Counter[str]:
    """Words in lower case, each as often as it occurs."""
    return Counter(WORD.findall(text.casefold()))


def compared(found: Counter[str], wanted: Counter[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 of words; all 0 where they share none."""
    both = (found & wanted).total()
    if not both:
        return 0.0, 0.0, 0.0
    precision, recall = both / found.total(), both / wanted.total()
    return precision, recall, 2 * precision * recall / (precision + recall)


def source_of(page: Path) -> Path | None:
    """Return the file that a page was made of, where it stands beside it."""
    beside = [page.with_suffix(".txt")]
    for folder in page.parents[:4]:
        relative = page.relative_to(folder).with_suffix("")
        beside += [folder / "_sources" / f"{relative}{end}" for end in (".rst.txt", ".md.txt")]
    return next((path for path in beside if path.is_file()), None)


def known_pages(folder: Path, most: int, seed: int) -> Iterator[tuple[str, str, str, Counter[str]]]:
    """Yield way, package, page and the words of its main text, up to `most` of each way and package."""
    by_package: dict[str, list[Path]] = defaultdict(list)
    for path in folder.rglob("*.html"):
        parts = path.relative_to(folder).parts
        package = parts[parts.index("doc") + 1] if "doc" in parts[:-2] else parts[0]
        by_package[package].append(path)
    for package, paths in sorted(by_package.items()):
        paths.sort(key=lambda path: sha256(f"{seed} {path.relative_to(folder)}".encode()).digest())
        counts = Counter[str]()
        for path in paths:
            if counts["element"] >= most and (counts["source"] >= most or not counts["source"]):
                break
            if not path.is_file() or path.stat().st_size > MOST_BYTES or "_modules" in path.parts:
                continue
            page = path.read_bytes().decode("utf-8", "replace")
            parser = _Main()
            parser.feed(page)
            element, source = words_of(" ".join(parser.parts)), source_of(path)
            ways = {"element": element}
            if source is not None:
                words = words_of(source.read_text("utf-8", "replace"))
                shared = (words & words_of(page)).total()
                if shared >= LEAST_SHARED * words.total() and words.total() >= LEAST_SHARED * element.total():
                    ways["source"] = words
            for way, words in ways.items():
                if words.total() >= LEAST_WORDS and counts[way] < most:
                    counts[way] += 1
                    yield way, package, page, words


def extractors() -> dict[str, Extractor]:
    """Return the extractors that are installed, by name."""
    found: dict[str, Extractor] = {}
    try:
        from resiliparse.extract.html2text import extract_plain_text

        found["all_text"] = lambda page: extract_plain_text(page, alt_texts=False)
        found["resiliparse"] = lambda page: extract_plain_text(
            page, main_content=True, alt_texts=False, comments=False
        )
    except ImportError:
        print("resiliparse is not installed: pip install -c constraints.txt resiliparse", file=sys.stderr)
    try:
        from trafilatura import extract

        found["trafilatura"] = lambda page: extract(page, include_comments=False) or ""
        found["trafilatura, fast"] = lambda page: extract(page, include_comments=False, fast=True) or ""
    except ImportError:
        install = "pip install trafilatura lxml_html_clean"
        print(f"trafilatura is not installed: {install}", file=sys.stderr)
    return found


def main() -> None:
    """Measure every extractor on every page, and the reader of archives on one that is made of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("/usr/share/doc"))
    parser.add_argument("--pages", type=at_least(1), default=60, help="of each package and way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--archive", type=at_least(1), default=200, help="MB of a web archive, unpacked")
    flags = begin(parser)
    pages = list(known_pages(flags.folder, flags.pages, flags.seed))
    if not pages:
        print(f"skipped: no page below {flags.folder} has a known main text", file=sys.stderr)
        return
    report, found = Report(), extractors()
    for name, extract in found.items():
        extract(pages[0][2])  # what it loads at its first page
        figures: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
        seconds = characters = 0.0
        for way, package, page, wanted in pages:
            began = time.process_time()
            text = extract(page)
            seconds += time.process_time() - began
            characters += len(page)
            for group in (package, "all"):
                figures[way, group].append(compared(words_of(text), wanted))
        for (way, package), own in sorted(figures.items()):
            means = dict(zip(("precision", "recall", "f1"), map(mean, zip(*own, strict=True)), strict=True))
            report.line("web_text", extractor=name, way=way, package=package, n=len(own), **means)
        rate = len(pages) / seconds
        report.line(
            "web_speed", extractor=name, pages_per_cpu_second=rate, characters=characters / len(pages)
        )
    if "resiliparse" in found:
        measure_archive(report, [page.encode() for _, _, page, _ in pages], flags.archive)


def measure_archive(report: Report, pages: Sequence[bytes], megabytes: int) -> None:
    """Report how fast and in how much memory a web archive of that size is read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crawl.warc.gz"
        written = write_archive(path, pages, megabytes)
        figures = read_in_child(path)
        report.line(
            "web_archive", megabytes=megabytes, bytes_packed=path.stat().st_size, pages=written, **figures
        )


def mean(values: tuple[float, ...]) -> float:
    """Mean of some figures."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
