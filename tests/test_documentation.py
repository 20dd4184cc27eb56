"""Every code block of the pages is run, or, where it takes minutes, checked to be callable.

Pages are README, CONTRIBUTING, CHANGELOG and SECURITY, and those of docs/. Programs of README need files:
tests/docs/test_readme.py runs them.

Blocks of docs/ start processes and servers of their own, a minute in all: `make test-all` runs them.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tamis.cli import verbs
from tamis.settings.config import parse_settings

CHECKOUT = Path(__file__).resolve().parents[1]
DOCS = CHECKOUT / "docs"
TOP = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = [*TOP, *sorted(DOCS.rglob("*.md"))]
RUN_HERE = [page for page in PAGES if page != CHECKOUT / "README.md"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
REFERENCE = re.compile(r"\[[^\]]+\](?:\[[\w-]+\]|\(https://\S+\))")
FOLDERS = ("", "concepts", "how-to", "decisions", "template-plugin")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TAKES_MINUTES = ("make", "python -m benchmarks.")
INSTALLS = ("python3 -m venv ", "pip install ", "tamis demo", "tamis -C tamis-demo ")
"""tests/test_wheel.py installs the wheel and runs its demonstration."""
EXTRAS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def blocks(*languages: str) -> list:
    found = []
    for page in PAGES if languages == ("toml",) else RUN_HERE:
        for place, (language, text) in enumerate(BLOCK.findall(page.read_text())):
            if language in languages:
                marks = () if language == "toml" else when_run(page)
                found.append(pytest.param(text, id=f"{page.relative_to(CHECKOUT)}:{place}", marks=marks))
    return found


def when_run(page: Path) -> tuple[pytest.MarkDecorator, ...]:
    """Return the marks of a page's programs: those of docs/ are slow."""
    return () if page in TOP else (pytest.mark.slow,)


def test_no_block_is_of_a_kind_that_is_not_run():
    kinds = {language for page in PAGES for language, _text in BLOCK.findall(page.read_text())}
    assert kinds <= {"", "bash", "python", "toml", "text"}


@pytest.mark.parametrize("text", blocks("", "bash"))
def test_commands(text, tmp_path):
    quick = [line for line in text.splitlines() if line.strip() and not is_slow(line)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = "set -e\n" + "\n".join(quick)
    run(["bash", "-c", script], tmp_path, environment)


def run(command, folder, environment=None) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def is_slow(line: str) -> bool:
    """A command that takes minutes: it must exist, but is run elsewhere (CI, benchmarks)."""
    if line.startswith(INSTALLS):
        assert {
            extra for names in re.findall(r"tamis\[(.*?)\]", line) for extra in names.split(",")
        } <= EXTRAS.keys()
        return True
    if not line.startswith(TAKES_MINUTES):
        return False
    words = line.split()
    if words[0] == "make":
        assert subprocess.run(["make", "-n", *words[1:2]], cwd=CHECKOUT, capture_output=True).returncode == 0
    else:
        module = words[2].replace(".", "/")
        assert (CHECKOUT / f"{module}.py").exists(), line
    return True


def programs() -> list:
    """The Python blocks of a page, one after the other: later ones may use what earlier ones made."""
    found = []
    for page in RUN_HERE:
        parts = [text for language, text in BLOCK.findall(page.read_text()) if language == "python"]
        if parts:
            found.append(
                pytest.param("\n".join(parts), id=str(page.relative_to(CHECKOUT)), marks=when_run(page))
            )
    return found


@pytest.mark.parametrize("text", programs())
def test_python(text, tmp_path):
    run([sys.executable, "-c", text], tmp_path)


@pytest.mark.parametrize("text", blocks("toml"))
def test_settings(text, tmp_path):
    import tomllib

    values = tomllib.loads(text)
    for name in values.get("project", {}).get("plugins", ()):  # the page shows the file, too
        (page,) = [page.read_text() for page in PAGES if text in page.read_text()]
        parts = [part for language, part in BLOCK.findall(page) if language == "python"]
        (tmp_path / name).write_text("\n".join(parts))
    parse_settings(values, root=tmp_path)


@pytest.mark.parametrize(
    "command",
    sorted(
        {
            command
            for page in (*TOP, DOCS / "commands.md")
            for command in re.findall(r"`tamis ([a-z][^`]*)`", page.read_text())
        }
    ),
)
def test_commands_that_the_pages_name_parse(command):
    words = [word if word.islower() else "7" for word in re.sub(r"\[(\w+)\]", "", command).split()]
    context = verbs.make_context("tamis", words)
    name, verb, rest = verbs.resolve_command(context, words)
    assert callable(verb.make_context(name, rest, parent=context).command.callback)


def test_what_the_pages_have_make_do_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert len(named) > 8
    assert named <= targets


def test_the_first_settings_of_the_readme_are_those_that_init_writes():
    shown = re.search(r"```toml\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    written = tomllib.loads((CHECKOUT / "tamis" / "templates" / "tamis.toml").read_text())
    sections = tomllib.loads(shown[1])
    assert {"corpus", "target", "selection"} == sections.keys()
    for kind, (section,) in sections.items():
        assert section.items() <= written[kind][0].items()


def test_every_benchmark_is_on_their_page():
    page = (CHECKOUT / "benchmarks" / "README.md").read_text()
    modules = {path.stem for path in (CHECKOUT / "benchmarks").glob("[a-z]*.py")}
    assert set(re.findall(r"^\| (\w+) \|", page, re.MULTILINE)) - {"module"} == modules


def without_blocks(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page):
    dead = []
    for link in LINK.findall(without_blocks(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_pages_named_in_words_exist():
    named = {name for page in PAGES for name in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", page.read_text())}
    assert len(named) > 15
    assert sorted(name for name in named if not (CHECKOUT / name).exists()) == []


def test_modules_and_layers_named_in_the_architecture_exist():
    page = (DOCS / "architecture.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.py)`", page))
    assert len(named) > 40
    missing = {name for name in named if not any((CHECKOUT / top / name).exists() for top in ("", "tamis"))}
    assert missing == set()
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    (layers,) = (
        one["layers"] for one in settings["tool"]["importlinter"]["contracts"] if one["id"] == "layers"
    )
    packages = {name for line in layers for name in line.split(" | ") if (CHECKOUT / "tamis" / name).is_dir()}
    table = page[page.index("## Layers") : page.index("## The way")]
    assert {name for name in packages if f"`tamis/{name}`" not in table and f"`{name}`" not in table} == set()


def test_references_are_used_and_defined():
    text = (DOCS / "other-tools.md").read_text()
    defined = set(re.findall(r"^\[([\w-]+)\]: https://\S+$", text, re.MULTILINE))
    assert defined == set(re.findall(r"\]\[([\w-]+)\]", text))


def unlinked(text: str) -> list[str]:
    """Return the cells that claim something of another tool, from the third column on, without a link."""
    head, _rule, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\|.*\|$", text, re.MULTILINE)
    )
    return [
        f"{row[0]}, {tool}: {cell}"
        for row in rows
        for tool, cell in zip(head[2:], row[2:], strict=True)
        if cell not in ("–", "yours to write") and not REFERENCE.search(cell)
    ]


def test_nothing_is_claimed_of_another_tool_without_a_page():
    rows = (
        "| | Tamis | Other |",
        "|---|---|---|",
        "| old | no | [yes][page] |",
        "| fast | yes | no |",
        "| free | no | – |",
    )
    assert unlinked("\n".join(rows)) == ["fast, Other: no"]
    text = (DOCS / "other-tools.md").read_text()
    assert unlinked(text) == []
    assert re.search(r"^All links were read on \d{4}-\d\d-\d\d", text, re.MULTILINE)
    assert re.findall(r"github\.com/\S+/(?:blob|tree)/(?:main|master)\b\S*", text) == []


def test_every_page_is_in_the_index():
    index = DOCS / "README.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text())}
    assert {page for page in DOCS.rglob("*.md") if page != index} - linked == set()
    assert {page.parent for page in DOCS.rglob("*.md")} == {(DOCS / name).resolve() for name in FOLDERS}


def test_the_newest_changes_are_those_of_the_version():
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (.*)$", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert re.fullmatch(re.escape(version.removesuffix(".0")) + r" \(\d{4}-\d\d-\d\d\)", newest)
    citation = (CHECKOUT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == version
    assert re.search(r"^date-released: (.*)$", citation, re.MULTILINE)[1] in newest


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_says_what_holds_and_what_was_rejected(page):
    opened = re.findall(r"^\*\*(Decided|Rejected)\b", page.read_text(), re.MULTILINE)
    assert {"Decided", "Rejected"} == set(opened)
    assert opened[0] == "Decided"


@pytest.mark.parametrize("page", sorted((DOCS / "concepts").glob("*.md")), ids=lambda page: page.stem)
def test_a_concept_says_what_is_kept_how_to_read_it_and_when_it_misleads(page):
    headings = anchors(page)
    kept = ("keeps", "unit-is-the-document", "when-sources-change")
    assert any(words in heading for heading in headings for words in kept)
    assert "when-it-misleads" in headings
    assert {"how-to-read-it", "what-an-audit-says", "how-sure-it-is"} & headings


@pytest.mark.parametrize("page", sorted((DOCS / "how-to").glob("*.md")), ids=lambda page: page.stem)
def test_a_how_to_is_followed_by_a_test_of_its_name(page):
    code = ast.parse((CHECKOUT / "tests" / "docs" / "test_how_to.py").read_text())
    tests = {node.name: ast.unparse(node) for node in code.body if isinstance(node, ast.FunctionDef)}
    assert f"Page({page.stem!r})" in tests.get(f"test_{page.stem.replace('-', '_')}", "")
