"""Parts of the benchmark of staying away from bad text, where the answer is known."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from benchmarks import _contrast_data as data
from benchmarks._contrast_data import Sizes, Source, beginnings, halves, parts_of, source_of_files
from benchmarks._contrast_runs import Finished, Measured, judge_of, judged, mixture, write
from benchmarks.contrast import Curve, Scores, claims_of
from tamis.training import ModelShape, train_tokenizer
from tamis.training.models import prepared
from tamis.training.results import Outcomes
from tamis.training.shapes import new_model
from tamis.training.tokenizer import load_tokenizer

LENGTHS = {"bad": 3.0, "good": 3.0, "neutral": 2.0}


def measured(step: int, written: float, n: int = 200, **bits_per_byte: float) -> Measured:
    """A model at a step, every text of a kind as likely as the others."""
    rng = np.random.default_rng(0)
    spread = rng.normal(scale=0.05, size=n)
    texts = {
        kind: Outcomes(bits=(4 * (bits_per_byte[kind] + spread)).tolist(), n_bytes=[4] * n)
        for kind in LENGTHS
    }
    called = (np.arange(n) < written * n).astype(int).tolist()
    return Measured(step=step, written=Outcomes(expected=[1] * n, predicted=called), **texts)


def run(sampler: str, seed: int, *points: Measured, name: str = "s") -> Finished:
    return Finished(
        name=name,
        sampler=sampler,
        seed=seed,
        documents=1,
        tokens=1,
        measured=list(points),
        samples=[],
        seconds=1.0,
    )


def warmed(sampler: str, seed: int, written: float, **bits_per_byte: float) -> Finished:
    luck = 0.001 * seed
    end = {**LENGTHS, **bits_per_byte}
    return run(
        sampler,
        seed,
        measured(0, 0.5, **LENGTHS),
        measured(100, written, **{kind: value + luck for kind, value in end.items()}),
    )


def test_a_run_is_read_where_it_last_had_the_level_of_loss_on_neutral_text():
    losses = ((0, 2.0), (10, 2.1), (20, 2.0), (40, 2.4))
    rising = Curve(run("a", 0, *(measured(at, 0.5, bad=3, good=3, neutral=loss) for at, loss in losses)))
    mean = float(rising.at("neutral", 0)[0]) - 2.0  # of the spread of texts
    assert rising.last_at(2.1 + mean) == pytest.approx(25)
    assert rising.last_at(2.4 + mean) == pytest.approx(40)
    assert rising.last_at(9) == rising.last_at(1) == 40
    between = rising.at("neutral", 25)
    assert between[0] == pytest.approx(2.1 + mean)
    assert between.shape == rising.at("neutral", 0).shape


def runs_of(seeds: int = 3, **ours: float) -> list[Finished]:
    runs = []
    for seed in range(seeds):
        runs += [
            warmed("random", seed, 0.4, neutral=1.9),
            warmed("knn-contrast", seed, 0.2, neutral=2.2),
            warmed(
                "got-d-contrast", seed, **{"written": 0.1, "bad": 3.5, "good": 2.5, "neutral": 2.2, **ours}
            ),
        ]
    return runs


def scores(seeds: int = 3, **ours: float) -> Scores:
    return Scores(runs_of(seeds, **ours), rise=0.01)


def holding(found: Scores, where: str) -> list[bool]:
    return [bool(claim["holds"]) for claim in claims_of(found) if claim["where"] == where]


def test_claims_hold_where_they_are_shown_and_not_otherwise():
    assert holding(scores(), "end") == [True] * 4
    assert holding(scores(bad=3.0, good=3.0, written=0.4), "end") == [False] * 4
    assert holding(scores(seeds=1), "end") == [False] * 4


def test_at_equal_loss_a_choice_that_costs_neutral_text_has_fewer_steps():
    found = scores()
    assert found.step("s", "random", 0, "equal") == 100  # it never loses so much
    assert 5 < found.step("s", "got-d-contrast", 0, "equal") < 15
    gap = {one: found.gap(["s"], "got-d-contrast", "random", "bad", one).mean for one in ("end", "equal")}
    assert gap["end"] == pytest.approx(0.5)
    assert 0.02 < gap["equal"] < 0.08


def test_at_equal_loss_choices_that_gain_on_neutral_text_are_stopped_where_the_least_one_ends():
    found = Scores([one for one in runs_of(neutral=1.95) if one.sampler != "knn-contrast"], rise=0.01)
    assert found.step("s", "got-d-contrast", 1, "equal") == pytest.approx(100)
    assert 40 < found.step("s", "random", 1, "equal") < 60
    read = [found.of("s", one, "neutral", "equal")[:, 0] for one in ("random", "got-d-contrast")]
    assert read[0] == pytest.approx(read[1])


def texts(kind: str, count: int) -> list[str]:
    words = {"bad": "win cash prize", "good": "see you soon", "neutral": "river selection law"}[kind].split()
    return [
        f"The {words[n % 3]} {words[(n // 3) % 3]} {kind} {chr(97 + n % 26)}{chr(97 + n // 26)}"
        for n in range(count)
    ]


@pytest.fixture
def parts(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(data, "unused_rows", lambda *_: pl.DataFrame({"text": texts("neutral", 500)}))
    for kind in ("bad", "good"):
        pl.DataFrame({"text": [*texts(kind, 400), "the same in both"]}).write_ndjson(
            tmp_path / f"{kind}.jsonl"
        )
    source = source_of_files(tmp_path / "bad.jsonl", tmp_path / "good.jsonl")
    found = parts_of(source, Sizes(examples=50, pool=100, neutral=100, judging=80, held_out=40))
    found.write_parquet(tmp_path / "texts.parquet")
    return tmp_path / "texts.parquet"


def test_no_text_is_in_two_parts_and_what_measures_shares_no_beginning_with_what_chooses(parts):
    rows = pl.read_parquet(parts)
    assert rows["text"].n_unique() == len(rows)
    assert "the same in both" not in rows["text"].to_list()
    assert set(rows.group_by("part", "kind").len().rows()) == {
        ("examples", "bad", 50),
        ("examples", "good", 50),
        *(("pool", kind, 100) for kind in data.KINDS),
        *(("held_out", kind, 40) for kind in data.KINDS),
        *(("judging", kind, 80) for kind in data.KINDS),
    }
    chooses = rows.filter(pl.col("part").is_in(["examples", "pool"]))["text"].to_list()
    assert halves(chooses)[1] == []
    assert set(beginnings(parts, 7)) == {"The"}


def test_texts_that_differ_in_numbers_alone_are_in_one_half():
    for word in ("alpha", "beta", "gamma", "delta"):
        campaign = [f"{word}: call {number} now" for number in range(50)]
        assert [] in halves(campaign)


def test_too_few_texts_and_files_without_texts_end_with_a_reason(tmp_path):
    pl.DataFrame({"text": texts("bad", 90)}).write_parquet(tmp_path / "few.parquet")
    pl.DataFrame({"body": ["x"]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(SystemExit, match="too few"):
        source_of_files(tmp_path / "few.parquet", tmp_path / "few.parquet").texts()
    with pytest.raises(SystemExit, match="no column text"):
        source_of_files(tmp_path / "other.parquet", tmp_path / "few.parquet").texts()
    with pytest.raises(SystemExit, match="no file"):
        Source(name="x", bad=str(tmp_path / "absent.jsonl"), good="").texts()


def test_the_judge_tells_the_kinds_of_texts_that_it_never_saw(parts):
    judge = judge_of(parts)
    for kind, share in (("bad", 1.0), ("good", 0.0), ("neutral", 0.0)):
        rows = pl.read_parquet(parts).filter(part="held_out", kind=kind)["text"].to_list()
        assert np.mean(judged(judge, rows).predicted) == pytest.approx(share, abs=0.05)


def test_a_mixture_has_its_shares_and_repeats_what_is_scarce():
    pool = {
        "bad": ["b0", "b1"],
        "good": [f"g{n}" for n in range(38)],
        "neutral": [f"n{n}" for n in range(60)],
    }
    mixed = mixture(pool, (0.2, 0.2, 0.6), seed=1)
    counts = {letter: sum(text[0] == letter for text in mixed) for letter in "bgn"}
    assert counts == {"b": 20, "g": 20, "n": 60}
    assert mixed.count("b0") == mixed.count("b1") == 10
    assert len({text for text in mixed if text[0] == "n"}) == 60
    assert mixed == mixture(pool, (0.2, 0.2, 0.6), seed=1) != mixture(pool, (0.2, 0.2, 0.6), seed=2)


def test_a_model_writes_on_from_each_beginning_as_it_would_alone(tmp_path):
    train_tokenizer([*texts("bad", 60), *texts("good", 60)], tmp_path / "tokenizer", 300)
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    shape = ModelShape(hidden_size=16, intermediate_size=32, layers=1, heads=2, vocabulary=300)
    loaded = prepared(new_model(shape, 0, tokenizer), tokenizer, torch.device("cpu"), 64)
    starts = ["The", "The prize", "see", "The"]
    found = write(loaded, starts, 12, seed=3)
    assert all(text.startswith(start) for text, start in zip(found, starts, strict=True))
    assert found == write(loaded, starts, 12, seed=3) != write(loaded, starts, 12, seed=4)
    assert found[0] != found[3]  # each text has draws of its own
    assert json.dumps(found[:2]) == json.dumps(write(loaded, starts[:2], 12, seed=3))
