"""Warm up on a choice and measure along the way: one result a (set, sampler, seed), kept as a file.

All samplers of a seed share the order of documents, the beginnings and the random numbers by which the model
writes, so differences are paired.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._contrast_data import KINDS, beginnings, texts_in
from benchmarks._contrast_graph import Study
from benchmarks._workers import in_workers
from tamis.base.files import write_atomically
from tamis.corpus.intake import texts_of
from tamis.training import FineTuningOptions, PretrainingOptions, preset_shape, pretrain, train_tokenizer
from tamis.training.device import choose_device, named_precision, weights_in
from tamis.training.evaluation import evaluate_loaded
from tamis.training.loop import train
from tamis.training.models import LoadedModel, load_model
from tamis.training.options import Session
from tamis.training.packing import pack
from tamis.training.plan import Plan, run_key, steps_per_epoch
from tamis.training.results import Outcomes
from tamis.training.tokenizer import boundary_tokens, encode, load_tokenizer

NONE = "no warm-up"
MEASURED_AT = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)
"""Shares of the warm-up."""
JUDGED_CHARACTERS = 120  # about as many as a model writes


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the base model is made, warmed up and made to write; the same for every sampler."""

    preset: str
    pretraining: PretrainingOptions
    mixture: tuple[float, ...]
    """Shares of bad, good and neutral documents that the base model reads."""
    warm_up: FineTuningOptions
    written: int
    written_tokens: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model at a step: code lengths of the held-out texts of each kind, and what it wrote: bad or not."""

    step: int
    bad: Outcomes
    good: Outcomes
    neutral: Outcomes
    written: Outcomes


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A warm-up, measured along the way; the first entry is the model before it."""

    name: str
    sampler: str
    seed: int
    documents: int
    tokens: int
    measured: list[Measured]
    samples: list[str]
    seconds: float


def make_runs(study: Study, recipe: Recipe, samplers: Sequence[str], workers: int) -> list[Finished]:
    """Every run that has no result yet, then all of them; an interrupted benchmark goes on."""
    folder = study.folder / "runs" / digest(study, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    in_workers(_make_base, [(study, recipe, folder)], 1)
    units = [(sampler, seed) for seed in study.seeds for sampler in (NONE, *samplers)]
    in_workers(_make_run, [(study, recipe, *unit, folder) for unit in units], workers)
    return [_read(_path(folder, *unit)) for unit in units]


def digest(study: Study, recipe: Recipe) -> str:
    """Of all that a result depends on but sampler and seed: what another recipe made is not taken."""
    stated = json.dumps([asdict(recipe), study.identity()], sort_keys=True)
    return hashlib.sha256(stated.encode()).hexdigest()[:12]


def _path(folder: Path, sampler: str, seed: int) -> Path:
    return folder / f"{sampler.replace(' ', '-')}--{seed}.json"


def _read(path: Path) -> Finished:
    values = json.loads(path.read_text())
    values["measured"] = [
        Measured(step=one["step"], **{name: Outcomes(**one[name]) for name in (*KINDS, "written")})
        for one in values["measured"]
    ]
    return Finished(**values)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def mixture(texts: dict[str, list[str]], shares: Sequence[float], seed: int) -> list[str]:
    """Return texts of all kinds, shuffled, as many documents of each as its share says; a kind that has
    too few is repeated. As long as all kinds together would be if none were repeated.
    """
    rng, documents = np.random.default_rng(seed), sum(map(len, texts.values()))
    mixed: list[str] = []
    for (_kind, some), share in zip(sorted(texts.items()), shares, strict=True):
        count = round(share * documents)
        rounds = -(-count // len(some))
        places = np.concatenate([rng.permutation(len(some)) for _ in range(rounds)])[:count]
        mixed += [some[place] for place in places]
    return [mixed[place] for place in rng.permutation(len(mixed))]


def _make_base(study: Study, recipe: Recipe, folder: Path) -> None:
    if (folder / "base").is_dir():
        return
    began = time.perf_counter()
    pool = {kind: texts_in(study.texts, "pool", kind) for kind in KINDS}
    if not (folder / "tokenizer").is_dir():
        train_tokenizer([text for texts in pool.values() for text in texts], folder / "tokenizer")
    shape = preset_shape(recipe.preset, len(load_tokenizer(folder / "tokenizer")))
    texts = mixture(pool, recipe.mixture, recipe.pretraining.seed)
    done = pretrain(
        shape, texts, folder / "tokenizer", recipe.pretraining, folder / "base", folder / "base-state"
    )
    _say(f"{study.source.name}: base model, {done.tokens} tokens, {time.perf_counter() - began:.0f} s")


def _make_run(study: Study, recipe: Recipe, sampler: str, seed: int, folder: Path) -> None:
    path = _path(folder, sampler, seed)
    if path.is_file():
        return
    began = time.perf_counter()
    finished = warm_up(study, recipe, sampler, seed, folder / "base")
    seconds = time.perf_counter() - began
    write_atomically(path, json.dumps({**asdict(finished), "seconds": seconds}).encode())
    _say(f"{study.source.name}, {sampler}, seed {seed}: {seconds:.0f} s")


def warm_up(study: Study, recipe: Recipe, sampler: str, seed: int, base: Path) -> Finished:
    """Train `base` on the choice of a sampler (or on nothing), measured before, on the way and at the end."""
    options = replace(recipe.warm_up, seed=seed)
    device = choose_device("auto")
    loaded = load_model(base, device, options.sequence_length)
    measure = Measure(study, recipe, seed)
    measure(loaded, 0)
    chosen: list[str] = []
    tokens = 0
    if sampler != NONE:
        chosen = study.chosen(sampler, seed)
        texts = texts_of(study.store, chosen)
        documents = pack(loaded.tokenizer, [texts[doc_id] for doc_id in chosen])
        steps = options.epochs * steps_per_epoch(documents, options)
        plan = Plan(
            documents=documents,
            steps=steps,
            options=options,
            key=run_key(base.name, options, documents, device.type),
        )
        at = {max(1, round(share * steps)) for share in MEASURED_AT}

        def observe(done: int) -> None:
            if done in at:
                loaded.model.eval()
                measure(loaded, done)
                loaded.model.train()

        with tempfile.TemporaryDirectory() as state:
            tokens = train(loaded, plan, Session(resume=Path(state)), observe=observe).tokens
    return Finished(
        name=study.source.name,
        sampler=sampler,
        seed=seed,
        documents=len(chosen),
        tokens=tokens,
        measured=measure.found,
        samples=measure.samples[:20],
        seconds=0.0,
    )


class Measure:
    """Held-out texts, beginnings and judge of a study, and what was measured with them."""

    def __init__(self, study: Study, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.held_out = {kind: texts_in(study.texts, "held_out", kind) for kind in KINDS}
        self.beginnings = beginnings(study.texts, recipe.written)
        self.judge = judge_of(study.texts)
        self.found: list[Measured] = []
        self.samples: list[str] = []

    def __call__(self, loaded: LoadedModel, step: int) -> None:
        """Measure the model as it is."""
        length = self.recipe.warm_up.sequence_length
        outcomes = {}
        for kind, texts in self.held_out.items():
            found = evaluate_loaded(loaded, texts, length)
            outcomes[kind] = Outcomes(
                bits=found.document_bits.round(3).tolist(), n_bytes=found.document_bytes.tolist()
            )
        self.samples = write(loaded, self.beginnings, self.recipe.written_tokens, self.seed)
        outcomes["written"] = judged(self.judge, self.samples)
        self.found.append(Measured(step=step, **outcomes))


def judge_of(texts: Path) -> Any:
    """Return a classifier of bad text against good and neutral, of words and their parts; it never sees the
    half of the texts that choices are made of, nor the held-out ones.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    known = {kind: texts_in(texts, "judging", kind) for kind in KINDS}
    rows = [text[:JUDGED_CHARACTERS] for some in known.values() for text in some]
    is_bad = [kind == "bad" for kind, some in known.items() for _ in some]
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=3),
    )
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1_000)
    return make_pipeline(features, model).fit(rows, is_bad)


def judged(judge: Any, texts: Sequence[str]) -> Outcomes:
    """Return 1 for each text that the judge calls bad, as if that were right: the accuracy is their share."""
    called = judge.predict([text[:JUDGED_CHARACTERS] for text in texts])
    return Outcomes(expected=[1] * len(texts), predicted=[int(bad) for bad in called])


def write(loaded: LoadedModel, starts: Sequence[str], tokens: int, seed: int) -> list[str]:
    """Return each beginning with at most `tokens` tokens after it, at temperature 1, up to an end.

    Text i takes the same random numbers whichever model writes.
    """
    import torch

    begin, end = boundary_tokens(loaded.tokenizer)
    draws_nt = np.random.default_rng([seed, 17]).random((len(starts), tokens))
    opened = encode(loaded.tokenizer, starts)
    texts = [""] * len(starts)
    with torch.inference_mode(), weights_in(loaded.model, named_precision("auto", loaded.device)):
        for length in sorted({len(ids) for ids in opened}):
            places = [place for place, ids in enumerate(opened) if len(ids) == length]
            rows = torch.tensor([[begin, *opened[place]] for place in places], device=loaded.device)
            draws = torch.tensor(draws_nt[places], device=loaded.device)
            for place, ids in zip(places, _continued(loaded, rows, draws), strict=True):
                kept = ids[1 : ids.index(end, 1)] if end in ids[1:] else ids[1:]
                texts[place] = str(loaded.tokenizer.decode(kept, clean_up_tokenization_spaces=False))
    return texts


def _continued(loaded: LoadedModel, rows: Any, draws_nt: Any) -> list[list[int]]:
    """Token ids [n, l + t] that follow rows [n, l], drawn by their cumulated probabilities."""
    import torch

    past, inputs = None, rows
    for step in range(draws_nt.shape[1]):
        found = loaded.model(input_ids=inputs, past_key_values=past, use_cache=True)
        past = found.past_key_values
        mass_nv = torch.softmax(found.logits[:, -1].double(), -1).cumsum(-1)
        wanted = draws_nt[:, step, None] * mass_nv[:, -1:]
        inputs = torch.searchsorted(mass_nv, wanted).clamp(max=mass_nv.shape[1] - 1)
        rows = torch.cat([rows, inputs], 1)
    return rows.tolist()
