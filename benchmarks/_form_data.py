"""Sound texts by kind for tamis/filters/form/model.py: those that the default is fitted on, and others.

What is fitted on may be used for anything: texts in the public domain, under CC0, CC BY, Apache 2.0, MIT or
BSD (DATA.md). No source of the judged texts is among those of the fitted ones but statutes,
which are other acts.
"""

import ast
import gzip
import html
import importlib.util
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._texts import data_folder, read_texts
from tamis.filters.form.damage import KINDS, damaged, varied
from tamis.filters.form.statistics import form

SHORTEST_DAMAGED = 60
_FREE = re.compile(r"MIT|BSD|Apache")
_MARKUP = re.compile(r"</?[a-zA-Z!]|!\[|\]\(|\|.*\|.*\|")  # parts that are markup rather than text
_FOREIGN = re.compile(r"/(pt-br|fr|de|es|ja|ko|tr|zh-cn|ru|da)/|\.(fr|de|es|ja|ko|tr)\.")
_FICTION = ("fiction", "mystery", "adventure", "romance", "science_fiction")
Kinds = dict[str, list[str]]
_OF_FIT = ("numpy", "scipy", "sklearn", "torch", "pandas", "dagster", "polars")


def _drawn(texts: Iterable[str], count: int, seed: int) -> list[str]:
    """Draw different texts, in an order that does not depend on that of the files."""
    different = sorted(set(texts))
    return [different[place] for place in np.random.default_rng(seed).permutation(len(different))[:count]]


def _texts(file: str, count: int, where: pl.Expr | None = None, seed: int = 0) -> list[str]:
    rows = read_texts(file, "source", "label")
    return _drawn((rows if where is None else rows.filter(where))["text"], count, seed)


def _from(*sources: str) -> pl.Expr:
    return pl.col("source").is_in(sources)


@cache
def sources(packages: tuple[str, ...]) -> list[str]:
    """Return the Python files of installed packages, without tests."""
    found = []
    for package in packages:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            paths = (path for path in sorted(Path(folder).rglob("*.py")) if "test" not in str(path))
            found += [path.read_text(encoding="utf-8", errors="replace") for path in paths]
    return found


@cache
def _docstrings(package: str) -> tuple[str, ...]:
    found = []
    for source in sources((package,)):
        try:
            tree = ast.parse(source)
        except SyntaxError:  # of a later Python
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                found.append(ast.get_docstring(node) or "")
    return tuple(found)


def docstrings(packages: tuple[str, ...], count: int, summaries: bool = False) -> list[str]:
    """Draw docstrings of over 80 characters of installed packages, or the first lines of docstrings."""
    found = [text for package in packages for text in _docstrings(package)]
    if summaries:
        return _drawn((text.split("\n")[0].rstrip(".") for text in found if len(text) > 20), count, 0)
    return _drawn((text for text in found if len(text) > 80), count, 0)


def comments(packages: tuple[str, ...], count: int) -> list[str]:
    """Draw comments of two lines or more of installed packages."""
    found = []
    for source in sources(packages):
        for match in re.finditer(r"(?:^[ \t]*# [^\n]*[a-z]{3}[^\n]*\n){2,}", source, re.MULTILINE):
            found.append(re.sub(r"(?m)^[ \t]*# ?", "", match.group()).strip())
    return _drawn(found, count, 0)


def errors(packages: tuple[str, ...], count: int) -> list[str]:
    """Draw messages of exceptions of installed packages."""
    found = []
    for source in sources(packages):
        found += re.findall(r"raise \w+\(\s*\"([^\"{}\\]{20,})\"", source)
    return _drawn(found, count, 0)


def pages(folder: Path) -> list[str]:
    """Return the English pages of HTML under a folder."""
    paths = sorted((*folder.rglob("*.html"), *folder.rglob("*.html.en")))
    paths = [path for path in paths if path.is_file() and not _FOREIGN.search(str(path))]
    return [path.read_text(encoding="utf-8", errors="ignore") for path in paths]


def main_texts(html_pages: Sequence[str], count: int) -> list[str]:
    """Draw paragraphs of pages as text, up to 1,200 characters a page."""
    found = []
    for page in html_pages:
        parts = [_plain(part) for part in re.findall(r"(?s)<p\b[^>]*>(.*?)(?=</p>|<p\b|<h\d|<div)", page)]
        text = "\n\n".join([part for part in parts if len(part) > 80][:6])
        if text:
            found.append(text[:1_200])
    return _drawn(found, count, 0)


def _plain(markup: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]+>", "", markup)).split())


def raw_pages(html_pages: Sequence[str], count: int, seed: int) -> Kinds:
    """Draw pieces of pages: their markup, and their links and headings without it."""
    generator = np.random.default_rng(seed)
    kinds: Kinds = {"page markup": [], "page navigation": []}
    for place in generator.permutation(len(html_pages)).tolist():
        page, width = html_pages[place], int(generator.integers(200, 1_500))
        at = int(generator.integers(0, max(len(page) - width, 1)))
        kinds["page markup"].append(page[at : at + width])
        items = [
            _plain(one) for one in re.findall(r"(?s)<(?:a|li|dt|h\d)\b[^>]*>(.*?)</(?:a|li|dt|h\d)>", page)
        ]
        items = [item for item in items if 0 < len(item) < 60]
        if len(items) > 12:
            first, between = int(generator.integers(0, len(items) - 10)), ("\n", " ", " | ", "\n\n", " > ")
            joined = between[int(generator.integers(len(between)))].join(items[first : first + 60])
            kinds["page navigation"].append(joined[:width])
    return {kind: texts[:count] for kind, texts in kinds.items()}


def paragraphs(text: str, least: int = 300, most: int = 1_200) -> list[str]:
    """Return runs of paragraphs of at least `least` characters, cut at `most`."""
    found, run = [], ""
    for part in re.split(r"\n\s*\n", text):
        run = f"{run}\n\n{part}" if run else part
        if len(run) >= least:
            found.append(run.strip("\n")[:most])
            run = ""
    return found


def readmes(count: int, of_each_four: tuple[int, ...]) -> list[str]:
    """Draw parts of the descriptions of installed packages under MIT, BSD or Apache 2.0."""
    found: list[str] = []
    for package in distributions():
        about = package.metadata
        licences = " ".join(
            [
                str(about.get("License") or "")[:80],
                str(about.get("License-Expression") or ""),
                *(about.get_all("Classifier") or []),
            ]
        )
        if _FREE.search(licences) and sum(map(ord, about["Name"])) % 4 in of_each_four:
            found += paragraphs(str(about.get("Description") or about.get_payload() or ""))
    return _drawn((part for part in found if not _MARKUP.search(part)), count, 0)


def to_fit(count: int, manuals: Path | None) -> Kinds:
    """Return texts to fit on, by kind: up to `count` each.

    manuals: a folder into which the packages sqlite3-doc (public domain) and apache2-doc (Apache 2.0) of
    Debian were unpacked.
    """
    mixed = read_texts("p_mixed_free", "source", "label")
    genres = mixed.filter(_from("masc"))["label"].str.split("/").list.first()
    kinds: Kinds = {
        source: _texts("p_mixed_free", count, _from(source))
        for source in sorted(set(mixed["source"]))
        if source != "masc"
    }
    for genre in sorted(set(genres)):
        kinds[f"masc {genre}"] = _texts(
            "p_mixed_free", count // 2, _from("masc") & pl.col("label").str.starts_with(genre)
        )
    arguments = read_texts(data_folder("quality") / "ukpconvarg1_args.parquet")["text"]
    return (
        kinds
        | {
            "code of law": _texts("p_law", count, _from("dc_code")),
            "acts": _texts("p_law", count, _from("dc_acts")),
            "comments": _texts("t_goemotions", count),
            "questions": _texts("t_intent", count),
            "headlines": _texts("q_clickbait_headlines", count),
            "messages": _texts("q_sms_spam", count, pl.col("label") == "ham"),
            "abstracts": _texts("p_arxiv_a", count, seed=77),
            "arguments": _drawn(arguments, count, 0),
            "docstrings a": docstrings(("numpy", "scipy", "sklearn"), count),
            "docstrings b": docstrings(("torch", "pandas", "dagster", "polars"), count),
            "readmes": readmes(count, (1, 2, 3)),
            "comments of code": comments(_OF_FIT, count),
            "messages of errors": errors(_OF_FIT, count),
            "summaries": docstrings(_OF_FIT, count, summaries=True),
        }
        | ({"manuals": main_texts(pages(manuals), count)} if manuals else {})
    )


def to_judge(count: int, documentation: Path | None) -> Kinds:
    """Return other texts, by kind. documentation: a folder into which packages of Debian were unpacked."""
    research = "p_mixed_research"
    kinds = {
        "statutes": _texts("p_law", count, _from("us_congress_acts", "dc_acts"), 9),
        "dialogues": _texts("p_dialogue", count),
        "novels": _texts(research, count, _from("brown") & pl.col("label").is_in(_FICTION)),
        "abstracts with formulas": _texts("p_arxiv_a", count, pl.col("text").str.contains(r"\$"), 5),
        "titles": _texts(research, count, _from("problem_reports")),
        "trivia": _texts("t_sentence", count, _from("trec")),
        "reviews": _texts("t_imdb_train", count),
        "wine notes": _texts(research, count, _from("webtext_wine")),
        "docstrings": docstrings(("mlflow", "sqlalchemy", "pydantic", "transformers"), count),
        "readmes": readmes(count, (0,)),
        "forum": _texts(research, count, _from("webtext_firefox")),
        "overheard": _texts(research, count, _from("webtext_overheard")),
        "leaflets": _texts(research, count, _from("patient_leaflets_pil")),
        "news": _texts("t_ag_news_train", count),
        "radio news": _texts(research, count, _from("abc_news_2006")),
        "encyclopedia": _texts("p_wikipedia", count),
        "papers": _texts("t_science_a", count, _from("sci_cite")),
    }
    return kinds | (_documentation(documentation, count) if documentation else {})


def _documentation(folder: Path, count: int) -> Kinds:
    """Return kinds of the packages fortunes, debian-reference-en, jargon-text and vim-doc, if present."""

    def read(path: Path) -> str:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8", "ignore")

    def fortunes(text: str) -> list[str]:
        return [one.strip() for one in text.split("\n%\n") if len(one.strip()) > 60]

    wanted: dict[str, tuple[str, Callable[[str], list[str]]]] = {
        "verse": ("songs-poems", fortunes),
        "letters and quotations": ("literature", fortunes),
        "recipes and food": ("food", fortunes),
        "jokes": ("humorists", fortunes),
        "manual": ("debian-reference.en.txt.gz", paragraphs),
        "dictionary": ("jargon.txt.gz", paragraphs),
        "answers": ("FAQ.gz", paragraphs),
    }
    found = {
        kind: [one for path in sorted(folder.rglob(name)) if path.is_file() for one in split(read(path))]
        for kind, (name, split) in wanted.items()
    }
    return {kind: _drawn(texts, count, 0) for kind, texts in found.items() if texts}


def measured_kinds(kinds: Kinds, changed: int = 0) -> pl.DataFrame:
    """Return `kind`, `changed` and the statistics of texts, and of as many harmless changes of each."""
    rows = [(kind, text, False) for kind, texts in kinds.items() for text in texts]
    for seed in range(changed):
        rows += [(kind, text, True) for kind, texts in kinds.items() for text in varied(texts, seed)]
    frame = pl.DataFrame(rows, schema=["kind", "text", "changed"], orient="row")
    return frame.hstack(form(frame["text"]))


def measured_damage(
    kinds: Kinds, count: int, seed: int, least: int = SHORTEST_DAMAGED, others: Kinds | None = None
) -> pl.DataFrame:
    """Return `kind`, `parts`, `text` and the statistics of `count` texts damaged in each of the kinds.

    others: broken texts by kind, as they are.
    """
    generator = np.random.default_rng(seed)
    long = {kind: [text for text in texts if len(text) >= least] for kind, texts in kinds.items()}
    named = [kind for kind, texts in long.items() if texts]
    frames = []
    for damage in KINDS:
        drawn = [long[named[place]] for place in generator.integers(0, len(named), count)]
        frames.append(
            damaged([texts[int(generator.integers(len(texts)))] for texts in drawn], [damage], seed)
        )
    rows = [(text, kind, [kind]) for kind, texts in (others or {}).items() for text in texts]
    frame = pl.concat([*frames, pl.DataFrame(rows, schema=frames[0].schema, orient="row")])
    return frame.hstack(form(frame["text"]))


def texts_to_fit(count: int, damaged_count: int, manuals: Path | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the statistics of sound and of broken texts that the default model is fitted on."""
    texts = to_fit(count, manuals)
    broken = raw_pages(pages(manuals), damaged_count, 0) if manuals else None
    return measured_kinds(texts, changed=2), measured_damage(texts, damaged_count, 0, others=broken)
