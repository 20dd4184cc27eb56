"""On an accelerator: documents of 128 tokens to MiniLM vectors, to scores of 10,000 examples, to a selection.

The documents lie in the store before the clock starts; vectors, potential, scores and decisions are what the
graph's own functions make of them. Without CUDA the same path runs on the processor at the size asked for, to
show that it works, and no limit is judged.
"""

from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks._coverage_data import Stopwatch
from benchmarks._scale_million import sentences_of_pool
from benchmarks._scale_ray import Line, store_texts
from tamis.embedding import load_encoder
from tamis.embedding.identity import locate
from tamis.embedding.storing import embed_missing, table_name
from tamis.selection import select
from tamis.store.tables import Store
from tamis.store.vectors import VectorBlocks
from tamis.transport import solve_potential
from tamis.transport.scoring import PoolScoring, score_pool

TOKENS, SEED = 128, 5
TARGET_ROWS = 10_000
SPECIAL_TOKENS = 2
WORDS = 2_000_000  # that stretches start at: more than documents, so that no two are the same
LIMIT_SECONDS, LIMIT_RATE = 120.0, 15_000.0
WITHOUT_ACCELERATOR = 2_000  # documents, where none are asked for; a tenth of that are examples


def embed_to_select(folder: Path, documents: int | None, line: Line) -> bool:
    """A line a stage and one for all; whether both limits hold, where they are judged."""
    judged = torch.cuda.is_available()
    count = documents or (1_000_000 if judged else WITHOUT_ACCELERATOR)
    examples = TARGET_ROWS if judged else min(TARGET_ROWS, count // 10)
    encoder = load_encoder("minilm", cache=folder)
    texts = documents_of_tokens(count + examples)
    store, ids = store_texts(folder, texts[examples:])
    goal_md = encoder.encode(texts[:examples])
    with Stopwatch() as embedding:
        embed_missing(store, encoder, ids)
    with Stopwatch() as solving:
        pool = VectorBlocks(store, table_name(encoder.name, encoder.fingerprint), dtype=np.float16)
        potential = solve_potential(goal_md, pool, seed=SEED)
    with Stopwatch() as scoring:
        asked = PoolScoring(potential=potential, target_md=goal_md, target="aim", fingerprint="one")
        score_pool(store, asked, table_name(encoder.name, encoder.fingerprint))
    with Stopwatch() as selecting:
        chosen = _selected(store)
    stages = {"embedding": embedding, "potential": solving, "scores": scoring, "selection": selecting}
    seconds = {name: round(watch.wall, 3) for name, watch in stages.items()}
    rate, total = count / seconds["embedding"], sum(seconds.values())
    holds = total < LIMIT_SECONDS and rate >= LIMIT_RATE
    device = torch.cuda.get_device_name(0) if judged else "no CUDA: no limit is judged"
    line(
        "gpu",
        device=device,
        documents=count,
        examples=examples,
        selected=chosen,
        seconds=total,
        stages=seconds,
    )
    line("gpu_limits", holds=holds if judged else None, documents_a_second=rate, limit=LIMIT_RATE)
    return holds or not judged


def _selected(store: Store) -> int:
    decided = select(store.read("transport_aim"), "got-d", "10%", seed=SEED)
    return decided.filter(pl.col("verdict") == "selected").height


def documents_of_tokens(count: int, seed: int = SEED) -> list[str]:
    """Stretches of 128 tokens, special ones included, of real sentences in an order of `seed`.

    A stretch starts at any word; two of them share words where they overlap, as pages of a site do.
    """
    from transformers import AutoTokenizer

    words = sentences_of_pool().sample(fraction=1.0, shuffle=True, seed=seed).str.split(" ").explode()
    words = words.filter(words.str.len_chars() > 0).head(WORDS)
    tokenizer = AutoTokenizer.from_pretrained(str(locate("minilm").folder))
    distinct = words.unique()
    lengths = [len(ids) for ids in tokenizer(distinct.to_list(), add_special_tokens=False)["input_ids"]]
    known = pl.DataFrame({"word": distinct, "tokens": lengths})
    tokens_w = words.to_frame("word").join(known, on="word", how="left", maintain_order="left")["tokens"]
    ends_w = np.concatenate([[0], tokens_w.to_numpy().cumsum()])
    last = int(np.searchsorted(ends_w, ends_w[-1] - TOKENS))
    starts_n = np.resize(np.random.default_rng(seed).permutation(last), count)
    stops_n = np.searchsorted(ends_w, ends_w[starts_n] + TOKENS - SPECIAL_TOKENS, side="right") - 1
    every = words.to_list()
    return [" ".join(every[start:stop]) for start, stop in zip(starts_n, stops_n, strict=True)]
