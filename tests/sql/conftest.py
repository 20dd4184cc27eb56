"""A small world for the SQL layer: the store's tables by hand, and a writer of throw-away projects."""

from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pytest

from tamis.sql import Project, load_project, run_model

FOLDER = Path(__file__).parents[2] / "dbt_like_sql"

SCHEMAS = {
    "documents": {
        "doc_id": pa.string(),
        "text": pa.string(),
        "n_chars": pa.uint32(),
        "n_bytes": pa.uint32(),
        "language": pa.string(),
        "first_seen": pa.timestamp("us"),
    },
    "occurrences": {
        "doc_id": pa.string(),
        "shard": pa.string(),
        "row": pa.uint32(),
        "source": pa.string(),
        "licence": pa.string(),
        "metadata": pa.string(),
    },
    "near_duplicates": {"doc_id": pa.string(), "kept": pa.string(), "jaccard": pa.float32()},
    "quarantine": {
        "shard": pa.string(),
        "row": pa.int64(),
        "reason": pa.string(),
        "detail": pa.string(),
        "excerpt": pa.string(),
        "rows_lost": pa.int64(),
    },
    "density_scores": {"doc_id": pa.string(), "density": pa.float64()},
    "quality_scores": {
        "doc_id": pa.string(),
        "judge_margin_predicted": pa.float64(),
        "quality": pa.float64(),
    },
    "perplexity_scores": {"doc_id": pa.string(), "bits_per_byte": pa.float32()},
    "judge_scores": {
        "doc_id": pa.string(),
        "logp_yes_raw": pa.float64(),
        "logp_yes": pa.float64(),
        "logp_no": pa.float64(),
        "answer_mass": pa.float64(),
        "margin": pa.float64(),
        "truncated": pa.bool_(),
    },
    "transport_scores": {
        "target": pa.string(),
        "doc_id": pa.string(),
        "transport_gradient": pa.float64(),
        "nearest_cost": pa.float64(),
    },
    "pool_potential_scores": {
        "target": pa.string(),
        "doc_id": pa.string(),
        "pool_potential": pa.float64(),
    },
    "column_scores": {
        "score": pa.string(),
        "doc_id": pa.string(),
        "value": pa.float64(),
        "not_numbers": pa.int64(),
    },
    "target_examples": {
        "target": pa.string(),
        "doc_id": pa.string(),
        "split": pa.string(),
        "text": pa.string(),
        "source": pa.string(),
    },
    "decisions": {
        "selection": pa.string(),
        "doc_id": pa.string(),
        "verdict": pa.string(),
        "reason": pa.string(),
        "detail": pa.string(),
        "rank": pa.int64(),
        "margin": pa.float64(),
        "duplicate_of": pa.string(),
        "transport_gradient": pa.float64(),
        "quality": pa.float64(),
        "judge_margin_predicted": pa.float64(),
        "density": pa.float64(),
        "nearest_cost": pa.float64(),
        "bits_per_byte": pa.float64(),
        "gradient_away": pa.float64(),
        "own_score": pa.float64(),
        "method_score": pa.float64(),
    },
    "trials": {
        "trial": pa.string(),
        "model": pa.string(),
        "kind": pa.string(),
        "data": pa.string(),
        "size": pa.int64(),
        "seed": pa.int64(),
        "zero_shot_bits_per_byte": pa.float64(),
        "held_out_bits_per_byte": pa.float64(),
        "held_out_low": pa.float64(),
        "held_out_high": pa.float64(),
        "warm_up_bits_per_byte": pa.float64(),
        "held_out_loss": pa.float64(),
        "accuracy": pa.float64(),
        "accuracy_low": pa.float64(),
        "accuracy_high": pa.float64(),
        "macro_f1": pa.float64(),
        "macro_f1_low": pa.float64(),
        "macro_f1_high": pa.float64(),
        "majority_accuracy": pa.float64(),
        "seeds": pa.int64(),
        "steps": pa.int64(),
        "tokens": pa.int64(),
        "flops": pa.float64(),
        "seconds": pa.float64(),
        "peak_memory_bytes": pa.int64(),
        "parameters": pa.int64(),
        "trainable_parameters": pa.int64(),
        "evaluation_flops": pa.float64(),
        "evaluation_seconds": pa.float64(),
        "checkpoint": pa.string(),
        "mlflow_run": pa.string(),
    },
    "sampler_trials": {
        "run": pa.string(),
        "sampler": pa.string(),
        "budget": pa.string(),
        "data_seed": pa.int64(),
        "training_seed": pa.int64(),
        "documents": pa.int64(),
        "tokens": pa.int64(),
        "epochs": pa.float64(),
        "target_bits_per_byte": pa.float64(),
        "pool_bits_per_byte": pa.float64(),
        "failure": pa.string(),
        "seconds": pa.float64(),
    },
    "tune_runs": {
        **dict.fromkeys(("run", "target", "part", "recipe", "model"), pa.string()),
        **dict.fromkeys(("seed", "look", "documents", "tokens"), pa.int64()),
        **dict.fromkeys(("portion", "flop", "bits_per_byte", "seconds"), pa.float64()),
        "failure": pa.string(),
    },
    "mixture_gain_runs": {
        **dict.fromkeys(("run", "mixture", "target", "preset", "failure"), pa.string()),
        **dict.fromkeys(("pair", "documents", "tokens"), pa.int64()),
        **dict.fromkeys(("flop", "bits_per_byte", "seconds"), pa.float64()),
    },
    "mixture_runs": {
        "run": pa.string(),
        "preset": pa.string(),
        "documents": pa.int64(),
        "steps": pa.int64(),
        "tokens": pa.int64(),
        "flops": pa.float64(),
        "seconds": pa.float64(),
        "parameters": pa.int64(),
        "failure": pa.string(),
        "checkpoint": pa.string(),
        "mlflow_run": pa.string(),
    },
    "mixture_losses": {
        "run": pa.string(),
        "target": pa.string(),
        "bits_per_byte": pa.float64(),
        "examples": pa.int64(),
    },
    "mixture_plan": {"run": pa.string(), "source": pa.string(), "weight": pa.float64()},
    "agreement_plan": {"run": pa.string(), "source": pa.string(), "weight": pa.float64()},
    "current_trials": {"trial": pa.string()},
    "trial_targets": {"trial": pa.string(), "target": pa.string()},
    "trained_on": {"checkpoint": pa.string(), "doc_id": pa.string(), "data": pa.string()},
    "withdrawals": {
        "doc_id": pa.string(),
        "withdrawn_at": pa.timestamp("us"),
        "reason": pa.string(),
        "scope": pa.string(),
        "receipt": pa.string(),
        "loose_id": pa.string(),
    },
}

# Six documents: d1 is in both shards, d6 yields to d5.
ROWS = {
    "documents": [
        {"doc_id": f"d{i}", "text": "x" * i, "n_chars": 10 * i, "n_bytes": 10 * i, "language": "en"}
        for i in range(1, 7)
    ],
    "occurrences": [
        {"doc_id": "d1", "shard": "web/b", "row": 0, "source": "posts", "licence": None},
        {"doc_id": "d1", "shard": "law/a", "row": 3, "source": "text", "licence": "CC0"},
        {"doc_id": "d2", "shard": "law/a", "row": 1, "source": "text", "licence": "CC0"},
        {"doc_id": "d3", "shard": "law/a", "row": 2, "source": "text", "licence": None},
        {"doc_id": "d4", "shard": "web/b", "row": 1, "source": "text", "licence": None},
        {"doc_id": "d5", "shard": "web/b", "row": 2, "source": "text", "licence": None},
        {"doc_id": "d6", "shard": "web/b", "row": 3, "source": "text", "licence": None},
    ],
    "near_duplicates": [{"doc_id": "d6", "kept": "d5", "jaccard": 0.9}],
    "quarantine": [{"shard": "law/a", "row": 9, "reason": "missing_text", "detail": "", "excerpt": "{}"}],
    "density_scores": [{"doc_id": f"d{i}", "density": float(i)} for i in range(1, 7)],
    "quality_scores": [
        {"doc_id": f"d{i}", "judge_margin_predicted": i - 3.0, "quality": i / 6} for i in range(1, 7)
    ],
    "perplexity_scores": [{"doc_id": f"d{i}", "bits_per_byte": 2.0} for i in range(1, 7)],
    "judge_scores": [{"doc_id": "d2", "margin": -1.5}, {"doc_id": "d4", "margin": 0.5}],
    "transport_scores": [
        {"target": target, "doc_id": f"d{i}", "transport_gradient": sign * i, "nearest_cost": i / 10}
        for target, sign in (("stats", 1.0), ("law", -1.0))
        for i in range(1, 7)
    ],
    "pool_potential_scores": [
        {"target": "law", "doc_id": f"d{i}", "pool_potential": -i / 10} for i in range(1, 7)
    ],
    "decisions": [
        {"selection": "core", "doc_id": "d1", "verdict": "selected", "reason": "under_the_cut", "rank": 1},
        {"selection": "core", "doc_id": "d2", "verdict": "selected", "reason": "under_the_cut", "rank": 2},
        {"selection": "core", "doc_id": "d4", "verdict": "selected", "reason": "under_the_cut", "rank": 3},
        {"selection": "core", "doc_id": "d3", "verdict": "rejected", "reason": "over_the_cut", "rank": 4},
        {"selection": "core", "doc_id": "d5", "verdict": "rejected", "reason": "over_the_cut", "rank": 5},
        {"selection": "core", "doc_id": "d6", "verdict": "rejected", "reason": "near_duplicate"},
    ],
    "trials": [
        {
            "trial": name,
            "model": "llama",
            "kind": kind,
            "data": data,
            "size": 100,
            "seed": 0,
            "zero_shot_bits_per_byte": 2.0,
            "held_out_bits_per_byte": loss,
            "seconds": 1.0,
            "seeds": 2,
            "flops": 3e9,
            "checkpoint": f"checkpoints/trials/{name}",
        }
        for name, kind, data, loss in (
            ("t1", "warm_up", "core", 1.5),
            ("t2", "warm_up", "core", 1.25),
            ("t3", "warm_up", "core", float("nan")),
            ("t4", "law", "stats", 1.75),
        )
    ],
    "sampler_trials": [
        {
            "run": f"c{seed}",
            "sampler": "knn",
            "budget": "10%",
            "data_seed": seed,
            "training_seed": 1,
            "documents": 7,
            "tokens": 1_000,
            "target_bits_per_byte": loss,
            "failure": failure,
            "seconds": 4.0,
        }
        for seed, loss, failure in ((0, 1.5, None), (1, float("nan"), "the loss is not finite"))
    ],
    "tune_runs": [
        {
            "run": f"r{seed}",
            "target": "stats",
            "part": part,
            "recipe": "knn 10%",
            "model": "llama",
            "seed": seed,
            "portion": portion,
            "look": look,
            "documents": 7,
            "tokens": 1_000,
            "flop": 4e9,
            "bits_per_byte": loss,
            "failure": failure,
            "seconds": 6.0,
        }
        for seed, part, portion, look, loss, failure in (
            (0, "search", 0.25, 0, 1.5, None),
            (1, "guard", 1.0, 2, float("nan"), "the loss is not finite"),
        )
    ],
    "mixture_gain_runs": [
        {
            "run": f"g{pair}",
            "mixture": mixture,
            "pair": pair,
            "target": "law, stats",
            "preset": "llama-0.3m",
            "documents": 9,
            "tokens": 96,
            "flop": 2e9,
            "bits_per_byte": loss,
            "failure": failure,
            "seconds": 3.0,
        }
        for pair, mixture, loss, failure in (
            (0, "chosen", 1.25, None),
            (1, "natural", float("nan"), "diverged: the loss is not finite"),
        )
    ],
    "mixture_runs": [
        {
            "run": name,
            "preset": preset,
            "documents": 9,
            "steps": 3,
            "tokens": 96,
            "flops": 2e9,
            "seconds": 5.0,
            "checkpoint": f"checkpoints/mixture_runs/{name}",
            "mlflow_run": "m",
        }
        for name, preset in (("m1", "llama-0.3m"), ("m2", "llama-0.3m"), ("m3", "llama-0.8m"))
    ],
    # The second run is not measured on all targets yet, the third, of an earlier plan, on none.
    "mixture_losses": [
        {"run": run, "target": target, "bits_per_byte": loss, "examples": 4}
        for run, target, loss in (
            ("m1", "stats", 2.0),
            ("m1", "law", 1.0),
            ("m2", "stats", 2.0),
            ("m2", "law", None),
        )
    ],
    "mixture_plan": [
        {"run": run, "source": source, "weight": weight}
        for run, source, weight in (
            ("m1", "web", 0.25),
            ("m1", "law", 0.75),
            ("m2", "web", 1.0),
            ("m2", "law", 0.0),
        )
    ],
    "current_trials": [{"trial": f"t{i}"} for i in range(1, 5)],
    "trial_targets": [{"trial": f"t{i}", "target": "stats"} for i in range(1, 5)],
    "target_examples": [
        {"target": "stats", "doc_id": f"e{i}", "split": "train", "source": "examples"} for i in range(3)
    ],
    # The base model saw the pool, a text that has been withdrawn since and one that has left the corpora.
    "trained_on": [
        *({"checkpoint": "llama", "doc_id": f"d{i}", "data": "pool"} for i in range(1, 7)),
        {"checkpoint": "llama", "doc_id": "w1", "data": "pool"},
        {"checkpoint": "llama", "doc_id": "left", "data": "pool"},
        {"checkpoint": "t1", "doc_id": "d1", "data": "core"},
        {"checkpoint": "t1", "doc_id": "w1", "data": "core"},
        {"checkpoint": "t4", "doc_id": "e0", "data": "stats"},
    ],
    "withdrawals": [
        {"doc_id": name, "withdrawn_at": 1_000_000, "reason": "asked", "scope": "documents", "receipt": "r1"}
        for name in ("w1", "w2")
    ],
}


class World:
    """Arrow tables by name: sources, and marts once published; remembers which columns were read."""

    def __init__(self, rows: dict) -> None:
        self.tables = {name: arrow(name, rows.get(name, [])) for name in SCHEMAS}
        self.reads: list[tuple[str, list[str]]] = []

    def read(self, name, columns):
        self.reads.append((name, columns))
        return self.tables[name].select(columns)

    def run(self, project: Project, name: str, **options):
        """Run a model and publish it when its tests pass; `increment`: add to what was published."""
        if options.pop("increment", False):
            options["previous"] = self.tables.get(name)
        result = run_model(project, name, self.read, **options)
        if result.passed:
            self.tables[name] = result.table
        return result


def arrow(name: str, rows: list[dict]) -> pa.Table:
    schema = pa.schema(list(SCHEMAS[name].items()))
    return pa.Table.from_pylist([{**dict.fromkeys(schema.names), **row} for row in rows], schema=schema)


@pytest.fixture(scope="session")
def project() -> Project:
    return load_project(FOLDER)


@pytest.fixture
def world() -> World:
    return World(ROWS)


@pytest.fixture
def empty_world() -> World:
    return World({})


@pytest.fixture
def to_arrow():
    """Arrow table of a source from rows that leave columns out."""
    return arrow


@pytest.fixture
def rows() -> dict:
    return ROWS


SETTINGS = "name: toy\nprofile: toy\nmodel-paths: [staging, marts]\ntest-paths: [tests]\n"
SOURCES = """
version: 2
sources:
  - name: raw
    tables:
      - name: items
        columns:
          - {name: id, data_type: varchar}
          - {name: weight, data_type: double}
          - {name: colour, data_type: varchar}
"""


@pytest.fixture
def write_project(tmp_path: Path):
    """Write files (path -> text) over a project with one source raw.items(id, weight, colour)."""

    def write(files: dict[str, str]) -> Path:
        defaults = {"dbt_project.yml": SETTINGS, "staging/sources.yml": SOURCES}
        for path, text in {**defaults, **files}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture
def items() -> pa.Table:
    return pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "weight": [1.0, 2.0, 4.0, None],
            "colour": ["red", "red", "blue", None],
        }
    )
