"""Runs next to those of `tamis tune`: of autocurate's search, and of arms that are named beforehand.

autocurate gets the same model, tokens, examples and number of runs. Its signals know no goal, so its columns
are our scores: potential of GOT-D, distance to the nearest example, log odds of a classifier, all by the
examples that our search fits, and the number of tokens. What it optimises is the loss on one half of the
validation examples; its guard compares on the other half.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from benchmarks._real_graph import report
from benchmarks._real_tasks import Task
from tamis.base.files import write_atomically
from tamis.corpus.intake import texts_of
from tamis.embedding.storing import current_table, encoder_slug
from tamis.project import Project, open_project
from tamis.samplers.classifier import classifier_log_odds
from tamis.selection.pool import candidates, exclusions
from tamis.settings.config import SelectionSection
from tamis.store.vectors import VectorBlocks
from tamis.training.examples import Example
from tamis.training.followed import MeasuredOptions, Start, train_measured
from tamis.training.options import Session
from tamis.transport.scoring import nearest_cost
from tamis.transport.solve import solve_potential
from tamis.transport.storing import target_vectors
from tamis.tuning import guard
from tamis.tuning.guard import Difference, Pairs
from tamis.tuning.runs import Goal, goal_of

if TYPE_CHECKING:
    from benchmarks.tune_tasks import Tuned

NAME = "tune_tasks"


def print_rival(tuned: "Tuned", task: Task, values: dict[str, Any]) -> None:
    """Print what autocurate picks for a task, and its difference to random and to the winner of Tamis."""
    try:
        import autocurate  # type: ignore[import-not-found, unused-ignore]
        import optuna  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError as error:
        report(NAME, "rival is missing", target=task.name, reason=str(error))
        return
    kept = tuned.folder / "answers" / f"{task.name}-autocurate.json"
    if not kept.is_file():
        tuned.write(task)
        project = open_project(tuned.folder)
        picked = _searched(autocurate, project, task, values, tuned.sizes.tokens)
        write_atomically(kept, json.dumps(picked).encode())
    picked = json.loads(kept.read_text())
    own = np.array(picked.pop("example_bits"))
    report(NAME, "rival", target=task.name, version=autocurate.__version__, **picked)
    rows = pl.DataFrame(values["guard"])
    for other in (values["reference"], values["recipe"]):
        runs = rows.filter(pl.col("recipe") == other).sort("seed")
        bits_pd = np.array(runs["example_bits"].to_list())
        sizes_d = runs["example_bytes"][0].to_list()
        goal = difference(own[: len(bits_pd)], bits_pd, sizes_d)
        report(
            NAME,
            "rival's pick",
            target=task.name,
            against=other,
            difference=goal.mean,
            low=goal.low,
            high=goal.high,
            pairs=goal.pairs,
        )


def difference(own_pd: np.ndarray, other_pd: np.ndarray, sizes: Sequence[int]) -> Difference:
    """Return the difference of two arms [pair, example] in bits per byte, as the guard of [tune] has it."""
    bytes_d = np.array(sizes, dtype=np.float64)
    return guard.difference(Pairs(winner_pd=own_pd, reference_pd=other_pd, bytes_d=bytes_d))


def target_table(project: Project) -> str:
    """Return the table of the vectors of targets' examples."""
    return f"target_embeddings_{encoder_slug(project.settings.encoder.name)}"


def eligible(project: Project, section: SelectionSection) -> pl.DataFrame:
    """Return the documents that a selection may choose, with the scores that its sampler ranks by."""
    store = project.home.store
    excluded = exclusions(store, project.settings.filters)
    return candidates(store, section).join(excluded, on="doc_id", how="anti").sort("doc_id")


def _searched(
    autocurate: Any, project: Project, task: Task, values: dict[str, Any], tokens: int
) -> dict[str, Any]:
    """Have autocurate search with as many runs as Tamis paid, and train its pick with the guard's seeds."""
    import pyarrow as pa

    store = project.home.store
    goal = goal_of(store, task.name, project.settings.near_duplicates.threshold, project.seed)
    pool, scores = _pool(project, goal, task)
    texts = texts_of(store, pool)
    table = pa.table({"text": [texts[doc_id] for doc_id in pool], **scores})
    held = list(goal.validation.values())
    halves = {"score": held[::2], "heldout": held[1::2]}
    shared = {"sequence_length", "batch_size", "learning_rate"}
    trained = Trained(project, tokens, project.settings.fine_tuning.model_dump(include=shared))

    def on(rows: Any) -> list[str]:
        return trained.texts([pool[row] for row in rows])

    def evaluate(_recipe: Any, rows: Any) -> dict[str, float]:
        measured = trained.losses(on(rows), 0, halves)
        return {name: -part[0] for name, part in measured.items()}

    runs = round((values["search_flop"] + values["guard_flop"]) / values["own_flop"])
    uri = str(project.root / "autocurate")
    dataset = autocurate.load(table, name=f"pool-{task.name}", uri=uri, overwrite=True)
    curated = autocurate.curate(
        dataset, eval=evaluate, budget=runs, signals=False, domain="text", seed=project.seed
    )
    rows = pl.DataFrame(values["guard"])
    seeds = rows.filter(pl.col("recipe") == values["recipe"])["seed"].sort().to_list()
    guarded = {"goal": list(goal.guard.values())}
    finals = [
        trained.losses(on(curated.recipe.select(dataset, seed=seed)), 1 + seed, guarded) for seed in seeds
    ]
    return {
        "recipe": {
            name: value for name, value in curated.recipe.to_dict().items() if name not in ("name", "notes")
        },
        "decision": curated.report["guard"]["decision"],
        "documents": len(set(np.asarray(curated.ids).tolist())),
        "runs": runs,
        "loss": float(np.mean([final["goal"][0] for final in finals])),
        "example_bits": [final["goal"][1] for final in finals],
    }


def _pool(project: Project, goal: Goal, task: Task) -> tuple[list[str], dict[str, Any]]:
    """Return the ids of the documents that may be chosen, and our scores of them: smallest first."""
    store, transport = project.home.store, project.settings.transport
    section = SelectionSection(name="rival", sampler="random", target=task.name, budget="100%")
    pool = eligible(project, section)
    vectors = VectorBlocks(store, current_table(project), dtype=np.float16)
    fit_md = target_vectors(store, target_table(project), task.name, only=set(goal.fit))
    potential = solve_potential(
        fit_md,
        vectors,
        relative_epsilon=transport.relative_epsilon,
        tolerance=transport.tolerance,
        max_passes=transport.max_passes,
        seed=project.seed,
    )
    ids = [doc_id for some, _ in vectors.with_ids() for doc_id in some]
    known = pl.DataFrame(
        {
            "doc_id": ids,
            "got_d": potential.gradient(vectors),
            "knn": nearest_cost(fit_md, vectors, center=potential.center),
        }
    )
    scored = pool.join(known, on="doc_id", how="left", maintain_order="left")
    texts = texts_of(store, pool["doc_id"].to_list())
    odds_n = classifier_log_odds(
        [str(example) for example in goal.fit.values()],
        [texts[doc_id] for doc_id in pool["doc_id"]],
        pool["doc_id"].to_list(),
        seed=project.seed,
    )
    columns = {name: scored[name].cast(pl.Float64).to_numpy() for name in ("got_d", "knn")}
    sizes = scored["n_tokens"].cast(pl.Float64).to_numpy()
    return pool["doc_id"].to_list(), {**columns, "classifier": odds_n, "n_tokens": sizes}


class Trained:
    """Trainings of a model on texts, as [tune] trains; `model` None: the base model of the project."""

    def __init__(
        self, project: Project, tokens: int, options: Mapping[str, Any], model: str | Path | None = None
    ) -> None:
        self._project = project
        if model is None:
            folders = (project.home.root / "checkpoints" / "base_models" / "base").iterdir()
            model = max(folders, key=lambda folder: folder.stat().st_mtime)
        self._model, self._options = model, {**options, "tokens": tokens, "evaluations": 1}

    def texts(self, doc_ids: Sequence[str]) -> list[str]:
        """Return the texts of documents, in this order."""
        known = texts_of(self._project.home.store, sorted(set(doc_ids)))
        return [known[doc_id] for doc_id in doc_ids]

    def losses(
        self, texts: Sequence[str], seed: int, examples: Mapping[str, Sequence[Example]]
    ) -> dict[str, tuple[float, list[float]]]:
        """Return bits per byte, and bits of each example, after training on texts in their order."""
        run = train_measured(
            Start(model=self._model),
            texts,
            MeasuredOptions(**self._options, seed=seed),
            examples,
            Session(resume=self._project.root / "resume"),
        )
        return {
            name: (part.bits_per_byte, part.document_bits.tolist()) for name, part in run.evaluations.items()
        }
