"""A wrong tamis.toml must say which key is wrong, what is there and what would be right."""

import re
import tomllib
import traceback
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tamis.base.errors import ConfigurationError, PermanentError
from tamis.cli.making import init
from tamis.selection import SAMPLERS, BadBudgetError, parse_budget
from tamis.settings.config import (
    Settings,
    home_folder,
    load_settings,
    parse_settings,
    project_file,
    storage_url,
)
from tamis.settings.references import named
from tamis.transport.prepare import FEW_TARGET_POINTS

CHECKOUT = Path(__file__).resolve().parents[1]
DEMO = CHECKOUT / "tamis.toml"
TEMPLATE = CHECKOUT / "tamis" / "templates" / "tamis.toml"

CORPUS = '[[corpus]]\nname = "web"\nkind = "files"\npath = "documents"\n'
TARGET = '[[target]]\nname = "law"\nkind = "files"\npath = "target"\n'
SMALL_TARGET = TARGET.replace("law", "few") + "train = 30\n"
SCORE = '[[score]]\nname = "edu"\ncolumn = "meta.edu"\n'
MODEL = '[[base_model]]\nname = "small"\npreset = "llama-0.8m"\n'
TUNE = CORPUS + TARGET + MODEL + '[tune]\ntarget = "law"\nmodels = ["small"]\n'


def selection(**keys: object) -> str:
    values = {"name": "best", "sampler": "random", "budget": 10} | keys
    return "[[selection]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items())


def toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


WRONG = {
    # case: (file, parts that the message must hold: the key, what was found, what is valid)
    "unknown section": (
        CORPUS + "[corpsu]\nname = 1\n",
        ["corpsu", "{'name': 1}", "corpus, decontamination"],
    ),
    "unknown key": (
        CORPUS + "[encoder]\nnmae = 'minilm'\n",
        ["encoder.nmae", "'minilm'", "known keys: column, name; did you mean 'name'?"],
    ),
    "unknown key in a list": (CORPUS + "pth = 'x'\n", ["corpus[0].pth", "'x'", "splits, text_column"]),
    "no corpus": (TARGET, ["corpus is missing", "[[corpus]]"]),
    "no name": ('[[corpus]]\nkind = "files"\npath = "x"\n', ["corpus[0].name is missing"]),
    "bad name": (CORPUS.replace("web", "My Web"), ["corpus[0].name", "'My Web'", "beginning with a letter"]),
    "a path that no file has": (
        CORPUS.replace("documents", "documents\\u0000"),
        ["corpus[0].path", r"'documents\x00'", "without the character NUL"],
    ),
    "a glob that no file fits": (
        CORPUS + 'include = ["*.txt", "a\\u0000"]\n',
        ["corpus[0].include", r"a\x00", "without the character NUL"],
    ),
    "two scores of one name": (CORPUS + SCORE + SCORE, ["[[score]] name", "'edu'", "a unique name"]),
    "a score named as a fact": (
        CORPUS + SCORE.replace('"edu"', '"language"'),
        ["[[score]] name", "'language'", "Tamis has a value called so"],
    ),
    "a score named as a score of Tamis": (
        CORPUS + SCORE.replace('"edu"', '"quality"'),
        ["[[score]] name", "'quality'", "Tamis has a value called so"],
    ),
    "a score named as a word of SQL": (
        CORPUS + SCORE.replace('"edu"', '"order"'),
        ["[[score]] name", "'order'", "a word of SQL"],
    ),
    "a range reversed": (
        CORPUS + SCORE + "range = [5, 0]\n",
        ["score[0].range", "[5, 0]", "the lower end first", 'higher = "worse"'],
    ),
    "a range without extent": (
        CORPUS + SCORE + "range = [5, 5]\n",
        ["score[0].range", "[5, 5]", "two numbers"],
    ),
    "a score from nowhere": (
        CORPUS + '[[score]]\nname = "edu"\n',
        ["score[0].column", "exactly one of the keys column, model, plugin"],
    ),
    "a score from two places": (
        CORPUS + SCORE + 'model = "models/edu"\n',
        ["score[0].model", "'models/edu'", "exactly one of the keys"],
    ),
    "a label of a column": (
        CORPUS + SCORE + 'label = "good"\n',
        ["score[0].label", "'good'", "`model` is not set"],
    ),
    "a range that is a number": (CORPUS + SCORE + "range = 5\n", ["score[0].range", "5", "such as [0, 5]"]),
    "a sampler of no score": (
        CORPUS + SCORE + selection(sampler="score:ed"),
        ["[[selection]] best: sampler", "'score:ed'", "one of: edu; did you mean 'edu'?"],
    ),
    "a sampler of a score without any": (
        CORPUS + selection(sampler="score:edu"),
        ["[[selection]] best: sampler", "the name of a [[score]], but tamis.toml has none"],
    ),
    "a mixture by a score that is not there": (
        CORPUS + SCORE + TARGET + '[mixture]\ntarget = "law"\nsampler = "score:edo"\nmodel = "llama-0.3m"\n'
        'sources = "topics"\ntrain_tokens = 1_000_000\n',
        ["[mixture] sampler", "NAME is one of: edu; did you mean 'edu'?"],
    ),
    "compared samplers by a score without any": (
        CORPUS + TARGET + MODEL + '[sampler_trials]\nmodel = "small"\ntarget = "law"\n'
        'samplers = ["score:edu"]\n',
        ["[sampler_trials] samplers", "the name of a [[score]], but tamis.toml has none"],
    ),
    "quality for a sampler without": (
        CORPUS + SCORE + selection(quality="edu"),
        ["[[selection]] best: quality", "'edu'", "weighs no quality; those that do: got-d-quality"],
    ),
    "quality without a range": (
        CORPUS + SCORE + selection(sampler="quality-diversity", quality="edu"),
        ["[[score]] edu: range is missing", "range = [0, 5]"],
    ),
    "a condition with a call": (
        CORPUS + SCORE + selection(where="abs(edu) > 3"),
        ["[[selection]] best: where", "`ABS(edu)` cannot be used: a call of a function"],
    ),
    "a condition on an unknown name": (
        CORPUS + SCORE + selection(where="edo > 3"),
        ["[[selection]] best: where", "one of: corpus, edu, language", "did you mean 'edu'?"],
    ),
    "a selection named as the map of another": (
        CORPUS + selection() + selection(name="best.map"),
        ["[[selection]] name", "'best.map'", "exports of the selection 'best'"],
    ),
    "a selection named as the lineage of another": (
        CORPUS + selection() + selection(name="best.openlineage"),
        ["[[selection]] name", "'best.openlineage'", "exports of the selection 'best'"],
    ),
    "wrong kind": (
        CORPUS.replace('"files"', '"s3"'),
        ["corpus[0].kind", "'s3'", "'files', 'python-docs' or 'datasets'"],
    ),
    "misspelt kind": (CORPUS.replace('"files"', '"file"'), ["'file'", "did you mean 'files'?"]),
    "misspelt sampler": (CORPUS + selection(sampler="desnity"), ["'desnity'", "did you mean 'density'?"]),
    "shares of nothing": (
        CORPUS + selection(maximum_shares=0.3),
        ["selection[0].per is missing", '"source", "topic" or "language"'],
    ),
    "groups without shares": (
        CORPUS + selection(per="source"),
        ["selection[0].maximum_shares is missing", "minimum_shares or maximum_shares"],
    ),
    "groups that are none": (
        CORPUS + selection(per="sources", maximum_shares=0.3),
        ["selection[0].per", "'sources'", "did you mean 'source'?"],
    ),
    "one topic": (CORPUS + "[topics]\ncount = 1\n", ["topics.count", "1", "greater than or equal to 2"]),
    "least shares over 1": (
        CORPUS + selection(per="source") + "minimum_shares = { web = 0.7, wiki = 0.4 }\n",
        ["selection[0].minimum_shares", "sum to at most 1; these sum to 1.1"],
    ),
    "a least share over the largest": (
        CORPUS + selection(per="source", maximum_shares=0.2) + "minimum_shares = { web = 0.3 }\n",
        ["selection[0].minimum_shares.web", "0.3", "at most 0.2"],
    ),
    "a group's share in quotes": (
        CORPUS + selection(per="source", maximum_shares="30%"),
        ["selection[0].maximum_shares", "'30%'", "one share from 0 to 1"],
    ),
    "a share that is no share": (
        CORPUS + selection(per="source") + "maximum_shares = { web = true }\n",
        ["selection[0].maximum_shares", "one share from 0 to 1"],
    ),
    "a dataset from nowhere": (
        '[[corpus]]\nname = "web"\nkind = "datasets"\n',
        ["corpus[0].path is missing", "save_to_disk", "hub"],
    ),
    "a hub for files": (CORPUS + "hub = 'a/b'\n", ["corpus[0].hub = 'a/b'", 'unless kind = "datasets"']),
    "a target elsewhere": (
        CORPUS + TARGET.replace('"target"', '"s3://bucket/x"'),
        ["target[0].path = 's3://bucket/x'", "on this machine"],
    ),
    "a prefix that leads out of itself": (
        CORPUS + '[storage]\nurl = "s3://bucket/../x"\n',
        ["storage.url = 's3://bucket/../x'", "s3://BUCKET/PREFIX"],
    ),
    "no path": (CORPUS.replace("path", "#"), ["corpus[0].path is missing", 'path = "documents"']),
    "no packages": (
        CORPUS.replace('"files"', '"python-docs"'),
        ["corpus[0].packages is missing", "packages = ["],
    ),
    "no path of a target": (
        CORPUS + TARGET.replace("path", "#"),
        ["target[0].path is missing", 'path = "target"'],
    ),
    "repeated names": (CORPUS + CORPUS, ["[[corpus]] name", "'web'", "unique"]),
    "repeated selections": (
        CORPUS + selection() + selection(),
        ["[[selection]] name", "'best'", "unique"],
    ),
    "wrong sampler": (
        CORPUS + selection(sampler="got"),
        ["[[selection]] best: sampler", "'got'", ", ".join(sorted(SAMPLERS))],
    ),
    "unknown target": (
        CORPUS + TARGET + selection(target="med"),
        ["[[selection]] best: target", "'med'", "law"],
    ),
    "misspelt target": (
        CORPUS + TARGET + selection(target="lwa"),
        ["[[selection]] best: target", "'lwa'", "did you mean 'law'?"],
    ),
    "target needed": (
        CORPUS + TARGET + selection(sampler="knn"),
        ["[[selection]] best: target is missing", "'knn'", "law"],
    ),
    "target needed and none there": (
        CORPUS + selection(sampler="knn"),
        ["[[selection]] best: target is missing", "'knn'", "none of the required kind"],
    ),
    "budget in words": (
        CORPUS + selection(budget="lots"),
        ["selection[0].budget = 'lots' is not valid (section 'best')", '"10%"', "Mtok"],
    ),
    "negative budget": (CORPUS + selection(budget=-5), ["selection[0].budget = -5", "documents"]),
    "broken budget": (CORPUS + selection(budget=1.5), ["selection[0].budget = 1.5", "documents"]),
    "more than everything": (
        CORPUS + selection(budget="120%"),
        ["selection[0].budget = '120%'", "a percentage of the eligible documents"],
    ),
    "misspelt needed key": (
        CORPUS + selection().replace("budget", "buget"),
        ["selection[0].buget = 10", "known keys", "budget"],
    ),
    "single brackets after double": (CORPUS + selection() + "[selection]\n", ["line", "double brackets"]),
    "a share without quotes": (CORPUS + selection(budget=10).replace("10", "10%"), ["quotes", '"10%"']),
    "contrast to nothing": (
        CORPUS + TARGET + selection(sampler="got-d-contrast", target="law"),
        ["best: away_from is missing", "a second [[target]]"],
    ),
    "contrast to itself": (
        CORPUS + TARGET + TARGET.replace("law", "spam") + selection(target="law", away_from="law"),
        ["best: away_from = 'law'", "one of: spam"],
    ),
    "wrong type": (CORPUS + "[project]\nseed = 'one'\n", ["project.seed", "'one'", "a number"]),
    "a number in quotes": (CORPUS + TARGET + 'train = "55"\n', ["target[0].train = '55'", "without quotes"]),
    "a share in quotes": (CORPUS + '[automation]\nmaximum_quarantine = "0.1"\n', ["'0.1'", "without quotes"]),
    "true in quotes": (CORPUS + 'follow_links = "true"\n', ["follow_links = 'true'", "true or false"]),
    "numbers in quotes": (
        CORPUS + '[sampler_trials]\nmodel = "small"\ntarget = "law"\nbudgets = ["10%"]\ndata_seeds = "3"\n',
        ["sampler_trials.data_seeds = '3'", "without quotes"],
    ),
    "a list of numbers in quotes": (
        CORPUS + '[scaling]\nsizes = ["6", "12"]\n',
        ["scaling.sizes", "a number"],
    ),
    "true for a number": (CORPUS + TARGET + "train = true\n", ["target[0].train = True", "a number"]),
    "out of range": (CORPUS + "[judge]\nsample = 3\n", ["judge.sample", "3", "40"]),
    "two origins": (
        CORPUS + MODEL + "path = 'x'\n",
        ["base_model[0].preset = 'llama-0.8m'", "or path", "not both"],
    ),
    "no origin": (CORPUS + MODEL.replace("preset", "#"), ["base_model[0].preset is missing", "or path"]),
    "unknown preset": (
        CORPUS + MODEL.replace("0.8m", "7b"),
        ["base_model[0].preset", "'llama-7b'", "'llama-6m' or 'llama-22m'"],
    ),
    "unknown scaling model": (
        CORPUS + MODEL + "[scaling]\nmodels = ['big']\n",
        ["[scaling] models", "'big'", "small"],
    ),
    "unknown scaling target": (
        CORPUS + TARGET + "[scaling]\ntarget = 'med'\n",
        ["[scaling] target", "'med'", "law"],
    ),
    "scaling without a target": (
        CORPUS + TARGET + MODEL + "[scaling]\nmodels = ['small']\n",
        ["[scaling] target is missing", "law"],
    ),
    "scaling at no size": (
        CORPUS + TARGET + MODEL + "[scaling]\ntarget = 'law'\nmodels = ['small']\nsizes = []\n",
        ["[scaling] sizes = []", "at least one"],
    ),
    "scaling on a target that holds nothing out": (
        CORPUS
        + TARGET
        + "held_out = 0\n"
        + MODEL
        + "[scaling]\ntarget = 'law'\nmodels = ['small']\nsizes = [9]\n",
        ["[[target]] law: held_out = 0", "at least 1", "[scaling]"],
    ),
    "scaling beyond the target": (
        CORPUS + TARGET + "[scaling]\ntarget = 'law'\nsizes = [100, 400]\n",
        ["[scaling] sizes = 400", "300", "'law'"],
    ),
    "unknown one of several scaling targets": (
        CORPUS + TARGET + "[scaling]\ntarget = ['law', 'med']\n",
        ["[scaling] target", "'med'", "law"],
    ),
    "scaling beyond all of several targets": (
        CORPUS + TARGET + SMALL_TARGET + "[scaling]\ntarget = ['few', 'law']\nsizes = [20, 400]\n",
        ["[scaling] sizes = 400", "300", "'law'"],
    ),
    "scaling with no size for one of several targets": (
        CORPUS + TARGET + SMALL_TARGET + "[scaling]\ntarget = ['few', 'law']\nsizes = [50, 100]\n",
        ["[scaling] sizes = 50", "30", "'few'"],
    ),
    "unknown target of a recipe": (
        TUNE.replace('"law"\nmodels', '"lwa"\nmodels'),
        ["[tune] target = 'lwa'", "one of: law; did you mean 'law'?"],
    ),
    "unknown model of a recipe": (
        TUNE.replace('["small"]', '["small", "smal"]'),
        ["[tune] models = 'smal'", "one of: small; did you mean 'small'?"],
    ),
    "no model of a recipe": (TUNE.replace('["small"]', "[]"), ["tune.models = []", "at least 1 item"]),
    "a recipe by a sampler with a second target": (
        TUNE + 'samplers = ["got-d", "got-d-contrast"]\n',
        ["[tune] samplers = 'got-d-contrast'", "does not need away_from, which [tune] does not have"],
    ),
    "a recipe by the pool's own potential": (
        TUNE + 'samplers = ["got-d-debiased"]\n',
        ["[tune] samplers = 'got-d-debiased'", "does not read the pool's own potential"],
    ),
    "a recipe by an unknown sampler": (
        TUNE + 'samplers = ["got"]\n',
        ["[tune] samplers = 'got'", "did you mean 'got-d'?"],
    ),
    "a recipe by the quality of no score": (TUNE + 'quality = "edu"\n', ["[tune] quality = 'edu'"]),
    "a recipe under a budget of documents": (
        TUNE + 'budget = "2Mtok"\n',
        ["tune.budget = '2Mtok'", '"20%"', '"2h"', '"1e15flop"'],
    ),
    "a recipe under a budget without quotes": (TUNE + "budget = 20\n", ["tune.budget = 20", '"20%"']),
    "a recipe of an adapter": (
        TUNE.replace(MODEL, MODEL + "lora_rank = 8\n"),
        ["[tune] models = 'small'", "models without lora_rank", "train all weights"],
    ),
    "a recipe for a target that holds nothing out": (
        TUNE.replace(TARGET, TARGET + "held_out = 0\n"),
        ["[[target]] law: held_out = 0", "at least 1", "[tune]"],
    ),
    "weights of quality that no recipe reads": (
        TUNE + "quality_weights = [0.5, 2.0]\n",
        ["[tune] quality_weights = [0.5, 2.0]", "a sampler in samplers that reads a weight of quality"],
    ),
    "a recipe tested in two pairs": (TUNE + "pairs = 2\n", ["tune.pairs = 2", "3"]),
    "unknown heuristics": (
        CORPUS + "[filters]\nheuristics = ['c4']\n",
        ["filters.heuristics[0]", "'c4'", "'noise', 'boilerplate' or 'form'"],
    ),
    "heuristics without brackets": (
        CORPUS + "[filters]\nheuristics = 'gopher'\n",
        ["filters.heuristics = 'gopher'", "a list"],
    ),
    "unknown rule": (
        CORPUS + "[filters]\nheuristics_off = ['gopher_words']\n",
        ["filters.heuristics_off[0]", "'gopher_words'", "gopher_word_count"],
    ),
    "a language in words": (
        CORPUS + "[filters]\nlanguages = ['English']\n",
        ["filters.languages[0]", "'English'", '"en"'],
    ),
    "unknown perplexity model": (
        CORPUS + MODEL + "[perplexity]\nmodel = 'big'\n",
        ["[perplexity] model", "'big'", "small"],
    ),
    "unknown comparison model": (
        CORPUS + "[comparison]\nmodel = 'big'\n",
        ["[comparison] model", "'big'", "none of the required kind"],
    ),
    "unknown comparison selection": (
        CORPUS + selection() + "[comparison]\nselections = ['worst']\n",
        ["[comparison] selections", "'worst'", "best"],
    ),
    "wrong owner": (CORPUS + "[project]\nowner = 'me'\n", ["project.owner", "'me'", "team:"]),
    "a table that should be repeated": (
        CORPUS.replace("[[corpus]]", "[corpus]"),
        ["corpus = ", "[[corpus]]"],
    ),
    "a value that should be a table": ("encoder = 'minilm'\n" + CORPUS, ["encoder = 'minilm'", "[encoder]"]),
    "a webhook without a scheme": (
        CORPUS + "[automation]\nwebhook = 'example.org'\n",
        ["automation.webhook = '(hidden)'", "https://"],
    ),
    "a webhook for nothing": (
        CORPUS + "[automation]\nwebhook_events = ['all']\n",
        ["automation.webhook_events[0]", "'all'", "'quarantine_grew'"],
    ),
    "a key instead of its variable": (
        CORPUS + "[automation]\nwebhook_key_env = 'se-cret'\n",
        ["automation.webhook_key_env", "environment variable"],
    ),
    "unknown engine": (CORPUS + "[engine]\nkind = 'spark'\n", ["engine.kind", "'spark'", "'local' or 'ray'"]),
    "an address of a Ray client": (
        CORPUS + "[engine]\nkind = 'ray'\naddress = 'ray://head:10001'\n",
        ["engine.address", "'ray://head:10001'", "host:port"],
    ),
    "no retries at all": (CORPUS + "[engine]\nretries = -1\n", ["engine.retries", "-1", "0"]),
    "no TOML": (CORPUS + "[encoder\n", ["line 5", "TOML"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_message_names_key_value_and_what_is_valid(tmp_path, case):
    text, parts = WRONG[case]
    file = tmp_path / "tamis.toml"
    file.write_text(text)
    with pytest.raises(PermanentError) as raised:
        load_settings(file)
    message = str(raised.value)
    for part in (str(file), *parts):
        assert part in message
    # The words of the validation library mean nothing to who writes a tamis.toml.
    assert not re.search(r"Input should|constrained|pattern|tuple|dictionary|instance|this file", message)


@pytest.mark.parametrize(
    "line",
    [
        "[automation]\nwebhook = 'hooks.example.org/T000/s3cret'",
        "[automation]\nwebhook = 'https://user:s3cret@example.org/hook'",
        "[automation]\nwebhook = 'https://example.org/s3cret with blanks'",
        "[automation]\nwebhook_key_env = 'sk-s3cret'",
        "[judge]\nurl = 'https://user:s3cret@example.org/v1'",
        "[judge]\nurl = 'ftp://example.org/v1?key=s3cret'",
        "[judge]\napi_key = 's3cret'",
        "[judge]\nkey = 's3cret'",
        "[tracking]\nuri = 'https://user:s3cret@example.org'",
        "[storage]\nurl = 's3://user:s3cret@bucket/p'",
    ],
)
def test_a_message_about_a_secret_does_not_show_it(tmp_path, line):
    file = tmp_path / "tamis.toml"
    file.write_text(f"{CORPUS}{line}\n")
    with pytest.raises(ConfigurationError) as raised:
        load_settings(file)
    assert "s3cret" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "https://example.org",
        "https://a.example/T0/B0?x=1#y",
        "http://[::1]:80/a@b",
    ],
)
def test_addresses_of_webhooks_and_judges_are_taken(url):
    settings = parse_settings(
        tomllib.loads(f"{CORPUS}[automation]\nwebhook = '{url}'\n[judge]\nurl = '{url}'")
    )
    assert settings.automation.webhook == settings.judge.url == url


def test_correct_parts_of_the_wrong_files_load():
    # Guards the table above: each case must fail for its own reason, not for what it is built from.
    text = CORPUS + TARGET + MODEL + selection() + selection(name="near", sampler="knn", target="law")
    settings = parse_settings(tomllib.loads(text))
    assert [entry.name for entry in settings.selection] == ["best", "near"]


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(PermanentError, match=r"tamis\.toml.*No such file"):
        load_settings(tmp_path / "tamis.toml")
    with pytest.raises(PermanentError, match=re.escape(str(tmp_path))):
        load_settings(tmp_path)


def test_a_file_in_another_encoding_is_named(tmp_path):
    file = tmp_path / "tamis.toml"
    file.write_bytes(CORPUS.replace("web", "wéb").encode("latin-1"))
    with pytest.raises(PermanentError, match="UTF-8"):
        load_settings(file)


@given(
    st.one_of(
        st.integers(-3, 10_000),
        st.from_regex(r"\A[0-9]{1,3}(\.[0-9])?(%|Mtok|ktok|tok)?\Z"),
        st.booleans(),
        st.floats(0, 5),
    )
)
@example("0%")
@example("101%")
@example(True)
@hypothesis_settings(max_examples=25)
def test_a_budget_is_valid_here_when_the_selection_can_read_it(budget):
    values = tomllib.loads(CORPUS) | {"selection": [{"name": "a", "sampler": "random", "budget": budget}]}
    try:
        accepted = parse_settings(values).selection[0].budget
    except ConfigurationError:
        with pytest.raises(BadBudgetError):
            parse_budget(budget)
        return
    assert parse_budget(accepted) == parse_budget(budget)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("my-project", "my-project"), ("Støy & Co", "st-y-co"), ("x" * 200, "x" * 60), ("数据", "tamis")],
)
def test_a_new_project_is_called_after_its_folder(folder, name, tmp_path):
    assert init.callback(folder=str(tmp_path / folder)) == 0
    written = tmp_path / folder / "tamis.toml"
    assert load_settings(written).project.name == name
    assert written.read_text().replace(f'"{name}"', '"tamis"', 1) == TEMPLATE.read_text()


def test_the_project_file_is_found_from_a_folder_below(tmp_path, monkeypatch):
    (tmp_path / "tamis.toml").write_text(CORPUS)
    below = tmp_path / "documents" / "2024"
    below.mkdir(parents=True)
    assert project_file(below) == tmp_path.resolve() / "tamis.toml"
    other = tmp_path / "other.toml"
    monkeypatch.setenv("TAMIS_PROJECT", str(other))
    assert project_file(below) == other.resolve()


def test_without_a_project_file_the_way_to_get_one_is_named(tmp_path):
    with pytest.raises(PermanentError, match="tamis init"):
        project_file(tmp_path)


def test_results_live_beside_the_file_or_where_the_environment_says(tmp_path, monkeypatch):
    assert home_folder(tmp_path / "tamis.toml") == tmp_path / ".tamis"
    monkeypatch.setenv("TAMIS_HOME", str(tmp_path / "elsewhere"))
    assert home_folder(tmp_path / "tamis.toml") == (tmp_path / "elsewhere").resolve()


@pytest.mark.parametrize("named_so", ["s3://bucket/prefix/", "s3://bucket/prefix"])
def test_a_slash_at_the_end_of_a_store_is_no_other_place(named_so, monkeypatch):
    settings = parse_settings(tomllib.loads(f'{CORPUS}\n[storage]\nurl = "{named_so}"\n'))
    assert storage_url(settings) == "s3://bucket/prefix"
    monkeypatch.setenv("TAMIS_STORAGE_URL", "s3://other-bucket/")
    assert storage_url(settings) == "s3://other-bucket"


def test_settings_do_not_change_after_loading():
    settings = load_settings(DEMO)
    with pytest.raises(ValidationError, match="frozen"):
        settings.encoder.name = "minilm"


def test_the_demo_asks_what_its_readme_says():
    settings = load_settings(DEMO)
    assert [corpus.name for corpus in settings.corpus] == ["python-docs", "landing"]
    assert named(settings.target, "scipy-stats").module == "scipy.stats"
    assert named(settings.selection, "got-d").sampler == "got-d"
    assert max(settings.scaling.sizes) <= named(settings.target, "scipy-stats").train
    with pytest.raises(KeyError):
        named(settings.target, "no such target")


def test_the_folder_of_the_demos_landing_corpus_is_there():
    # A corpus whose folder is missing cannot be listed, which stops the whole demo.
    landing = named(load_settings(DEMO).corpus, "landing")
    assert landing.path is not None
    assert (CHECKOUT / landing.path).is_dir()


def test_the_template_and_the_library_call_a_target_small_at_the_same_number():
    assert f"with fewer than {FEW_TARGET_POINTS}, treat the choice as provisional" in TEMPLATE.read_text()


def test_the_template_loads_as_it_is():
    settings = load_settings(TEMPLATE)
    assert {entry.sampler for entry in settings.selection} == {"got-d", "random"}
    assert settings.base_model == ()
    assert settings.filters.heuristics == ("noise", "boilerplate", "form")


def reference() -> str:
    """The block of the page that shows every key."""
    return (CHECKOUT / "docs" / "settings.md").read_text().split("```")[1].removeprefix("toml")


def uncommented() -> dict:
    """The reference with every commented key and section switched on."""
    return tomllib.loads(re.sub(r"^#(?=[\[a-z])", "", reference(), flags=re.MULTILINE))


def test_the_template_is_short_and_its_values_are_known_to_the_reference():
    text = TEMPLATE.read_text()
    assert len(text.splitlines()) <= 60
    known = uncommented()
    for name, value in tomllib.loads(text).items():
        sections = value if isinstance(value, list) else [value]
        there = known[name] if isinstance(known[name], list) else [known[name]]
        assert {key for one in sections for key in one} <= {key for one in there for key in one}


def test_the_reference_loads_with_everything_uncommented():
    settings = parse_settings(uncommented())
    assert [model.name for model in settings.base_model] == ["small", "medium"]
    assert settings.scaling.models == ("small", "medium")


def test_the_reference_explains_every_key():
    text = reference()
    for name, field in Settings.model_fields.items():
        for key in keys_of(field.annotation):
            lines = re.findall(rf"^#? ?{key} = .*$", text, re.MULTILINE)
            assert lines, f"[{name}] {key} is not in the reference"
            assert any("  # " in line for line in lines), f"[{name}] {key} has no explanation"


EXAMPLES = {
    "project": {"tokenizer"},
    "engine": {"address", "workers"},
    "storage": {"url"},
    "near_duplicates": {"cosine"},
    "judge": {"url", "key_env", "price_per_million_tokens"},
    "tracking": {"uri"},
    "checkpoints": {"keep_superseded"},
    "scaling": {"target", "models", "predict_at"},
    "trial_budget": {"share"},
    "comparison": {"model", "selections", "on_request"},
    "perplexity": {"model"},
    "sampler_trials": {"model", "target"},
    "evaluation": {"command", "metric"},
    "filters": {"heuristics_off"},
    "automation": {"webhook", "webhook_key_env"},
}


def test_what_the_reference_shows_as_a_default_is_the_default():
    values = uncommented()
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            shown = {key: value for key, value in values[name].items() if key not in EXAMPLES.get(name, ())}
            defaults = field.annotation().model_dump(mode="json")
            assert shown == {key: defaults[key] for key in shown}, name


def keys_of(annotation: object) -> list[str]:
    inner = getattr(annotation, "__args__", (annotation,))[0]
    return list(inner.model_fields)


def test_the_reference_lists_every_sampler():
    line = re.search(r"^sampler = .*$", reference(), re.MULTILINE)
    assert line is not None
    assert set(re.split(r", | or |# ", line[0])) >= set(SAMPLERS)


def test_a_size_too_large_for_one_of_several_targets_is_left_out_there():
    text = CORPUS + TARGET + SMALL_TARGET + "[scaling]\ntarget = ['law', 'few']\nsizes = [20, 200]\n"
    settings = parse_settings(tomllib.loads(text))
    assert settings.scaling.targets == ("law", "few")
    assert (settings.sizes_of("law"), settings.sizes_of("few")) == ((20, 200), (20,))
    one = parse_settings(tomllib.loads(text.replace("['law', 'few']", "'law'")))
    assert one.scaling.targets == ("law",)
