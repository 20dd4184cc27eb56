"""The rivals: each against brute force, POT or the algorithm as published, and all behind one signature."""

import heapq
import re
from functools import cache
from itertools import pairwise

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from transport_problems import Blocks, clustered, costs

from tamis.samplers import RIVALS, TAKES_TEXTS, hidden_state_vectors, unbalanced
from tamis.samplers.dsir import LEAST_TOKENS, HashedGrams, importance_resampling, last, least_tokens
from tamis.samplers.neighbours import nearest_neighbours, round_robin, sides_of, take_turns
from tamis.samplers.tsds import neighbour_density, spread_mass
from tamis.training.models import load_model
from tamis.training.shapes import ModelShape, new_model
from tamis.training.tokenizer import load_tokenizer, train_tokenizer
from tamis.transport import nearest_cost, solve_potential
from tamis.transport.ordering import smallest_first

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)
RAW = {"center": False, "normalize": False}
WORDS = [
    "the",
    "cost",
    "of",
    "a",
    "tree;",
    "its",
    "leaves,",
    "roots",
    "&",
    "bark",
    "are",
    "who",
    "like",
    "Trees",
]


def texts_of(seed, count, words=WORDS, length=12):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, size=rng.integers(1, length))) for _ in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A Llama folder with random weights and a real tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    shape = ModelShape(hidden_size=32, intermediate_size=48, layers=2, heads=2, vocabulary=320)
    train_tokenizer(texts_of(0, 60), folder, vocabulary=320)
    tokenizer = load_tokenizer(folder)
    new_model(shape, 0, tokenizer).save_pretrained(folder)
    return folder


def inputs(name, model):
    """Target, candidates and further arguments of a rival."""
    if name in TAKES_TEXTS:
        return texts_of(1, 12), texts_of(2, 60), {"model": model} if name == "rds+" else {}
    problem = clustered(3, n=60, m=12)
    return problem.y, problem.x, {}


@pytest.mark.parametrize("name", list(RIVALS))
def test_a_choice_is_the_order_of_its_score(name, model):
    target, candidates, options = inputs(name, model)
    for k in (1, 17, 60):
        found = RIVALS[name](target, candidates, k, seed=5, **options)
        again = RIVALS[name](target, candidates, k, seed=5, **options)
        assert found.score.shape == (60,)
        assert np.isfinite(found.score).all()
        assert len(set(found.chosen.tolist())) == k
        assert (smallest_first(found.score, k, seed=5) == found.chosen).all()
        assert (again.chosen == found.chosen).all()
        assert (again.score == found.score).all()
        assert (found.chosen[:1] == RIVALS[name](target, candidates, 1, seed=5, **options).chosen).all()
    for k in (0, 61):
        with pytest.raises(ValueError, match="k: "):
            RIVALS[name](target, candidates, k, **options)


@pytest.mark.parametrize("name", ["random", "dsir", "tsds"])
def test_a_draw_follows_seed_and_id_and_not_the_row(name, model):
    target, candidates, _ = inputs(name, model)
    ids = np.array([f"doc{row}" for row in range(60)])
    found = RIVALS[name](target, candidates, 20, seed=1, ids=list(ids))
    assert (RIVALS[name](target, candidates, 20, seed=2, ids=list(ids)).chosen != found.chosen).any()
    order = np.random.default_rng(0).permutation(60)
    moved = [candidates[row] for row in order] if name in TAKES_TEXTS else np.asarray(candidates)[order]
    other = RIVALS[name](target, moved, 20, seed=1, ids=list(ids[order]))
    assert set(ids[order][other.chosen]) == set(ids[found.chosen])
    with pytest.raises(ValueError, match="ids"):
        RIVALS[name](target, candidates, 20, ids=["a"])


@given(seed=seeds, count=st.integers(1, 130), sizes=st.lists(st.integers(1, 60), min_size=1, max_size=3))
@settings(deadline=None, max_examples=15)
def test_neighbours_are_those_of_brute_force(seed, count, sizes):
    problem = clustered(seed)
    expected = costs(problem).T
    cost, position = nearest_neighbours(sides_of(problem.y, Blocks(problem.x, sizes), **RAW), count)
    assert cost.shape == (25, min(count, 120))
    assert np.abs(cost - np.sort(expected, 1)[:, :count]).max() < 1e-4
    assert np.abs(np.take_along_axis(expected, position, 1) - cost).max() < 1e-4
    assert all(len(set(row)) == len(row) for row in position.tolist())


def test_equal_neighbours_are_ordered_by_position(monkeypatch):
    from tamis.samplers import neighbours

    monkeypatch.setattr(neighbours, "READING_ROWS", 7)
    rows = np.tile(np.eye(3), (20, 1))
    _, position = nearest_neighbours(sides_of(np.eye(3)[:1], rows, **RAW), 9)
    assert position[0].tolist() == list(range(0, 27, 3))


@given(seed=seeds, k=st.integers(1, 120))
@settings(deadline=None, max_examples=15)
def test_round_robin_is_the_plain_loop(seed, k):
    problem = clustered(seed)
    _, preferred = nearest_neighbours(sides_of(problem.y, problem.x, **RAW), len(problem.x))
    taken = []
    while len(taken) < k:
        for row in preferred:
            if len(taken) < k:
                taken.append(next(place for place in row if place not in taken))
    assert round_robin(problem.y, problem.x, k, **RAW).chosen.tolist() == taken


def test_targets_that_want_the_same_candidates_get_longer_lists():
    target, pool = np.tile([[1.0, 0.0]], (40, 1)), np.random.default_rng(0).normal(size=(500, 2))
    found = round_robin(target, pool, 200, **RAW)
    assert set(found.chosen) == set(np.argsort(((pool - target[0]) ** 2).sum(1))[:200])
    assert take_turns(np.array([[0, 1], [0, 1]]), 3) is None


def heap_mass(distance, density, pull, push):
    """The published loop (algorithm 2 of 2410.11303): a heap of levels, one neighbour at a time."""
    count, width = distance.shape
    last, cost, total = np.full(count, -1), np.zeros(count), 0.0
    weighted = distance[:, 0] / density[:, 0]
    heap = [(1.0 / density[j, 0], 0, j) for j in range(count)]
    heapq.heapify(heap)
    while heap:
        level, place, j = heapq.heappop(heap)
        total -= cost[j]
        cost[j] = distance[j, place + 1] * level - weighted[j]
        total += cost[j]
        if pull * total >= push * count:
            break
        last[j] = place
        if place < width - 2:
            following = level + 1.0 / density[j, place + 1]
            heapq.heappush(heap, (following, place + 1, j))
            weighted[j] += distance[j, place + 1] / density[j, place + 1]
    mass = np.zeros_like(distance)
    for j in range(count):
        for place in range(last[j] + 1):
            mass[j, place] = 1 / count / level / density[j, place]
        mass[j, last[j] + 1] = 1 / count - mass[j].sum()
    return mass


@given(seed=seeds, pull=st.sampled_from([0.01, 0.1, 1.0]))
@settings(deadline=None, max_examples=25)
def test_mass_is_spread_as_by_the_published_loop(seed, pull):
    rng = np.random.default_rng(seed)
    distance = np.sort(rng.random((6, 15)), axis=1)
    density = 1 + 3 * rng.random((6, 15))
    mass = spread_mass(distance, density, pull, 0.5)
    assert np.abs(mass - heap_mass(distance, density, pull, 0.5)).max() < 1e-12
    assert mass.sum(1) == pytest.approx(np.full(6, 1 / 6))
    assert (mass >= 0).all()


def test_near_duplicates_share_the_mass_of_one():
    rng = np.random.default_rng(1)
    target = np.eye(16)[:4]
    singles = np.repeat(target, 120, axis=0) + 0.25 * rng.normal(size=(480, 16))
    copies = np.tile(singles[:1], (30, 1)) + 1e-3 * rng.normal(size=(30, 16))
    pool = np.concatenate([singles[1:], copies])
    uniform, thinned = (
        neighbour_density(target, pool, 5, bandwidth=bandwidth, draw=False).score for bandwidth in (1e-6, 0.4)
    )
    shares = [np.exp(-score[479:]).sum() for score in (uniform, thinned)]
    assert shares[1] < 0.1 * shares[0]


@given(seed=seeds, buckets=st.sampled_from([50, 10_000]))
@settings(deadline=None, max_examples=6)
def test_ngrams_and_weights_are_those_of_plain_counting(seed, buckets):
    target, pool = texts_of(seed, 6), [*texts_of(seed + 1, 9), "", "  ", "Ünïcode TREES... trees!?"]
    grams = HashedGrams(buckets=buckets)

    def tokens(text):
        return re.findall(r"\w+|[^\w\s]+", text.lower())

    @cache
    def bucket(piece):
        return grams.counts([piece])

    @cache
    def pair_bucket(first, second):
        return grams.counts([f"{first} {second}"]) - bucket(first) - bucket(second)

    def bucket_counts(text):
        pieces = tokens(text)
        alone = sum((bucket(piece) for piece in pieces), np.zeros(buckets))
        return alone + sum(pair_bucket(*pair) for pair in pairwise(pieces))

    counts = np.array([bucket_counts(text) for text in pool])
    assert (grams.counts(pool) == counts.sum(0)).all()
    wanted = sum(bucket_counts(text) for text in target)
    ratio = np.log(wanted / wanted.sum() + 1e-8) - np.log(counts.sum(0) / counts.sum() + 1e-8)
    found = importance_resampling(target, pool, 3, buckets=buckets, draw=False, least=0)
    assert np.abs(found.score + counts @ ratio).max() < 1e-8


def test_hashes_tell_words_pairs_and_their_order_apart():
    grams = HashedGrams(buckets=1_000_003)
    one, other = (np.flatnonzero(grams.counts([text])) for text in ("alpha beta", "beta alpha"))
    assert len(one) == len(other) == 3
    assert len(np.intersect1d(one, other)) == 2
    # Fixed values: the hash must not change between machines or versions.
    assert np.flatnonzero(HashedGrams(buckets=10_000).counts(["alpha beta"])).tolist() == [2134, 4947, 7427]


def test_characters_of_scripts_without_spaces_are_counted_one_by_one():
    grams = HashedGrams(buckets=1_000_003)
    assert (grams.counts(["中文，字"]) == grams.counts(["中 文 ， 字"])).all()
    assert grams.counts(["中文，字"]).sum() == 7


def test_importance_resampling_draws_by_its_weights():
    pool = ["alpha"] * 50 + ["beta"] * 50
    target = ["alpha"] * 8 + ["beta"] * 2
    drawn = [importance_resampling(target, pool, 1, seed=seed).chosen[0] < 50 for seed in range(150)]
    assert np.mean(drawn) == pytest.approx(0.8, abs=0.12)


def long_texts(words: str, count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(words.split(), 60)) for _ in range(count)]


SAID = ["ok", "lol", "N/A", "yes.", "thx", "...", "good one", "estimator"]


@pytest.mark.parametrize("short_examples", [[], SAID])
@pytest.mark.parametrize("draw", [True, False])
def test_texts_of_a_word_come_after_texts_that_can_resemble_the_target(draw, short_examples):
    target = [*long_texts("sample variance median estimator bias quantile", 40, 0), *short_examples]
    unlike = long_texts("seed soil compost prune hedge bulb mulch root", 60, 1)
    alike = long_texts("sample variance median estimator bias quantile", 10, 2)
    pool = [*SAID * 5, *unlike, *alike]
    found = importance_resampling(target, pool, len(pool), draw=draw, seed=3)
    places = np.argsort(found.chosen)  # the place of each text of the pool
    assert places[-10:].max() < 10
    assert places[: len(SAID) * 5].min() == 70
    assert np.isfinite(found.score).all()


def test_short_texts_of_a_target_of_short_texts_are_chosen_like_others():
    target = [*SAID, *long_texts("sample variance", 2, 0)]
    assert least_tokens(target) <= 1
    pool = ["ok", "lol", *long_texts("seed soil", 5, 1)]
    assert set(importance_resampling(target, pool, 2, draw=False).chosen.tolist()) == {0, 1}
    assert least_tokens(long_texts("seed soil", 20, 1)) == 30
    assert least_tokens(["word " * 500]) == LEAST_TOKENS
    assert least_tokens(["word " * 500] * 19 + ["ok"]) == LEAST_TOKENS
    assert least_tokens(["人生而自由" * 30]) == 75  # each character is a word


def test_a_pool_of_short_texts_alone_keeps_its_order():
    score = np.array([3.0, -2.0, 5.0, 0.5])
    assert last(score, np.ones(4, bool)).tolist() == score.tolist()
    assert last(score, np.zeros(4, bool)).tolist() == score.tolist()
    moved = last(score, np.array([False, True, False, True]))
    assert np.argsort(moved).tolist() == [0, 2, 1, 3]
    assert moved[[0, 2]].tolist() == [3.0, 5.0]


@given(seed=seeds, relative=st.sampled_from([0.03, 0.1]), penalty=st.sampled_from([0.01, 1.0, 20.0]))
@settings(deadline=None, max_examples=10)
def test_mass_received_is_that_of_pot(seed, relative, penalty):
    problem = clustered(seed)
    cost = costs(problem)
    epsilon = relative * cost.mean()
    plan = ot.unbalanced.sinkhorn_unbalanced(
        np.full(120, 1 / 120),
        np.full(25, 1 / 25),
        cost,
        epsilon,
        (penalty * epsilon, float("inf")),
        method="sinkhorn_stabilized",
        reg_type="kl",
        stopThr=1e-12,
        numItermax=20_000,
    )
    found = unbalanced(
        problem.y, problem.x, 10, relative_epsilon=relative, penalty=penalty, tolerance=1e-7, **RAW
    )
    received = plan.sum(1)
    kept = received > 1e-9
    assert np.abs(np.exp(-found.score[kept]) / 120 / received[kept] - 1).max() < 1e-3
    assert plan.sum() == pytest.approx(1, abs=1e-4)


def test_a_heavy_penalty_gives_the_order_of_the_gradient():
    problem = clustered(7)
    heavy = unbalanced(problem.y, problem.x, 10, relative_epsilon=0.05, penalty=1e5, tolerance=1e-3)
    gradient = solve_potential(problem.y, problem.x, relative_epsilon=0.05, tolerance=1e-5).gradient(
        problem.x
    )
    assert spearmanr(heavy.score, gradient).statistic > 0.999
    assert (RIVALS["knn"](problem.y, problem.x, 5).score == nearest_cost(problem.y, problem.x)).all()


def test_vectors_are_the_position_weighted_mean_of_hidden_states(model):
    texts = [*texts_of(4, 9, length=40), ""]
    loaded = load_model(model, torch.device("cpu"), 16)
    found = hidden_state_vectors(texts, loaded, max_tokens=16)
    assert found.dtype == np.float32
    for text, vector in zip(texts, found, strict=True):
        ids = loaded.tokenizer(text)["input_ids"][:16] or [loaded.tokenizer.eos_token_id]
        with torch.no_grad():
            output = loaded.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        states = output.hidden_states[-1][0].double().numpy()
        weights = np.arange(1, len(ids) + 1)
        pooled = weights @ states / weights.sum()
        assert np.abs(vector - pooled / np.linalg.norm(pooled)).max() < 1e-5
    assert np.abs(hidden_state_vectors(texts[3:4], model, max_tokens=16) - found[3]).max() < 1e-5
    with pytest.raises(ValueError, match="texts"):
        hidden_state_vectors([], loaded)


def test_hidden_states_choose_by_round_robin_on_cosines(model):
    target, pool = texts_of(5, 4), texts_of(6, 40)
    found = RIVALS["rds+"](target, pool, 12, model=model)
    vectors = [hidden_state_vectors(texts, model) for texts in (target, pool)]
    assert (found.chosen == round_robin(*vectors, 12, center=False).chosen).all()
    assert found.chosen[0] == (vectors[1] @ vectors[0][0]).argmax()


def test_random_takes_blocks_that_can_be_read_again():
    rows = np.random.default_rng(0).normal(size=(40, 4))

    class Again:
        def __iter__(self):
            return iter([rows[:15], rows[15:]])

    assert len(RIVALS["random"](rows[:5], Again(), 7).chosen) == 7
