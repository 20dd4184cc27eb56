"""A swarm of 24 small runs on five sources of real text, and its best mixture trained for longer: JSON lines.

    python -m benchmarks.mixture_swarm --home F
    python -m benchmarks.mixture_swarm --home F --seeds 5 --train-tokens 10000000

Sources: arXiv abstracts, task dialogues, law, permissive mixed text, Wikipedia sentences. Target: sentences
of scientific papers (t_science_a), which none of them is. The graph makes the swarm, the law, the runs at the
next larger preset and two selections of `train_tokens`: one by the law's mixture, one at random, which has
the natural shares. Then a model one size larger than that of the swarm is trained from nothing on each
selection, with several seeds in pairs, and measured on held-out examples.

Claim, registered before the first run: the law's mixture has a lower held-out target loss than the natural
shares, with a 95 % interval over seeds and examples that excludes 0. Prints the shares, what the law
predicted, the agreement of the two sizes, the measured difference with its interval and whether the claim
holds; null where the sizes disagree, so that nothing is recommended. Exit 0 whatever it says. Goes on where
it was stopped, in the folder of --home.
"""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._paired import difference, values
from benchmarks._project import in_its_folder, made_once, materialize
from benchmarks._real_graph import report
from benchmarks._texts import data_folder, read_texts
from tamis.base.files import write_atomically
from tamis.mixture.analysis import REFUSED_BELOW
from tamis.mixture.runs import texts_in_order
from tamis.project import Project, open_project
from tamis.records.current_values import read_current_values
from tamis.settings.references import mixture_presets
from tamis.store.tables import quoted
from tamis.training import preset_shape
from tamis.training.followed import MeasuredOptions, Start, train_measured
from tamis.training.loop import resume_folder
from tamis.training.options import Session
from tamis.training.results import Outcomes
from tamis.training.storing import split_texts
from tamis.verbs.mix import read_mixture

NAME = "mixture_swarm"
SOURCES = ("arxiv_a", "dialogue", "law", "mixed_free", "wikipedia")
LAW, NATURAL = "by-the-law", "natural"
SETTINGS = """
[project]
name = "mixture-swarm"

{corpora}
[[target]]
name = "science"
kind = "files"
path = "science.parquet"
train = 300
held_out = {held_out}

[mixture]
target = "science"
model = "{model}"
runs = {runs}
run_tokens = {run_tokens}
train_tokens = {train_tokens}

[[selection]]
name = "by-the-law"
sampler = "random"
budget = "{train_tokens}tok"
mixture = true

[[selection]]
name = "natural"
sampler = "random"
budget = "{train_tokens}tok"
"""
CORPUS = '[[corpus]]\nname = "{name}"\nkind = "files"\npath = "pool/{file}.parquet"\n'


def write_project(folder: Path, flags: argparse.Namespace) -> None:
    """Write the sources, without what overlaps with targets, the target, and the settings."""
    texts = data_folder()
    for source in SOURCES:
        made_once(
            folder / "pool" / f"{source}.parquet",
            {"rows": flags.documents},
            partial(_write_rows, texts / f"p_{source}.parquet", flags.documents),
        )
    count = 4 * (300 + flags.held_out)  # near-duplicates go to one side of the split
    made_once(
        folder / "science.parquet",
        {"rows": count},
        partial(_write_rows, texts / "t_science_a.parquet", count),
    )
    corpora = "\n".join(CORPUS.format(name=name.replace("_", "-"), file=name) for name in SOURCES)
    names = ("held_out", "model", "runs", "run_tokens", "train_tokens")
    plain = {name: getattr(flags, name) for name in names}
    (folder / "tamis.toml").write_text(SETTINGS.format(corpora=corpora, **plain))


def _write_rows(file: Path, count: int, path: Path) -> None:
    """Write texts of a file, in an order that its ids decide."""
    rows = read_texts(file, "id", "split")
    kept = rows.filter(pl.col("split").fill_null("") != "overlap")
    kept.sort(pl.col("id").hash(0), "id").head(count).select("text").write_parquet(path)


def train_pairs(project: Project, folder: Path, flags: argparse.Namespace) -> dict[str, list[Outcomes]]:
    """Return what every held-out example came to, a seed each, for both selections; each is trained once."""
    found: dict[str, list[Outcomes]] = {LAW: [], NATURAL: []}
    for seed in range(flags.seeds):
        for selection, outcomes in found.items():
            file = folder / "trained" / f"{selection}-{seed}.json"
            if not file.is_file():
                made = _train(project, selection, seed, flags.train_tokens)
                file.parent.mkdir(exist_ok=True)
                write_atomically(file, json.dumps({"bits": made.bits, "n_bytes": made.n_bytes}).encode())
            outcomes.append(Outcomes(**json.loads(file.read_text())))
    return found


def _train(project: Project, selection: str, seed: int, tokens: int) -> Outcomes:
    settings, store = project.settings, project.home.store
    small, larger = mixture_presets(settings)
    assert small is not None
    value = read_current_values(store)[("tokenizer", "")]
    tokenizer = project.home.checkpoints / "tokenizer" / "all" / value.input_key[:16]
    options = MeasuredOptions(
        **settings.pretraining.model_dump(
            include={"sequence_length", "batch_size", "learning_rate", "compile"}
        ),
        seed=seed,
        tokens=tokens,
        evaluations=1,
    )
    made = train_measured(
        Start(shape=preset_shape(larger or small, settings.pretraining.vocabulary), model=tokenizer),
        _training_texts(project, selection, seed),
        options,
        {"science": split_texts(store, "science", "held_out")["text"].to_list()},
        Session(resume=resume_folder(project.home.cache, NAME, f"{selection}-{seed}")),
    ).evaluations["science"]
    return Outcomes(bits=made.document_bits.tolist(), n_bytes=made.document_bytes.tolist())


def _training_texts(project: Project, selection: str, seed: int) -> Iterator[str]:
    where = f"selection = {quoted(selection)}"
    chosen = project.home.store.read("selected_subset", ["doc_id", "training_count"], where)
    counts = chosen.select("doc_id", count=pl.col("training_count").fill_null(1))
    return texts_in_order(project.home.store, counts, seed)


def run(flags: argparse.Namespace, folder: Path) -> None:
    """Make the swarm by the graph, train both selections, and print what came of it."""
    write_project(folder, flags)
    failed = None
    try:
        materialize(folder)
    except SystemExit as ended:
        failed = ended
    project = open_project(folder)
    said = read_mixture(project)
    if failed and not (said["agreement"] and said["agreement"]["correlation"] < REFUSED_BELOW):
        raise failed
    for row in said["runs"]:
        report(NAME, "runs", **row)
    for row in said["mixture"]:
        report(NAME, "share", **row)
    for row in said["controls"]:
        report(NAME, "predicted", **{key: value for key, value in row.items() if key != "shares"})
    if said["agreement"]:
        report(NAME, "agreement", **said["agreement"])
    if not said["mixture"]:
        report(NAME, "claim", holds=None, because="proxy_agreement refused the mixture")
        return
    found = train_pairs(project, folder, flags)
    both = [values("bits_per_byte", found[name])[None] for name in (LAW, NATURAL)]
    for name, one in zip((LAW, NATURAL), both, strict=True):
        report(NAME, "trained", selection=name, bits_per_byte=float(one[0, :, 0].mean()), seeds=flags.seeds)
    measured = difference(both[0], both[1], len(found[LAW][0].bits))
    report(NAME, "difference", mean=measured.mean, low=measured.low, high=measured.high, p=measured.p)
    report(NAME, "claim", claim="the law's mixture beats the natural shares", holds=measured.high < 0)


def main() -> None:
    """Run the swarm and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="llama-0.3m")
    parser.add_argument("--runs", type=at_least(12), default=24)
    parser.add_argument("--run-tokens", type=at_least(1_000), default=500_000)
    parser.add_argument("--train-tokens", type=at_least(1_000), default=5_000_000)
    parser.add_argument("--documents", type=at_least(100), default=20_000, help="of each source, at most")
    parser.add_argument("--held-out", type=at_least(10), default=400)
    parser.add_argument("--seeds", type=at_least(2), default=3)
    parser.add_argument("--home", type=Path, help="project folder to use and keep")
    flags = begin(parser)
    in_its_folder(flags, run)


if __name__ == "__main__":
    main()
