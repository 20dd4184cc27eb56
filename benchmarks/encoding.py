"""How fast the encoders are: static next to its own tokenizer and to model2vec, MiniLM next to
sentence-transformers. JSON lines on stdout.

    python -m benchmarks.encoding [--documents 20000] [--rounds 3]

Documents of 750 characters, of several kinds: sentences of the pool drawn at random, as in part million of
`scale` ("sentences"); the texts of the pool ("prose"); source files of installed packages ("code"); clauses
of the Chinese declaration of human rights drawn at random ("chinese"); that declaration in all languages
("languages"); and words that do not repeat ("numbers"), the worst case of an encoder that remembers words.

- encoding_speed: documents a second by words (as the product does), by the tokenizer alone and by model2vec
  (the same vectors and tokenizer, texts not truncated, in one process or in several, whichever is faster), by
  turns, the fastest of `--rounds`. Each begins with an encoder that remembers nothing; "again" is a second
  pass. Vectors by words and by the tokenizer must be equal to the bit. Wanted for sentences and prose: 10,000
  documents a second (the aim is 20,000), and twice model2vec.
- encoding_memory: what the most memory of a process grows by, from the loaded encoder on, while it encodes
  sentences in groups as the graph does.
- minilm_speed: documents a second of MiniLM as the product runs it, in the faster precision, and of
  `SentenceTransformer.encode` in float32 with the best of five batch sizes, by turns, on whole texts of the
  pool that fit the model's window. Wanted: 1.5 times; cosines are at least .999.
- minilm_windows, minilm_padding: milliseconds to cut 512 of these texts into windows of tokens and to fill
  these up, as the product does and by the tokenizer: with TOKENIZERS_PARALLELISM=false in one thread, as in
  the processes of the platform.

Exits 1 when a figure misses its limit. Without model2vec its figures are missing and a line says so. Text is
found through TAMIS_BENCH_DATA (default ../shared/data next to the checkout). Five minutes on two cores.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._quality_data import PACKAGES, Report
from benchmarks._scale_million import sentences_of_pool
from benchmarks._texts import enough, files_of_texts, read_texts
from benchmarks._yardstick import least_rate
from tamis.base.files import user_cache
from tamis.base.precision import precision_in_force
from tamis.embedding import load_encoder
from tamis.embedding.sentence import SentenceEncoder, groups
from tamis.embedding.static import StaticEncoder

CHARACTERS = 750
LEAST_RATE, LEAST_RATIO = 10_000.0, 2.0
JUDGED = ("sentences", "prose")
LEAST_MINILM_RATIO, LEAST_COSINE = 1.5, 0.999
BATCH_SIZES = (8, 16, 32, 64, 128)
TOKENIZED = 512
WAYS = ("words", "tokenizer", "model2vec")
Encode = Callable[[list[str]], np.ndarray]


def cut(text: str, count: int) -> list[str]:
    """The first documents of a long text; exits where it is too short for one."""
    enough(text, CHARACTERS, "characters of a kind of document")
    ends = range(CHARACTERS, min(len(text), count * CHARACTERS) + 1, CHARACTERS)
    return [text[end - CHARACTERS : end] for end in ends]


def drawn(parts: pl.Series, join: str, count: int) -> list[str]:
    """Documents of parts that are drawn at random; exits where there is none."""
    enough(parts, 1, "sentences or clauses")
    size = int(2 * count * CHARACTERS / float(parts.str.len_chars().mean()))  # type: ignore[arg-type]
    text = ""
    while len(text) < count * CHARACTERS:  # where a very long part makes the mean
        text = join.join(parts.sample(size, with_replacement=True, seed=0))
        size = 2 * size + 1
    return cut(text, count)


def prose(count: int) -> list[str]:
    """Texts of the pool, in random order."""
    texts = pl.concat([read_texts(file) for file in files_of_texts("p_*")])["text"]
    return cut("\n".join(texts.unique(maintain_order=True).sample(fraction=1, shuffle=True, seed=0)), count)


def code(count: int) -> list[str]:
    """Source files of installed packages, in random order."""
    specs = [importlib.util.find_spec(name) for name in PACKAGES]
    folders = [Path(spec.submodule_search_locations[0]) for spec in specs if spec]  # type: ignore[index]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    order = np.random.default_rng(0).permutation(len(files))
    return cut("\n".join(files[place].read_text(errors="replace") for place in order), count)


def declarations(*languages: str) -> pl.Series:
    """Texts of the declaration of human rights, of some languages or of all."""
    texts = read_texts("q_nonenglish_udhr", "label")
    return texts.filter(pl.col("label").is_in(languages or texts["label"].unique().to_list()))["text"]


def numbers(count: int) -> list[str]:
    """Hexadecimal numbers of eight digits."""
    digits = np.random.default_rng(0).bytes(count * CHARACTERS // 2).hex(" ", 4)
    return cut(digits, count)


def documents(kind: str, count: int) -> list[str]:
    """Documents of one kind; fewer where there are no more."""
    if kind == "sentences":
        return drawn(sentences_of_pool(), " ", count)
    if kind == "chinese":
        clauses = declarations("cmn_hans", "cmn_hant").str.split("。").explode().drop_nulls()
        return drawn(clauses, "。", count)
    if kind == "languages":
        return cut("\n".join(declarations()), count)
    return {"prose": prose, "code": code, "numbers": numbers}[kind](count)


KINDS = ("sentences", "prose", "code", "chinese", "languages", "numbers")


def fresh(way: str, cache: Path) -> Iterator[Encode]:
    """Encoders of one way that remember nothing; of model2vec in one process and in several."""
    encoder = load_encoder("static", cache=cache)
    assert isinstance(encoder, StaticEncoder)
    if way == "model2vec":
        from model2vec import StaticModel

        model = StaticModel(encoder._vectors_vd.astype(np.float32), encoder._tokenizer, normalize=True)
        for several in (False, True):
            yield lambda texts, several=several: model.encode(  # type: ignore[misc]
                texts, max_length=None, use_multiprocessing=several
            )
    else:
        if way == "tokenizer":
            encoder._words = None
        yield lambda texts: np.concatenate([encoder.encode(group) for group in groups(texts)])


def seconds_of(encode: Encode, texts: list[str]) -> tuple[float, np.ndarray]:
    """Seconds, and vectors of the texts."""
    began = time.perf_counter()
    vectors_nd = encode(texts)
    return time.perf_counter() - began, vectors_nd


def least_ms(rounds: int, ours: Callable[[], object], theirs: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of the product's way and of the tokenizer's, by turns."""
    least = {"product_ms": np.inf, "tokenizer_ms": np.inf}
    for _ in range(rounds):
        for way, work in zip(least, (ours, theirs), strict=True):
            began = time.perf_counter()
            work()
            least[way] = min(least[way], 1e3 * (time.perf_counter() - began))
    return least


def bench_speed(kind: str, texts: list[str], rounds: int, cache: Path, report: Report) -> None:
    """All ways on the same texts, by turns."""
    ways = [way for way in WAYS if way != "model2vec" or importlib.util.find_spec("model2vec")]
    if "model2vec" not in ways:
        report.line("encoding_speed", documents=kind, skipped="model2vec: pip install model2vec")
    least: dict[str, float] = {}
    vectors: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for way in ways:
            for encode in fresh(way, cache):
                seconds, vectors[way] = seconds_of(encode, texts)
                least[way] = min(least.get(way, np.inf), seconds)
                if way == "words":
                    least["again"] = min(least.get("again", np.inf), seconds_of(encode, texts)[0])
    rates = {way: len(texts) / seconds for way, seconds in least.items()}
    if "model2vec" in ways:
        rates["over_model2vec"] = rates["words"] / rates["model2vec"]
        cosines_n = (vectors["words"] * vectors["model2vec"]).sum(axis=1)
        rates["least_cosine_with_model2vec"] = float(cosines_n.min())
    equal = np.array_equal(vectors["words"].view(np.uint32), vectors["tokenizer"].view(np.uint32))
    limit = least_rate(LEAST_RATE, "core")
    wanted = {"equal": 1.0}
    if kind in JUDGED:
        wanted |= {"words": limit.here} | ({"over_model2vec": LEAST_RATIO} if "model2vec" in ways else {})
    stated = limit.figures("limit_rate") if kind in JUDGED else {}
    figures = {"n": len(texts), "equal": int(equal), "over_tokenizer": rates["words"] / rates["tokenizer"]}
    report.line("encoding_speed", wanted, documents=kind, **figures, **rates, **stated)


def bench_tokens(encoder: SentenceEncoder, texts: list[str], rounds: int, report: Report) -> None:
    """What comes before the model: windows of tokens, and filling them up to the longest."""
    tokenizer, cutter = encoder._model.tokenizer, encoder._cutter
    assert cutter is not None
    cut = partial(tokenizer, truncation=True, max_length=encoder._model.max_seq_length)
    least = least_ms(rounds, lambda: cutter.cut(texts), lambda: cut(texts, return_overflowing_tokens=True))
    windows = cutter.cut(texts)
    report.line("minilm_windows", texts=len(texts), **least)
    ids = [window.tolist() for window in np.split(windows.ids_t, np.cumsum(windows.lengths_w)[:-1])]
    features = {"input_ids": ids, "attention_mask": [[1] * len(window) for window in ids]}
    least = least_ms(
        rounds,
        lambda: windows.padded(np.arange(len(ids)), tokenizer.padding_side, tokenizer.pad_token_id),
        lambda: tokenizer.pad(features, padding=True, return_tensors="pt"),
    )
    report.line("minilm_padding", windows=len(ids), **least)


def bench_minilm(count: int, rounds: int, report: Report) -> None:
    """The product's way and every batch size of the library's, by turns, on the same model.

    Exits where there are too few texts.
    """
    every = pl.concat([read_texts(file) for file in files_of_texts("p_*")])["text"]
    distinct = enough(every.unique(maintain_order=True), 2 * count, "distinct texts of the pool")
    some = distinct.sample(2 * count, shuffle=True, seed=0).to_list()
    encoder = load_encoder("minilm", cache=user_cache())
    assert isinstance(encoder, SentenceEncoder)
    model = encoder._model
    tokens = model.tokenizer(some, truncation=False)["input_ids"]
    window = model.max_seq_length or 0
    texts = [text for text, ids in zip(some, tokens, strict=True) if len(ids) <= window][:count]
    ways: dict[str, Encode] = {"tamis": encoder.encode}
    for size in BATCH_SIZES:
        ways[f"batch_{size}"] = partial(
            model.encode, batch_size=size, normalize_embeddings=True, show_progress_bar=False
        )
    least = dict.fromkeys(ways, np.inf)
    vectors: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for way, encode in ways.items():
            seconds, vectors[way] = seconds_of(encode, texts)
            least[way] = min(least[way], seconds)
    bench_tokens(encoder, texts[:TOKENIZED], rounds, report)
    rates = {way: len(texts) / seconds for way, seconds in least.items()}
    best = max(rate for way, rate in rates.items() if way != "tamis")
    report.line(
        "minilm_speed",
        {"over_sentence_transformers": LEAST_MINILM_RATIO, "least_cosine": LEAST_COSINE},
        n=len(texts),
        precision=precision_in_force(),
        **rates,
        over_sentence_transformers=rates["tamis"] / best,
        least_cosine=float((vectors["tamis"] * vectors["batch_32"]).sum(axis=1).min()),
    )


def growth_of_memory(way: str, file: Path, cache: Path) -> float:
    """Megabytes by which the most memory of this process grows from the loaded encoder on."""
    encode = next(fresh(way, cache))
    encode(["The first text loads what is loaded late."])
    texts = pl.read_parquet(file)["text"].to_list()
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # from here on VmHWM is the most since now
    for group in groups(texts):
        encode(list(group))
    return memory("VmHWM") - before


def memory(name: str) -> float:
    """Megabytes, as the system counts them for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e3


def bench_memory(texts: list[str], report: Report) -> None:
    """Each way in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.parquet"
        pl.DataFrame({"text": texts}).write_parquet(file)
        for way in WAYS:
            if way != "model2vec" or importlib.util.find_spec("model2vec"):
                command = [sys.executable, "-m", "benchmarks.encoding", "--worker", way, "--file", str(file)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                report.line("encoding_memory", way=way, n=len(texts), **json.loads(done.stdout))


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(1_000), default=20_000)
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--kinds", choices=KINDS, nargs="*", default=KINDS)
    parser.add_argument("--minilm-documents", type=at_least(100), default=1_000)
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    flags = begin(parser)
    if flags.worker:
        megabytes = growth_of_memory(flags.worker, flags.file, user_cache())
        print(json.dumps({"grows_by_megabytes": megabytes}))
        return
    report = Report()
    for kind in flags.kinds:
        texts = documents(kind, flags.documents)
        bench_speed(kind, texts, flags.rounds, user_cache(), report)
        if kind == "sentences":
            bench_memory(texts, report)
    bench_minilm(flags.minilm_documents, flags.rounds, report)
    print(*report.missed, sep="\n", end="\n" if report.missed else "", file=sys.stderr)
    sys.exit(bool(report.missed))


if __name__ == "__main__":
    main()
