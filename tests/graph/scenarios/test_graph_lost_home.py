"""Whatever is lost or torn in a home, two runs later it is green, or a sentence says what helps.

The kinds of files and folders are those of a real home, so a new one is tried without being named here.
"""

import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from parts import in_parts
from projects import (
    CHOSEN,
    CORPUS,
    TRANSPORT,
    SmallProject,
    base_model,
    corpus,
    lines,
    make_graph,
    selection,
    settings,
    target,
    texts,
    write,
)

from tamis.base.errors import TamisError
from tamis.history.versions import release, restore
from tamis.verbs.elsewhere.export import export_selection
from tamis.verbs.status import read_status

AUDITED = CHOSEN | {"lineage_audit"}
EVERYTHING = settings(
    corpus(path="landing"),
    corpus("notes", "notes"),
    target(train=8, held_out=4),
    "[density]\nrows = 20\nhashes = 2\ncalibration = 10\n",
    TRANSPORT,
    selection("near", "got-d", 5, target="goal"),
    selection("thin", "density", 5),
    base_model(),
    "[pretraining]\ntokens = 1_000\nvocabulary = 512\nsequence_length = 32\n",
    '[scaling]\ntarget = "goal"\nmodels = ["small"]\nsizes = [4]\n',
    until="reports",
    maximum_quarantine=0.5,
)
PARTS = 32
NUMBERED = re.compile(r"(?<=/)[0-9a-f]{2}(?=/|$)|[0-9a-f]{8,}(-[0-9a-f]{4,}){0,4}|[0-9]+")
ADVICE = re.compile(r"`(tamis [^`]+)`|move that folder away|move .+ away|restore .+ from a backup")


def test_the_record_of_the_audit_itself_is_made_again(graph):
    graph.make(AUDITED)
    graph.manifests.path(graph.current["lineage_audit", ""].manifest).unlink()
    graph.make(AUDITED)
    assert graph.make(AUDITED).made == {}
    assert graph.current["lineage_audit", ""].passed
    assert graph.audit().status == "green"


def test_records_of_earlier_results_are_let_go_by_a_person(graph):
    write(graph.landing / "more.jsonl", lines(texts("algebra", 3)))
    graph.make(AUDITED)
    shutil.rmtree(graph.home.manifests)
    graph.try_making(AUDITED)
    problems = [line for line in read_status(graph.project).problems() if "lineage_audit" in line]
    assert "`tamis audit` says what differs" in problems[0]
    details = [one for node in graph.audit().nodes.values() if node.status == "red" for one in node.details]
    assert details
    assert all("`tamis materialize --allow-removal records`" in one for one in details)
    graph.try_making(AUDITED, allowed={"records"})
    audit = graph.audit()
    assert audit.status != "red"
    assert sum(audit.lost.values()) >= 3
    assert "noted as lost" in " ".join(graph.said)
    assert graph.make(AUDITED).made == {}


def test_a_home_without_tables_says_what_is_lost(graph):
    before = graph.versions()
    shutil.rmtree(graph.home.root / "lance")
    status = read_status(graph.project)
    assert status.documents == 0
    assert "lance/heads.lance) is gone" in status.problems()[0]
    assert "held back: table 'selection_versions' is gone" in status.problems()[1]
    graph.make(CORPUS)
    assert graph.versions().items() <= before.items()
    (problem,) = (line for line in read_status(graph.project).problems() if "table" in line)
    assert "the versions of selections, for `tamis diff` and `tamis restore`" in problem
    assert problem.endswith("`tamis materialize --allow-removal table:selection_versions`")
    graph.try_making(CORPUS, allowed={"table:selection_versions"})
    assert read_status(graph.project).held_back == []


def test_documents_of_a_file_that_is_gone_outlive_the_record_of_them(graph):
    for path in graph.landing.glob("*.jsonl"):
        path.unlink()
    graph.make(CORPUS)
    documents = graph.rows("documents")
    shutil.rmtree(graph.home.manifests)
    outcome = graph.try_making(CORPUS)
    assert not [entry for entry in outcome.removed if "web__" in entry]
    assert graph.rows("documents").equals(documents)
    assert [one.name for one in read_status(graph.project).held_back if one.kind == "corpus"] == ["web"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, encoder_cache) -> SmallProject:
    """A home with everything: two versions of a selection, one of them pinned, an export, a withdrawal."""
    text = EVERYTHING.replace("[project]\n", '[project]\ntokenizer = "small"\n', 1)
    made = make_graph(tmp_path_factory.mktemp("lost") / "whole", encoder_cache, text)
    for number in range(2):
        write(made.root / "notes" / f"{number}.txt", texts("sailing", 1, 7 + number))
    graph = SmallProject(made.root, durable=True)
    graph.make(None)
    graph.reconfigure('"thin"\nsampler = "density"\nbudget = 5', '"thin"\nsampler = "density"\nbudget = 4')
    graph.withdraw([graph.rows("documents")["doc_id"][3]])
    graph.make(None)
    export_selection(graph.project, "near", "jsonl")
    restore(graph.project, "thin", 1)
    graph.make(None)
    assert graph.audit().status != "red"
    graph.close()
    return graph


def kinds(graph: SmallProject) -> list[str]:
    """Return paths in the home: each table, a record and a list of rows of each asset, one of all else.

    Of files and folders that differ in a hash or a number alone one is enough. Files within a table, and
    what a run prints, are not taken one by one.
    """
    found: dict[str, str] = {}
    for path in sorted(graph.home.root.rglob("*")):
        name = path.relative_to(graph.home.root).as_posix()
        if not re.match(r"lance/[^/]+/|dagster/storage/[^/]+/", name):
            found.setdefault(NUMBERED.sub("#", name), name)
    for (asset, _key), value in sorted(graph.current.items()):
        manifest = graph.manifests.read(value.manifest)
        paths = [graph.manifests.path(manifest.id), *map(graph.manifests.rows_path, manifest.rows.values())]
        for path in paths[:2]:
            found.setdefault(f"{path.suffix} of {asset}", path.relative_to(graph.home.root).as_posix())
    return list(dict.fromkeys(found.values()))


def lose(path: Path, how: str) -> bool:
    """Remove a file or folder, or empty or cut off its files; return whether there was anything to do."""
    if how == "gone":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return True
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    whole = [one for one in files if one.stat().st_size]
    for one in whole:
        one.write_bytes(b"" if how == "empty" else one.read_bytes()[: one.stat().st_size // 2])
    return bool(whole)


def problems_after_two_runs(graph: SmallProject) -> list[str]:
    """Return the problems that are left when a person has followed the advice of the second run."""
    for _ in range(2):
        said = try_once(graph)
    allowed = set(re.findall(r"--allow-removal ([^`]+)`", " ".join(said)))
    unpinned = set(re.findall(r"`tamis restore (\S+) --latest`", " ".join(said)))
    for name in unpinned:
        release(graph.project, name)
    broken = set(re.findall(r"the content of (\S+) no longer matches the hash", " ".join(said)))
    for name in broken:
        (graph.home.root / name).unlink()
    named = re.findall(r"write (\S+) into (\S+)$", "\n".join(said), re.MULTILINE)
    for name, place in named:
        Path(place).write_text(name)
    if advised := allowed | unpinned | broken | {place for _name, place in named}:
        try_once(graph, allowed)
        said = try_once(graph)
    return [line for line in said if not ADVICE.search(line) or advised]


def try_once(graph: SmallProject, allowed: set[str] = frozenset()) -> list[str]:
    """Run once; return what is wrong then: the error, or failures, problems and red findings."""
    one = SmallProject(graph.root, durable=True)
    try:
        outcome = one.try_making(None, allowed=allowed)
        audit = one.audit()
        red = [f"{node.name}: {'; '.join(node.details)}" for node in audit.lowest_broken()]
        wrong = [*outcome.failed.values(), *read_status(one.project).problems()]
        return [*wrong, *(red if audit.status == "red" else [])]
    except TamisError as error:
        return [str(error)]
    finally:
        with suppress(TamisError):
            one.close()


@pytest.mark.slow
@in_parts(PARTS)
@pytest.mark.parametrize("how", ["gone", "empty", "cut"])
def test_whatever_is_lost_two_runs_and_the_advice_bring_the_home_back(tmp_path, whole, how, part):
    bad = {}
    for number, name in enumerate(kinds(whole)[part::PARTS]):
        graph = whole.copy(tmp_path / str(number))
        if lose(graph.home.root / name, how) and (left := problems_after_two_runs(graph)):
            bad[name] = left
        shutil.rmtree(graph.root)
    assert not bad, bad
