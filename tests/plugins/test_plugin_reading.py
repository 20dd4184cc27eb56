"""Plug-ins as their files declare them: what is read, what is refused with file and line, and digests."""

import sys
from pathlib import Path

import pytest

from tamis.base.errors import ConfigurationError
from tamis.plugins import PluginError, sampler, score
from tamis.plugins.reading import installed_plugin, plugins_of_files
from tamis.settings.config import load_settings, parse_settings
from tamis.settings.samplers import SAMPLERS, find_sampler

RAISES = "raise RuntimeError('imported')\n"
CORPUS = '[[corpus]]\nname = "web"\nkind = "files"\npath = "documents"\n'
IN_FILE = f'[project]\nplugins = ["scores.py"]\n{CORPUS}'


def read(folder: Path, content: str, name: str = "scores.py"):
    (folder / name).write_text(content)
    return plugins_of_files(folder, [name])


FORMS = {
    "by name": "from tamis.plugins import score\n@score",
    "by another name": "from tamis.plugins import score as marked\n@marked",
    "by module": "import tamis.plugins\n@tamis.plugins.score",
    "by module of another name": "import tamis.plugins as p\n@p.score",
    "from the package": "from tamis import plugins\n@plugins.score",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_decorator_is_known_however_it_is_imported_and_nothing_runs(tmp_path, form):
    code = f'{form}(name="length", version="1", range=(-1, 5), cost=2)\ndef f(texts):\n    return []\n'
    (plugin,) = read(tmp_path, code + RAISES).known
    assert (plugin.name, plugin.function, plugin.line) == ("length", "f", 2)
    assert plugin.declaration.reads == ("text",)
    assert plugin.declaration.range == (-1.0, 5.0)
    assert plugin.declaration.cost == 2.0


def test_decorators_of_other_packages_are_none(tmp_path):
    code = "from other import score\n@score(name=NAME)\ndef f(texts): ...\n"
    with pytest.raises(PluginError, match=r"scores\.py: no function has the decorator @score or @sampler"):
        read(tmp_path, code)


HEAD = "from tamis.plugins import sampler, score\n\n"
AS_SCORE = '@score(name="a", version="1", {})'
WRONG_DECORATORS = {
    '@score(name="a", version=VERSION)': "line 3: @score: version = VERSION cannot be read; write it",
    '@score(name="a", version=f"{1}")': "version = f'{1}' cannot be read; write it as a literal",
    '@score("a", version="1")': "line 3: @score: its arguments are given by name",
    "@score(**arguments)": "** cannot be read; write it as a literal",
    "@score": 'line 3: @score needs arguments, such as name="length", version="1"',
    '@score(name="a")': "line 3: @score: version is missing",
    '@score(name="a", version=1)': "version = 1 is not valid; expected a text",
    '@score(name="a", version=" ")': "version = ' ' is not valid",
    '@score(name="A b", version="1")': "name = 'A b' is not valid; expected small letters",
    AS_SCORE.format('reads="vectors"'): "reads = 'vectors' is not valid; expected \"text\"",
    AS_SCORE.format('higher="best"'): 'higher = \'best\' is not valid; expected "better" or "worse"',
    AS_SCORE.format("range=(5, 0)"): "range = (5, 0) is not valid; expected the lower and the upper end",
    AS_SCORE.format('range=(0, "x")'): "range = (0, 'x') is not valid",
    AS_SCORE.format(f"range=(0, {'9' * 400})"): "is not valid; expected the lower and",
    AS_SCORE.format(f"cost={'9' * 400}"): "is not valid; expected seconds for 1,000 documents",
    AS_SCORE.format(r'meaning="\ud800"'): "expected a text without halves of surrogate pairs",
    AS_SCORE.format("cost=-1"): "cost = -1 is not valid; expected seconds for 1,000 documents",
    AS_SCORE.format('meanin="x"'): "meanin is no argument of @score; valid: name, ",
    '@sampler(name="a", version="1")': "@sampler: reads is missing",
    '@sampler(name="a", version="1", reads=())': "reads = () is not valid; expected some of",
    '@sampler(name="a", version="1", reads="text", range=(0, 1))': "range is no argument of @sampler",
}
WRONG = {f"{decorator}\ndef f(t): ...": said for decorator, said in WRONG_DECORATORS.items()} | {
    AS_SCORE.format("") + "\nclass F: ...": "line 3: @score belongs above a function (def), not above F",
    AS_SCORE.format("") + "\nasync def f(t): ...": "not above f",
    "def f(:": "scores.py, line 3: ",
    "x = 1\0": "null bytes",
    "x = 1": "no function has the decorator",
}


@pytest.mark.parametrize("code", WRONG)
def test_what_cannot_be_read_is_refused_with_file_and_line(tmp_path, code):
    with pytest.raises(PluginError) as error:
        read(tmp_path, f"{HEAD}{code}\n")
    assert str(error.value).startswith("scores.py")
    assert WRONG[code] in str(error.value)


def test_a_decorator_checks_its_arguments_where_it_runs_too():
    with pytest.raises(PluginError, match="higher = 'best' is not valid"):
        score(name="a", version="1", higher="best")

    @sampler(name="a", version="1", reads=("text",))
    def order(candidates, vectors_nd, goal_md, seed):
        return candidates

    assert order(3, None, None, 0) == 3


def test_two_of_one_name_and_a_missing_file_are_refused(tmp_path):
    code = HEAD + '@score(name="a", version="1")\ndef f(t): ...\n'
    (tmp_path / "other.py").write_text(code)
    (tmp_path / "scores.py").write_text(code)
    with pytest.raises(PluginError, match=r"other\.py, line 3: scores\.py, line 3, declares a score"):
        plugins_of_files(tmp_path, ["scores.py", "other.py"])
    with pytest.raises(PluginError, match=r"no\.py cannot be read: No such file"):
        plugins_of_files(tmp_path, ["no.py"])


def test_the_digest_covers_the_modules_next_to_the_file_that_it_imports(tmp_path):
    files = {
        "lib/scores.py": HEAD
        + "import near, json\nfrom package import inner\ndef g():\n    import far.deep\n"
        + '@score(name="a", version="1")\ndef f(t): ...\n',
        "lib/near.py": "import second\n",
        "second.py": "",
        "package/__init__.py": "",
        "package/inner.py": "from . import sibling\nfrom .other import x\n",
        "package/sibling.py": "",
        "package/other.py": "x = 1\n",
        "far/deep.py": "",
        "not_imported.py": "",
        "json.py": "",
        "package/not_imported.py": "",
        "polars/data.py": "",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)

    def digest() -> str:
        (plugin,) = plugins_of_files(tmp_path, ["lib/scores.py"]).known
        return plugin.origin.digest

    (plugin,) = plugins_of_files(tmp_path, ["lib/scores.py"]).known
    assert set(plugin.origin.modules) == {
        *("near", "second", "package", "package.inner", "package.sibling", "package.other", "far", "far.deep")
    }
    before, followed = digest(), set()
    for name, content in files.items():
        (tmp_path / name).write_text(content + "# changed\n")
        if digest() != before:
            followed.add(name)
        (tmp_path / name).write_text(content)
    others = {"not_imported.py", "json.py", "package/not_imported.py", "polars/data.py"}
    assert followed == files.keys() - others
    assert digest() == before


LENGTH = HEAD + (
    '@score(name="length", version="1", higher="worse", range=(0, 50))\ndef f(t): ...\n\n'
    '@sampler(name="mine", version="1", reads="text", meaning="how it is")\ndef g(c, v, m, s): ...\n'
)


def loaded(folder: Path, text: str, code: str = LENGTH):
    (folder / "scores.py").write_text(code)
    (folder / "tamis.toml").write_text(text)
    return load_settings(folder / "tamis.toml")


def test_a_score_takes_from_the_declaration_what_its_section_leaves_out(tmp_path):
    text = IN_FILE + '[[score]]\nname = "len"\nplugin = "length"\n'
    (taken,) = loaded(tmp_path, text).score
    assert (taken.higher, taken.range) == ("worse", (0.0, 50.0))
    (stated,) = loaded(tmp_path, text + 'higher = "better"\nrange = [1, 2]\n').score
    assert (stated.higher, stated.range) == ("better", (1.0, 2.0))
    (plain,) = parse_settings({"corpus": [], "score": [{"name": "len", "column": "n"}]}).score
    assert (plain.higher, plain.range, plain.plugin) == ("better", None, "")


SCORE = '[[score]]\nname = "len"\n'
REFUSED = {
    SCORE + 'plugin = "lenght"\n': "= 'lenght' is not valid; expected one of: length; did you mean 'length'?",
    SCORE + 'plugin = "mine"\n': "expected one of: length",
    SCORE: "exactly one of the keys column, model, plugin",
    SCORE + 'plugin = "length"\ncolumn = "n"\n': "exactly one of the keys column, model, plugin",
    '[[selection]]\nname = "a"\nsampler = "length"\nbudget = 2\n': "sampler = 'length' is not valid",
    '[[selection]]\nname = "a"\nsampler = "mien"\nbudget = 2\n': "did you mean 'mine'?",
}


@pytest.mark.parametrize("more", REFUSED)
def test_settings_that_name_what_no_plugin_is_are_refused(tmp_path, more):
    with pytest.raises(ConfigurationError) as error:
        loaded(tmp_path, IN_FILE + more)
    assert REFUSED[more] in str(error.value)


def test_a_sampler_is_the_same_kind_of_record_as_those_of_tamis(tmp_path):
    selection = '[[selection]]\nname = "a"\nsampler = "mine"\nbudget = 2\n'
    loaded(tmp_path, IN_FILE + selection)
    found = find_sampler("mine")
    assert type(found) is type(SAMPLERS["random"])
    assert not found.reads_vectors
    assert "plug-in mine (scores.py): how it is" in found.description
    assert "mine" not in SAMPLERS
    with pytest.raises(ConfigurationError, match="sampler = 'mine' is not valid"):
        parse_settings(
            {
                "corpus": [{"name": "web", "kind": "files", "path": "x"}],
                "selection": [{"name": "a", "sampler": "mine", "budget": 2}],
            }
        )
    with pytest.raises(
        PluginError, match=r"scores\.py, line 6: name = 'random' is the name of a sampler of Tamis"
    ):
        loaded(tmp_path, IN_FILE, LENGTH.replace('"mine"', '"random"'))
    goal = LENGTH.replace('reads="text", meaning', 'reads=("text", "goal"), meaning')
    with pytest.raises(ConfigurationError, match="sampler 'mine' needs a target"):
        loaded(tmp_path, IN_FILE + selection, goal)


def install(folder: Path, name: str, entry_points: str, files: dict[str, str], listed: bool = True) -> None:
    """Install a distribution as pip leaves it; `listed`: RECORD names its files."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    record = [f"{info.name}/METADATA,,", f"{info.name}/direct_url.json,sha256={folder.name},1"]
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
        record.append(f"{path},sha256={hash(content)},{len(content)}")
    (info / "RECORD").write_text("\n".join(record if listed else record[:2]) + "\n")


POINTS = "[tamis.scores]\nlength = plugged.scores:f\n[tamis.samplers]\nmine = plugged.scores:g\n"
FILES = {"plugged/__init__.py": RAISES, "plugged/scores.py": LENGTH + RAISES, "plugged/more.py": ""}


@pytest.mark.parametrize("listed", [True, False], ids=["RECORD", "editable"])
def test_an_installed_plugin_is_found_without_an_import(tmp_path, monkeypatch, listed):
    install(tmp_path / "site", "one", POINTS, FILES, listed)
    monkeypatch.syspath_prepend(tmp_path / "site")
    plugin = installed_plugin("score", "length")
    assert plugin is not None
    assert (plugin.function, plugin.origin.module) == ("f", "plugged.scores")
    assert plugin.origin.shown == "one 1.0, scores.py"
    assert "plugged" not in sys.modules
    assert installed_plugin("score", "mine") is None
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path / "other")
    changed = FILES | {"plugged/more.py": "x = 1\n"}
    install(tmp_path / "other", "one", POINTS, changed, listed)
    other = installed_plugin("score", "length")
    assert other is not None
    assert (other.origin.digest == plugin.origin.digest) == (not listed), (
        "only RECORD lists what is not imported"
    )


def test_installed_plugins_at_fault_are_named_with_their_package(tmp_path, monkeypatch):
    install(tmp_path / "a", "one", POINTS, FILES)
    monkeypatch.syspath_prepend(tmp_path / "a")
    other = POINTS.replace(
        "length = plugged.scores:f", "long = plugged.scores:f\nno = plugged.scores:h\nx = gone:f"
    )
    install(tmp_path / "b", "two", other, {"plugged/scores.py": LENGTH})
    monkeypatch.syspath_prepend(tmp_path / "b")
    with pytest.raises(PluginError, match="the packages one and two both bring a sampler"):
        installed_plugin("sampler", "mine")
    with pytest.raises(PluginError, match=r"two 1\.0, scores\.py, line 3: the entry point calls the score"):
        installed_plugin("score", "long")
    with pytest.raises(PluginError, match=r"score no of two 1\.0: plugged\.scores has no function 'h'"):
        installed_plugin("score", "no")
    with pytest.raises(PluginError, match=r"score x of two 1\.0: the file of its module gone is not there"):
        installed_plugin("score", "x")
