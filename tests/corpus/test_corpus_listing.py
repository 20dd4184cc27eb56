"""Listings are complete, sorted and safe, or they raise."""

import errno
import os
import re
import shutil
import sys

import pytest

from tamis.base.errors import MissingPackageError
from tamis.corpus import ListingError, list_shards
from tamis.corpus.listing import leads_nowhere, links_out, package_path, require_outside
from tamis.settings.config import CorpusSection


def corpus(**values):
    return CorpusSection(name="web", kind="files", path="data", **values)


def names(root, **values):
    return [shard.name for shard in list_shards(corpus(**values), root)]


@pytest.fixture
def root(tmp_path):
    for name in ("a.jsonl", "b.txt", "sub/c.jsonl.gz", "sub/deep/d.csv", "sub/.hidden", ".git/config"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for name in ("x.tmp", "y.part", "~z.txt", "z.txt~", "w.crdownload"):
        (tmp_path / "data" / name).write_text("x")
    return tmp_path


def test_hidden_and_temporary_files_are_no_shards(root):
    shards = list_shards(corpus(), root)
    assert sorted(shard.name for shard in shards) == ["a.jsonl", "b.txt", "sub/c.jsonl.gz", "sub/deep/d.csv"]
    assert [shard.key for shard in shards] == sorted(shard.key for shard in shards)
    assert all(shard.path.is_file() and shard.kind == "file" for shard in shards)


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (("*.jsonl",), ["a.jsonl"]),
        (("**/*.jsonl*",), ["a.jsonl", "sub/c.jsonl.gz"]),
        (("sub/**/*",), ["sub/c.jsonl.gz", "sub/deep/d.csv"]),
        (("sub/**",), ["sub/c.jsonl.gz", "sub/deep/d.csv"]),
        (("sub/*/[a-d].csv", "?.txt"), ["b.txt", "sub/deep/d.csv"]),
        (("[!ab].*",), []),
    ],
)
def test_include_patterns(root, include, expected):
    assert sorted(names(root, include=include)) == expected


@pytest.mark.parametrize("home", ["data", "data/state", "data/sub/state"])
def test_a_corpus_that_would_read_the_home_is_refused(root, home):
    below = (root / home).relative_to(root / "data").as_posix()
    excluded = "**" if below == "." else f"{below}/**"
    with pytest.raises(ListingError, match=re.escape(f'exclude = ["{excluded}"]')):
        require_outside(corpus(), root, root / home)
    require_outside(corpus(exclude=(excluded,)), root, root / home)
    require_outside(corpus(include=("*.txt",)), root, root / home)


@pytest.mark.parametrize("home", [".tamis", "data/.tamis", "elsewhere", "data2"])
def test_a_home_outside_of_a_corpus_or_hidden_in_it_is_no_problem(root, home):
    require_outside(corpus(), root, root / home)


def test_excluded_files_are_not_listed_even_if_included(root):
    everything = names(root)
    left = names(root, include=("**/*",), exclude=("sub/**", "?.txt"))
    assert left == [name for name in everything if not name.startswith("sub/") and name != "b.txt"]
    assert len(left) < len(everything)


def test_missing_folder_raises(tmp_path):
    with pytest.raises(ListingError, match="No such file") as caught:
        list_shards(corpus(), tmp_path)
    assert caught.value.path == tmp_path / "data"


def test_folder_that_is_no_folder_raises(tmp_path):
    os.mkfifo(tmp_path / "data")
    with pytest.raises(ListingError, match="Not a directory"):
        list_shards(corpus(), tmp_path)


@pytest.mark.parametrize("below", ["sub", "sub/deep"])
def test_a_folder_below_that_cannot_be_read_raises(root, monkeypatch, below):
    """Its files would count as deleted. The error is made here: a superuser may read every folder."""
    real = os.scandir

    def scandir(folder):
        if folder == root / "data" / below:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ListingError, match="Permission denied") as caught:
        list_shards(corpus(), root)
    assert caught.value.path == root / "data" / below


def test_single_file_is_one_shard(tmp_path):
    (tmp_path / "data").write_text("x")
    assert names(tmp_path) == ["data"]


def test_loops_of_links_end(root):
    (root / "data/sub/up").symlink_to(root / "data", target_is_directory=True)
    (root / "data/dangling").symlink_to(root / "nowhere")
    assert sorted(names(root)) == ["a.jsonl", "b.txt", "sub/c.jsonl.gz", "sub/deep/d.csv"]


def test_an_entry_that_cannot_be_looked_at_is_no_missing_file(root):
    (root / "data/strange").symlink_to("strange" * 50)
    with pytest.raises(ListingError, match="strange: File name too long"):
        list_shards(corpus(), root)


def test_files_behind_a_link_whose_destination_is_gone_are_known(linked):
    files = ("sub/link/e.txt", "out.txt", "chain.txt")
    assert not any(leads_nowhere(corpus(), linked, name) for name in files)
    shutil.rmtree(linked / "elsewhere")
    assert all(leads_nowhere(corpus(), linked, name) for name in files)
    assert not leads_nowhere(corpus(), linked, "sub/deep/gone.csv")


@pytest.fixture
def linked(root):
    """The folder with links within it, and with a file and a folder that links in it lead out to."""
    (root / "elsewhere").mkdir()
    for name in ("e.txt", "secret.txt"):
        (root / "elsewhere" / name).write_text("x")
    (root / "data/within.csv").symlink_to(root / "data/sub/deep/d.csv")
    (root / "data/again").symlink_to("sub/deep", target_is_directory=True)
    (root / "data/sub/link").symlink_to("../../elsewhere", target_is_directory=True)
    (root / "data/out.txt").symlink_to(root / "elsewhere/secret.txt")
    (root / "data/chain.txt").symlink_to("out.txt")
    (root / "data/parent").symlink_to("..", target_is_directory=True)
    return root


def test_links_that_lead_out_of_the_folder_are_not_followed_and_named(linked):
    inside = ["a.jsonl", "again/d.csv", "b.txt", "sub/c.jsonl.gz", "sub/deep/d.csv", "within.csv"]
    assert sorted(names(linked)) == inside
    assert links_out(corpus(), linked) == ["chain.txt", "out.txt", "parent/", "sub/link/"]
    assert links_out(corpus(include=("*.csv",), exclude=("sub/**",)), linked) == ["parent/"]


def test_links_are_followed_where_the_project_says_so(linked):
    (linked / "data/parent").unlink()
    found = names(linked, follow_links=True)
    assert {"chain.txt", "out.txt", "sub/link/e.txt", "sub/link/secret.txt", "again/d.csv"} <= set(found)
    assert links_out(corpus(follow_links=True), linked) == []


def test_the_folder_itself_may_be_a_link(linked):
    (linked / "data").rename(linked / "disk")
    (linked / "data").symlink_to(linked / "disk", target_is_directory=True)
    (linked / "disk/within.csv").unlink()  # it led to the old name, which still leads here
    (linked / "disk/within.csv").symlink_to(linked / "data/sub/deep/d.csv")
    assert "within.csv" in names(linked)
    assert "out.txt" not in names(linked)


def test_names_that_are_not_utf8_can_be_printed(root):
    path = os.fsencode(root / "data") + b"/caf\xe9.txt"
    with open(path, "w") as file:
        file.write("x")
    shard = next(shard for shard in list_shards(corpus(), root) if "caf" in shard.name)
    assert shard.name == "caf\\xe9.txt"
    assert shard.path.read_text() == "x"


def test_packages_are_found_without_importing_them(tmp_path, monkeypatch):
    package = tmp_path / "bomb"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "inner/__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "alone.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    section = CorpusSection(name="docs", kind="python-docs", packages=("bomb", "alone", "bomb.inner"))
    found = {shard.key: shard.path for shard in list_shards(section, tmp_path)}
    assert found == {
        "docs__alone": tmp_path / "alone.py",
        "docs__bomb": package,
        "docs__bomb.inner": package / "inner",
    }
    assert "bomb" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_package", "json.no_such_module", "sys"])
def test_missing_package_is_named(name):
    with pytest.raises(MissingPackageError) as caught:
        package_path(name, "corpus 'docs'")
    assert caught.value.package == name
