"""Each how-to page is followed on a small project, by the settings and commands that the page prints."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml
from once import once
from projects import (
    SmallProject,
    base_model,
    plain_project,
    selection,
    sentences,
    target,
    watched,
    write,
    write_jsonl,
)
from projects import settings as in_toml

from tamis.cli import main
from tamis.readers.text import document_id
from tamis.selection.decide import Reason
from tamis.store.exports import CONFIGURATIONS
from tamis.tuning.answer import Kind

pytestmark = pytest.mark.slow
PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
TOPICS = ("cooking", "sailing", "algebra")
SMALL_PRETRAINING = "[pretraining]\ntokens = 1_000\nvocabulary = 512\nsequence_length = 32\n"
QUICK = '[project]\nname = "how-to"\nprecision = "float32"\n[automation]\nsettle_seconds = 0.0\n'
TRAINED = in_toml(
    target(train=30, held_out=15),
    selection("best", "got-d", 8, target="goal"),
    selection("random", budget=8),
    base_model(),
    SMALL_PRETRAINING,
    '[comparison]\nmodel = "small"\nselections = ["best"]\n',
    until="reports",
)


class Page:
    """A how-to page."""

    def __init__(self, name: str) -> None:
        self.text = (PAGES / f"{name}.md").read_text()

    @property
    def settings(self) -> str:
        """The first tamis.toml of the page."""
        return re.findall(r"^```toml\n(.*?)^```", self.text, re.MULTILINE | re.DOTALL)[0]

    def words(self, written: str, **named: str) -> list[str]:
        """Return what follows `tamis` in a command of the page, with these values for its placeholders."""
        assert written in self.text, "the page no longer prints this command"
        first, *words = shlex.split(written)
        assert first == "tamis"
        return [named.get(word, word) for word in words]

    def says(self, *sentences: str) -> None:
        """Check that the page says this, whatever its lines; what a test shows is what the page promises."""
        whole = " ".join(self.text.split())
        for sentence in sentences:
            assert sentence in whole


def documents(project: SmallProject) -> None:
    """Write a pool of three topics, a file each, and a file more."""
    for topic in TOPICS:
        write_jsonl(project.root / "documents" / f"{topic}.jsonl", sentences(topic, 60, 1))
    write_jsonl(project.root / "documents" / "others.jsonl", sentences("cooking", 20, 4))


@pytest.fixture
def new_project(tmp_path, encoder_cache, nowhere) -> Callable[[str], SmallProject]:
    """Return a function that gives a project with these settings, a pool, and 460 examples of algebra."""

    def make(text: str) -> SmallProject:
        project = plain_project(tmp_path / "project", text, {})
        shutil.copytree(encoder_cache, project.home.cache)
        documents(project)
        write_jsonl(project.root / "target" / "goal.jsonl", sentences("algebra", 460, 2))
        return project

    return make


@pytest.fixture
def trained(tmp_path, shared, encoder_cache, nowhere) -> SmallProject:
    """A copy of a project of which everything is made: the warm-up of a model on its selection `best`."""

    def make(root: Path) -> None:
        project = plain_project(root, TRAINED, {})
        shutil.copytree(encoder_cache, project.home.cache)
        documents(project)
        write_jsonl(root / "target" / "goal.jsonl", sentences("algebra", 60, 2))
        project.tamis("materialize")

    return SmallProject(once(shared / "trained-for-how-to", make)).copy(tmp_path / "trained")


def reasons(project: SmallProject, selection: str) -> dict[str, str]:
    """Return the reason of each document in a selection."""
    rows = project.store.read("decisions", ["doc_id", "reason"], f"selection = '{selection}'")
    return dict(rows.select("doc_id", "reason").iter_rows())


def due(project: SmallProject, page: Page) -> dict[str, set[str]]:
    """Return the partitions that `tamis plan` would make, by asset."""
    found: dict[str, set[str]] = {}
    for one in project.json(*page.words("tamis plan")):
        found.setdefault(one["asset"], set()).add(one["partition"])
    return found


def test_add_a_target(new_project):
    page = Page("add-a-target")
    project = new_project(QUICK + page.settings + base_model() + SMALL_PRETRAINING)
    examples = sentences("algebra", 460, 2)[:40]
    longer = [f"{text} {more}" for text, more in zip(examples, sentences("sailing", 40, 5), strict=True)]
    write_jsonl(project.root / "documents" / "more.jsonl", [*examples, *longer])
    topics = zip(sentences("cooking", 620, 3, words=12), sentences("sailing", 620, 3, words=12), strict=True)
    pairs = [json.dumps({"question": question, "answer": answer}) for question, answer in topics]
    write(project.root / "support" / "pairs.jsonl", [*pairs, '{"question": "no answer"}'])

    project.tamis(*page.words("tamis materialize"))
    page.says("Documents that are examples are never selected (*target example*, *held out example*)")
    found = reasons(project, "best")
    kept = project.store.read(
        "target_examples", ["doc_id"], "target = 'goal' AND split IN ('train', 'held_out')"
    )["doc_id"]
    drawn = [reason for doc_id, reason in found.items() if doc_id in set(kept)]
    assert set(drawn) == {"target_example", "held_out_example"}
    page.says("share long runs of words with held-out examples (*contaminated*)")
    assert "contaminated" in {found[document_id(text)] for text in longer}
    for name in ("best", "best-for-support"):
        assert "within_budget" in reasons(project, name).values()
    page.says("`tamis status` names each bad row with its target, file and row.")
    assert "target support: pairs.jsonl, row 620" in project.tamis(*page.words("tamis status")).stdout

    scaling = '\n[scaling]\ntarget = "goal"\nmodels = ["small"]\nsizes = [6, 12]\n'
    project.configure(project.text + scaling)
    project.tamis("materialize")
    asked = 'target = ["goal", "support"]'
    page.says(f"append it in `[scaling]`: `{asked}`. Trials of the first target are not made again.")
    project.configure(project.text.replace(scaling, scaling.replace('target = "goal"', asked)))
    made = {key for asset, key in project.current if asset == "trials"}
    trials = due(project, Page("choose-a-budget-and-sampler"))["trials"]
    assert len(made) == len(trials) == 2
    assert made.isdisjoint(trials)


def test_a_target_that_changes(new_project):
    page = Page("add-a-target")
    text = re.sub(r'\[\[target\]\]\nname = "support".*?(?=\[\[sel)', "", page.settings, flags=re.DOTALL)
    project = new_project(
        QUICK
        + text.partition('[[selection]]\nname = "best-for')[0]
        + "[judge]\nsample = 40\nmax_tokens = 16\n"
    )
    project.tamis("materialize")
    write_jsonl(project.root / "target" / "more.jsonl", sentences("algebra", 20, 7))
    page.says("its potential, scores, selections and trials are due again; vectors and quality are not.")
    found = due(project, Page("choose-a-budget-and-sampler"))
    assert {"target_potential", "transport_scores", "selected_subset"} <= found.keys()
    assert not {"embeddings", "documents", "judge_labels", "quality_scores"} & found.keys()


def test_bring_your_own_model(new_project, tiny_folder, save_llama, word_tokenizer):
    page = Page("bring-your-own-model")
    text = page.settings.replace("[scaling]", f"{SMALL_PRETRAINING}\n[scaling]")
    project = new_project(QUICK + text.replace("[judge]", "[judge]\nsample = 40\nmax_tokens = 16"))
    models = project.root / "models"
    shutil.copytree(tiny_folder, models / "my-encoder")
    words = sorted({word for topic in TOPICS for text in sentences(topic, 60, 1) for word in text.split()})
    for name in ("my-judge", "my-model"):
        save_llama(models / name, word_tokenizer(("yes", "no", "Yes", "No", *words)))
    project.tamis("materialize")
    assert "within_budget" in reasons(project, "likely").values()
    assert {"mine", "small"} == set(project.store.read("loss_curves", ["model"])["model"])

    page.says("**Refused before any training**: missing weights", "The error names the file or both numbers.")
    (models / "my-model" / "model.safetensors").unlink()
    said = project.tamis(*Page("keep-current").words("tamis materialize"), code=None)
    assert said.returncode != 0
    assert "my-model" in said.stderr


def test_train_with_your_own_trainer(new_project, save_llama, word_tokenizer, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    page = Page("train-with-your-own-trainer")
    text = page.settings.replace("train = 300\nheld_out = 150", "train = 40\nheld_out = 20")
    tuning = "[fine_tuning]\nepochs = 1\nsequence_length = 64\n"
    project = new_project(QUICK + text.replace("[25, 50, 100]", "[20, 40]") + tuning)
    words = sorted({word for topic in TOPICS for text in sentences(topic, 60, 1) for word in text.split()})
    save_llama(project.root / "model", word_tokenizer(words))
    page.says("[train_with_transformers.py](../examples/train_with_transformers.py) is one")
    shutil.copy(PAGES.parent / "examples" / "train_with_transformers.py", project.root / "train.py")

    page.says("A changed command or file asks again.")
    assert "runs `python train.py '{spec}'` on this machine" in project.tamis("materialize", code=2).stderr
    said = project.tamis(*page.words("tamis trust"))
    assert "train.py (SHA-256 " in said.stdout + said.stderr
    project.tamis(*page.words("tamis materialize"))
    rows = project.store.read("trials").sort("size")
    assert rows["size"].to_list() == [20, 40]
    assert (rows["held_out_bits_per_byte"] < rows["zero_shot_bits_per_byte"]).all()
    page.says("Specs and results of all its runs are in `trainer.json` next to the checkpoint")
    record = json.loads((project.home.root / rows["checkpoint"][0] / "trainer.json").read_text())
    answer = json.loads(re.findall(r"^```text\n(.*?)^```", page.text, re.MULTILINE | re.DOTALL)[0])
    (run, *_more) = record["runs"]
    assert run["result"].keys() == answer.keys()
    assert run["result"]["evaluations"][0].keys() == answer["evaluations"][0].keys()
    keys = {
        name for row in re.findall(r"^\| (`.*`) \|", page.text, re.MULTILINE) for name in row.split("`")[1::2]
    }
    assert keys >= run["spec"].keys()
    assert list((project.home.cache / "trainer").iterdir()) == []


def test_choose_a_budget_and_sampler(new_project):
    page = Page("choose-a-budget-and-sampler")
    project = new_project(QUICK + page.settings + SMALL_PRETRAINING)
    assert "selected_subset" in due(project, page)
    project.tamis(*page.words("tamis materialize"))
    page.says("`selection_small.html` shows the score's histogram with the cut in it")
    shown = (project.home.reports / "selection_small.html").read_text()
    assert "<img" in shown or "<svg" in shown
    page.says("The ten that just missed, on the same page")
    assert "just missed" in shown
    chosen = {
        name: [reason for reason in reasons(project, name).values() if reason == "within_budget"]
        for name in ("small", "large", "random-large")
    }
    assert len(chosen["small"]) < len(chosen["large"]) == len(chosen["random-large"])
    page.says("`[comparison]` trains a model on each choice and measures it on held-out examples of the goal")
    trials = {key for asset, key in project.current if asset == "trials"}
    assert {f"warm-up__small-model__{name}" for name in chosen} <= trials

    page.says("Without a tokenizer a document has a token for every four bytes.", "estimated as bytes / 4")
    project.configure(project.text.replace('budget = "1%"', 'budget = "9000tok"'))
    project.tamis("materialize")
    assert "estimated as bytes / 4" in project.tamis("status").stdout


def test_find_a_recipe(new_project):
    page = Page("find-a-recipe")
    small = {
        "train_tokens = 50_000_000": "train_tokens = 150_000\ntokens = 1_000",
        'budget = "20%"': 'budget = "25%"',
    }
    text = page.settings
    for written, instead in small.items():
        assert written in text
        text = text.replace(written, instead)
    project = new_project(QUICK + SMALL_PRETRAINING + text)
    before = project.text
    said = project.tamis(*page.words("tamis tune goal --budget 20%"))
    page.says("`--budget` changes its budget. Nothing else in the file changes.")
    assert project.text == before.replace('"25%"', '"20%"')
    page.says("`tamis tune --json` prints the stored row with all recipes")
    answer = project.json(*page.words("tamis tune"))
    assert answer["sentence"] in said.stdout
    kinds = re.findall(r"^\| `([a-z ]+)` \|", page.text, re.MULTILINE)
    assert kinds == [Kind.USE, Kind.ALIKE, Kind.HARMS, Kind.NO_GAIN]
    assert answer["kind"] in kinds
    assert answer["recipe"] in {row["recipe"] for row in answer["recipes"]}
    page.says("The table `tune_answers` has the answer, `recipes` every recipe with its loss")
    page.says("`tune_runs` every training")
    looks = project.store.read("tune_runs", ["part", "look"]).filter(part="guard")["look"]
    assert looks.min() == 1


def test_choose_by_a_score_of_your_own(new_project):
    page = Page("choose-by-a-score-of-your-own")
    project = new_project(QUICK + page.settings)
    texts = sentences("algebra", 60, 8)
    scored = [{"text": text, "meta": {"edu": number / 10}} for number, text in enumerate(texts)]
    write(project.root / "documents" / "scored.jsonl", map(json.dumps, scored))
    rows = project.root / "documents" / "others.jsonl"
    write(
        rows,
        [*rows.read_text().splitlines(), '{"text": "An odd one, of few words.", "meta": {"edu": "n/a"}}'],
    )
    project.tamis("materialize")
    page.says("`tamis materialize` reads the column into the table `column_scores`")
    assert project.store.count("column_scores", "value IS NOT NULL") == 60
    ranked = project.store.read("decisions", ["doc_id", "own_score", "verdict"], "selection = 'best'")
    assert ranked.filter(verdict="selected")["own_score"].min() == 4.0
    assert "within_budget" in reasons(project, "near-and-good").values()
    page.says("so no judge is asked")
    assert not any(asset == "judge_scores" for asset, _key in project.current)
    page.says("`rejected, where (edu >= 3: edu = 2; ...)`")
    low = document_id(texts[20])
    assert "best: rejected, where (edu >= 3: edu = 2;" in project.tamis("explain", low).stdout
    page.says("`tamis status` and the page say how many rows have such a value, with an example")
    said = '1 row has a value in column meta.edu that is no number, such as "n/a"'
    assert said in project.tamis("status").stdout
    shown = (project.home.reports / "selection_best.html").read_text()
    assert "without a value for" in shown


def test_bring_your_own_vectors(new_project):
    page = Page("bring-your-own-vectors")
    project = new_project(page.settings + "[automation]\nsettle_seconds = 0.0\n")
    for folder in ("documents", "target"):
        shutil.rmtree(project.root / folder, ignore_errors=True)
    near, far, odd = ([1.0, 0.2, 0.0, 0.0], [0.0, 0.0, 0.3, 1.0], [1.0, 2.0, 3.0])
    documents = sentences("algebra", 30, 8)
    vectors = [near if at < 5 else odd if at == 5 else [*far[:3], float(at)] for at in range(30)]
    rows = [{"text": text, "meta": {"vector": one}} for text, one in zip(documents, vectors, strict=True)]
    write(project.root / "documents" / "rows.jsonl", map(json.dumps, rows))
    examples = [{"text": text, "meta": {"vector": near}} for text in sentences("cooking", 8, 2)]
    write(project.root / "target" / "rows.jsonl", map(json.dumps, examples))
    project.tamis("materialize")
    ranked = project.store.read("decisions", ["doc_id", "verdict"]).filter(verdict="selected")
    assert set(ranked["doc_id"]) == {document_id(text) for text in documents[:5]}
    page.says("`its list in column meta.vector has 3 numbers, not 4`")
    said = project.tamis("explain", document_id(documents[5])).stdout
    assert "its list in column meta.vector has 3 numbers, not 4" in said
    page.says("the stage `row_vectors` fails and names the columns that exist")
    project.reconfigure('column = "meta.vector"', 'column = "meta.other"')
    assert "columns of the first rows: meta.vector" in project.tamis("materialize", code=None).stderr


def test_write_a_score_or_sampler(new_project, monkeypatch, tmp_path):
    page = Page("write-a-score-or-sampler")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TAMIS_TRUST", raising=False)
    (code,) = re.findall(r"^```python\n(.*?)^```", page.text, re.MULTILINE | re.DOTALL)
    project = new_project(in_toml())
    (project.root / "scores.py").write_text(code)
    project.configure(page.settings + "[automation]\nsettle_seconds = 0.0\n")
    assert "scores.py is Python that runs on this machine" in project.tamis("materialize", code=2).stderr
    project.tamis("trust")
    project.tamis("materialize")
    page.says("keeps the answers in the table `plugin_scores`")
    values = dict(project.store.read("plugin_scores", ["doc_id", "value"]).iter_rows())
    texts = dict(project.store.read("documents", ["doc_id", "text"]).iter_rows())
    assert values == {doc_id: len(text) for doc_id, text in texts.items()}
    ranked = project.store.read("decisions", ["selection", "doc_id", "verdict"]).filter(verdict="selected")
    long = [len(texts[doc_id]) for doc_id in ranked.filter(selection="long")["doc_id"]]
    assert sorted(long) == sorted(size for size in map(len, texts.values()) if size <= 300)[-20:]
    short = [len(texts[doc_id]) for doc_id in ranked.filter(selection="short")["doc_id"]]
    assert sorted(short) == sorted(map(len, texts.values()))[:20]
    said = "by plug-in length of scores.py, version 1: characters of the text"
    page.says(said)
    assert said in project.tamis("explain", next(iter(texts))).stdout
    (project.root / "scores.py").write_text(code + "# changed\n")
    page.says("If the code changes under the same version, `tamis plan` says so")
    assert "the code of plug-in length (scores.py) has changed" in project.tamis("plan").stdout


@pytest.fixture
def watching(trained, monkeypatch) -> Iterator[SmallProject]:
    """The trained project, as the sensors of `tamis ui` see it."""
    yield from watched(trained, monkeypatch)


def test_keep_current(watching):
    page = Page("keep-current")
    for name in ("arrivals", "reselection", "trial_budget", "failures", "notifications"):
        assert f"| `{name}`" in page.text
    assert watching.until_rest() == []
    write_jsonl(watching.root / "documents" / "dropped.jsonl", sentences("algebra", 20, 8))
    assert watching.arrive() == "registered 1 shard"
    assert "due: " in watching.tamis(*page.words("tamis status")).stdout
    assert "web__dropped.jsonl" in {one["partition"] for one in watching.json("plan")}
    assert watching.until_rest()
    page.says("*certified*: made with a potential from before the file came")
    watching.tamis(*page.words("tamis materialize"))
    assert watching.json("plan") == []
    page.says("`tamis diff best` says which documents came and went, and why each")
    found = watching.json(*page.words("tamis diff best"))
    assert found["counts"]["in"] == found["counts"]["out"] > 0
    assert sum(found["causes"]["in"].values()) == found["counts"]["in"]

    assert "approve_selections = true  # selections wait for `tamis approve`" in page.settings
    watching.reconfigure("[automation]", "[automation]\napprove_selections = true")
    write_jsonl(watching.root / "documents" / "later.jsonl", sentences("algebra", 20, 9))
    watching.until_rest()
    held = [one["selection"] for one in watching.json("status")["waiting_for_approval"]]
    assert "best" in held
    for name in held:
        watching.tamis(*page.words("tamis approve"), name)
    assert watching.until_rest()
    assert watching.json("status")["waiting_for_approval"] == []


def test_prove_a_checkpoint(trained):
    page = Page("prove-a-checkpoint")
    name = "warm-up__small__best"

    def run(written: str, code: int = 0, **named: str) -> str:
        return trained.tamis(*page.words(written, NAME=name, **named), code=code).stdout

    assert len(re.findall(r"\b[0-9a-f]{32}\b", run("tamis explain --checkpoint NAME"))) >= 8
    said = run("tamis audit NAME --tree")
    first, *tree = said.splitlines()
    page.says("Where all is green it prints two lines")
    green = run("tamis audit NAME").splitlines()
    assert (len(green), green[0]) == (2, first)
    printed = page.text.partition(f"$ tamis audit {name} --tree\n")[2].partition("```")[0]
    assert first.startswith("GREEN: ")
    assert re.sub(r"\d+", "N", first) == re.sub(r"\d+", "N", printed.splitlines()[0])
    pattern = re.compile(r"[├└│─ ]+")
    ours, theirs = (
        {re.sub(r"\d+ ", "N ", pattern.sub("", line.strip(), count=1)) for line in lines if line.strip()}
        for lines in (tree, printed.splitlines()[1:])
    )
    assert ours == theirs, "the page shows the tree of another version"

    folder = trained.root / "elsewhere"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    run("tamis export best")
    given = {"FOLDER": str(folder), "TEXT": "3 epochs"}
    run("tamis register FOLDER --trained-on best --recipe TEXT", **given)
    words = {"NAME": folder.name}
    known = trained.tamis(*page.words("tamis explain --checkpoint NAME", **words)).stdout
    assert "recipe: 3 epochs" in known
    assert trained.tamis(*page.words("tamis audit NAME", **words)).stdout.startswith("GREEN: ")
    (folder / "model.safetensors").write_bytes(b"altered")
    page.says("An audit is red where one of the files was altered")
    trained.tamis(*page.words("tamis audit NAME", **words), code=1)
    trained.tamis(*page.words("tamis register --forget NAME", **words))

    files = {"FILE": str(trained.root / "lineage.json")}
    run("tamis audit NAME --openlineage FILE --prov FILE", FILE=files["FILE"])
    assert (trained.root / "lineage.json").stat().st_size
    text = trained.store.read("documents", ["text"])["text"][0]
    assert text not in (trained.root / "lineage.json").read_text()
    anchored = trained.tamis(*page.words("tamis audit --anchor anchor.json"))
    assert re.search(r"[0-9a-f]{64}", anchored.stdout + anchored.stderr)
    run("tamis audit --against anchor.json")

    page.says("Later, `--against anchor.json` is red when any of these manifests is gone or altered.")
    manifest = next(path for path in sorted(trained.home.root.rglob("manifests/**/*.json")))
    manifest.unlink()
    run("tamis audit --against anchor.json", code=1)
    found = trained.tamis(*page.words("tamis audit warm-up__small__best --json"), code=None)
    assert "lowest_broken" in json.loads(found.stdout)


def test_why_was_it_dropped(trained, monkeypatch):
    page = Page("why-was-it-dropped")
    for reason in Reason:
        assert f"*{reason.value.replace('_', ' ')}*" in page.text, "every reason is explained"
    row = 7
    text = sentences("cooking", 60, 1)[row]
    doc_id = document_id(text)
    (trained.root / "letter.txt").write_text(text)
    found = [
        trained.tamis(*words).stdout
        for words in (
            page.words("tamis explain e3c43e21", e3c43e21=doc_id[:8]),
            page.words("tamis explain --text letter.txt"),
            page.words(
                "tamis explain --file documents/web.jsonl --row 7",
                **{"documents/web.jsonl": "documents/cooking.jsonl"},
            ),
        )
    ]
    assert found[0] == found[1] == found[2]
    assert found[0].startswith(f"document {doc_id}")
    for name in ("best", "random"):
        assert re.search(
            rf"^  {name}: (selected|rejected), (within|over) budget, rank \d+, ", found[0], re.MULTILINE
        )
    assert re.search(r"transport_gradient\[goal\] = \S+ \(percentile \S+\)", found[0])

    (line,) = re.findall(r"^python -c .*$", page.text, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, *shlex.split(line)[1:]], cwd=trained.root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "over_budget" in done.stdout

    page.says("Rows are counted from 0", "only that file is read again")
    bad = trained.root / "documents" / "bad.jsonl"
    bad.write_text('{"text": "a text that is good"}\n{no json\n')
    trained.tamis("materialize")
    assert "bad.jsonl" in trained.tamis(*page.words("tamis status")).stdout
    (row,) = trained.store.read("quarantine").filter(shard="web__bad.jsonl").to_dicts()
    assert row["row"] == 1
    write_jsonl(bad, ["a text that is good", "and another one"])
    trained.tamis(*page.words("tamis materialize"))
    assert len(trained.store.read("quarantine")) == 0
    said = trained.tamis(*page.words("tamis diff NAME", NAME="best"), code=2)
    assert "only one version so far" in said.stderr


def test_keep_benchmarks_out(new_project, monkeypatch):
    page = Page("keep-benchmarks-out")
    project = new_project(QUICK + page.settings)
    questions = [sentences("algebra", 1, seed, words=20)[0] for seed in (90, 91)]
    leaks = [f"A letter. {questions[0].upper()}? So it said.", f"{questions[1]}. Who knows?"]
    write_jsonl(project.root / "documents" / "letters.jsonl", leaks)
    rows = [{"question": question, "answer": "B"} for question in (*questions, "Who")]
    write(project.root / "exam" / "rows.jsonl", map(json.dumps, rows))
    project.tamis(*page.words("tamis materialize"))
    found = reasons(project, "some")
    assert {found[document_id(text)] for text in leaks} == {"keep_out"}
    page.says("have the reason *keep out* in every selection")
    status = project.tamis(*page.words("tamis status")).stdout
    for line in re.findall(r"^(?:warning: )?benchmark exam.*$", page.text, re.MULTILINE):
        assert line in status
    (project.root / "letter.txt").write_text(leaks[0])
    explained = project.tamis(*page.words("tamis explain --text letter.txt")).stdout
    assert f'keep out (exam: shared_words = "{questions[0].lower()}"' in explained

    monkeypatch.chdir(project.root)
    write_jsonl(Path("pool.jsonl"), [*leaks, *sentences("algebra", 40, 3)])
    write_jsonl(Path("goal.jsonl"), sentences("algebra", 40, 4))
    command = (
        "tamis select pool.jsonl --target goal.jsonl --budget 10% --keep-out exam.jsonl --output chosen.jsonl"
    )
    words = page.words(command, **{"exam.jsonl": "exam/rows.jsonl"})
    assert main([*words, "--decisions", "why.jsonl"]) == 0
    why = pl.read_ndjson("why.jsonl", infer_schema_length=None)
    assert sorted(why.filter(reason="keep_out")["doc_id"]) == sorted(map(document_id, leaks))
    page.says("`tamis init NAME --from-select` writes the same benchmarks into tamis.toml.")
    again = [word for word in words[1:] if word not in ("--output", "chosen.jsonl")]
    assert main(["init", "made", "--from-select", *again]) == 0
    assert '[[keep_out]]\nname = "rows"\npath = ' in Path("made/tamis.toml").read_text()


def test_train_elsewhere(new_project, save_llama, word_tokenizer, monkeypatch):
    page = Page("train-elsewhere")
    project = new_project(QUICK + page.settings)
    words = sorted({word for topic in TOPICS for text in sentences(topic, 60, 1) for word in text.split()})
    save_llama(project.root / "models" / "my-model", word_tokenizer(words))
    project.tamis(*page.words("tamis materialize"))
    project.tamis(*page.words("tamis export best --for trl"))
    project.tamis(*page.words("tamis export best --for hf"))
    chosen = set(pl.read_ndjson(project.home.exports / "best.for-trl" / "train.jsonl")["doc_id"])
    kept = {doc_id for doc_id, reason in reasons(project, "best").items() if reason == "within_budget"}
    assert len(chosen) == 100
    assert chosen == kept
    page.says("`.tamis/exports/best.for-trl`", "the number, which `train.py` alone reads")
    table = dict(re.findall(r"^\| `([\w-]+)` \| (.*?) \| `", page.text, re.MULTILINE))
    assert {name: tuple(re.findall("`(.*?)`", files)) for name, files in table.items()} == {
        name: files if name != "hf" else (files[2], *files[:2]) for name, files in CONFIGURATIONS.items()
    }
    (program,) = re.findall(r"```text\n(import .*?)```", page.text, re.DOTALL)
    monkeypatch.chdir(project.root)
    shown: dict = {}
    exec(program, shown)
    assert "text" in shown["rows"].column_names
    assert shown["batches"] == 13
    assert shown["state"]["epoch"] == 1
    assert shown["state"]["row"] == 100


def test_a_model_of_the_graph_is_exported_with_what_was_measured(trained):
    Page("train-elsewhere").says("Comments at the head of the configuration name what has no counterpart")
    trained.tamis("export", "best", "--for", "trl")
    (file,) = trained.home.exports.glob("best.for-trl/*.yaml")
    said = yaml.safe_load(file.read_text())
    assert (Path(said["model_name_or_path"]) / "model.safetensors").is_file()
    assert said["learning_rate"] == pytest.approx(2e-3 * (256 / 128) ** 0.75)
    (loss,) = trained.store.read("trials", ["held_out_bits_per_byte"])["held_out_bits_per_byte"]
    head = " ".join(file.read_text().replace("#", " ").split())
    assert f"The trial warm-up__small__best has a held-out loss of {loss:.4g} bits per byte" in head


def test_choose_from_files(tmp_path, encoder_cache, monkeypatch):
    page = Page("choose-from-files")
    monkeypatch.setenv("TAMIS_CACHE", str(encoder_cache))
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pool.jsonl", [text for topic in TOPICS for text in sentences(topic, 60, 1)])
    write_jsonl(tmp_path / "goal.jsonl", sentences("algebra", 460, 2))
    call = "tamis select pool.jsonl --target goal.jsonl --budget 10% --output chosen.jsonl"
    assert main([*page.words(call), "--decisions", "why.csv"]) == 0
    chosen = pl.read_ndjson("chosen.jsonl")
    assert chosen["tamis_rank"].to_list() == list(range(1, len(chosen) + 1))
    assert len(pl.read_csv("why.csv")) == 180
    (program,) = re.findall(r"```text\n(import .*?)```", page.text, re.DOTALL)
    shown: dict = {}
    exec(program, shown)
    assert shown["chosen"]["text"].to_list() == chosen["text"].to_list()
    assert (
        main(page.words("tamis init chosen --from-select pool.jsonl --target goal.jsonl --budget 10%")) == 0
    )
    project = SmallProject(tmp_path / "chosen")
    project.tamis(*page.words("tamis -C chosen materialize")[2:])
    project.tamis(*page.words("tamis -C chosen export chosen")[2:])
    exported = pl.read_parquet(project.home.exports / "chosen.parquet")
    assert exported["text"].to_list() == chosen["text"].to_list()
    page.says("the same documents, ranks and reasons", "its target says `held_out = 0`".replace("its", "Its"))


def test_evaluate_with_your_own_command(trained, tmp_path, monkeypatch):
    page = Page("evaluate-with-your-own-command")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    [code] = re.findall(r"^```text\n# evaluate\.py\n(.*?)^```", page.text, re.MULTILINE | re.DOTALL)
    (trained.root / "evaluate.py").write_text(code)
    trained.configure(trained.text + "\n" + page.settings[page.settings.index("[evaluation]") :])
    trials = trained.store.read("trials", ["trial", "checkpoint"]).sort("trial")
    refused = trained.tamis("materialize", code=2)
    assert "runs `python evaluate.py '{checkpoint}' '{out}'` on this machine" in refused.stderr
    trained.tamis(*page.words("tamis trust"))
    said = trained.tamis("materialize").stdout
    page.says("Each trial is evaluated once.")
    rows = trained.store.read("evaluation_scores").sort("trial", "example")
    assert rows.select("trial", "task", "example").rows() == [
        (trial, "algebra", example) for trial in trials["trial"] for example in ("proof", "sum")
    ]
    assert rows["start_score"].null_count() == 0
    [line] = [line for line in said.splitlines() if line.startswith("Warm-up of small on best")]
    page.says("shows each trial with its target's loss, its loss on the [control]")
    assert re.search(r"; on the pool .* \([+-].*; algebra .* \([+-]", line)
    assert "algebra" in (trained.home.reports / "trained_choices.html").read_text()
    page.says("In MLflow they are the metrics `evaluation.TASK` of the trial's run")
    page.says("The folder is erased once the scores are recorded.")
    assert not list((trained.home.cache / "evaluations").iterdir())
    after = trained.store.read("trials", ["trial", "checkpoint"]).sort("trial")
    assert after.equals(trials), "nothing is trained again"
