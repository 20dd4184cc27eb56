"""Projects whose corpus splits long documents into passages."""

import json
import random

import polars as pl
import pyarrow.parquet as pq
from projects import SmallProject, corpus, plain_project, selection, settings, write

from tamis.verbs.elsewhere.export import Extras, export_selection

MADE = frozenset({"raw_shards", "documents", "near_duplicates", "selected_subset"})
WORDS = ("matrix", "vector", "kernel", "group", "ring", "field", "proof", "lemma", "module", "basis")
SPLIT = "40 words"


def document(seed: int, paragraphs: int) -> str:
    """Return paragraphs of sentences, with spaces of several kinds between them."""
    draw = random.Random(seed)

    def sentence() -> str:
        return (
            " ".join(f"{draw.choice(WORDS)}{draw.randrange(100)}" for _ in range(draw.randrange(4, 12))) + "."
        )

    spaces = ["\n\n", "\n\n\n", "\n \n", "\n\n\u3000"]
    return "".join(
        f"{' '.join(sentence() for _ in range(draw.randrange(1, 5)))}{draw.choice(spaces)}"
        for _ in range(paragraphs)
    ).strip()


LONG = [document(seed, 14) for seed in range(4)]
SHORT = [document(seed, 1)[:150].rsplit(" ", 1)[0] for seed in range(10, 16)]
ROWS = [
    {"text": text, "edu": number, "meta": {"page": f"p{number}"}, "licence": "mit"}
    for number, text in enumerate([*LONG, *SHORT])
]
ALL = selection("all", "random", 10_000)
FEW = selection("few", "random", 12)


def project_at(root, *parts: str, rows=ROWS, split: str | None = SPLIT) -> SmallProject:
    more = {"split": split} if split else {}
    made = plain_project(root, settings(corpus(**more), *parts), {})
    write(made.root / "documents" / "a.jsonl", map(json.dumps, rows))
    return made


def places(project: SmallProject) -> pl.DataFrame:
    return project.rows("occurrences").sort("shard", "row", "passage_number")


def exported(project: SmallProject, name: str, **extras: bool) -> list[dict]:
    done = export_selection(project.project, name, "parquet", extras=Extras(**extras))
    return pq.read_table(done.path).to_pylist()


def oracle(project: SmallProject, chosen: set[str]) -> dict[str, str]:
    """Join the chosen passages of each document by hand."""
    texts = dict(project.rows("documents").select("doc_id", "text").iter_rows())
    joined: dict[str, str] = {}
    last: dict[str, int] = {}
    for row in places(project).filter(pl.col("doc_id").is_in([*chosen])).to_dicts():
        if row["passage_of"] is None:
            joined[row["doc_id"]] = texts[row["doc_id"]]
            continue
        document, number = row["passage_of"], row["passage_number"]
        if document in joined:
            space = row["passage_gap"] if last[document] == number - 1 else "\n\n"
            joined[document] += space + texts[row["doc_id"]]
        else:
            joined[document] = texts[row["doc_id"]]
        last[document] = number
    return joined
