"""`tamis.select` with vectors and qualities of the caller's, and with texts of benchmarks."""

import warnings

import numpy as np
import pytest
import torch

import tamis
from tamis.transport import FewTargetPoints

POOL = [f"text {number} about the things of number {number}" for number in range(30)]
GOAL = [f"example {number} of what is to be learnt" for number in range(8)]
draw = np.random.default_rng(3)
POOL_ND, GOAL_MD = draw.normal(size=(30, 5)), draw.normal(size=(8, 5)) + 2
BOTH = {"texts": POOL_ND, "goal": GOAL_MD}


@pytest.fixture(autouse=True)
def few():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewTargetPoints)
        yield


def test_vectors_decide_and_neither_length_type_nor_order_of_texts_matters():
    found = tamis.select(POOL, GOAL, 6, vectors=BOTH)
    near_n = (POOL_ND / np.linalg.norm(POOL_ND, axis=1)[:, None]) @ GOAL_MD.mean(axis=0)
    chosen = found.filter(verdict="selected")["row"].to_list()
    assert near_n[chosen].mean() > np.sort(near_n)[-12:].mean()
    scaled = {"texts": torch.tensor(POOL_ND * 1e30), "goal": (GOAL_MD * 1e-30).tolist()}
    assert tamis.select(POOL, GOAL, 6, vectors=scaled).equals(found)
    order = draw.permutation(30)
    turned = tamis.select([POOL[one] for one in order], GOAL, 6, vectors={**BOTH, "texts": POOL_ND[order]})
    assert turned["doc_id"].to_list() == found["doc_id"].to_list()


def test_bfloat16_and_gradients_are_no_obstacle():
    tensor = torch.tensor(POOL_ND, dtype=torch.bfloat16, requires_grad=True)
    found = tamis.select(POOL, GOAL, 6, vectors={"texts": tensor, "goal": GOAL_MD})
    exact = tensor.detach().double().numpy()
    assert found.equals(tamis.select(POOL, GOAL, 6, vectors={"texts": exact, "goal": GOAL_MD}))


def test_without_a_goal_an_array_does():
    found = tamis.select(POOL, None, 6, sampler="semdedup", vectors=POOL_ND)
    assert found.equals(tamis.select(POOL, None, 6, sampler="semdedup", vectors={"texts": POOL_ND}))


def test_an_equal_text_with_two_vectors_counts_once_whichever_comes_first():
    texts = [*POOL, POOL[0]]
    one = tamis.select(texts, GOAL, 6, vectors={**BOTH, "texts": np.vstack([POOL_ND, -POOL_ND[:1]])})
    swapped = np.vstack([-POOL_ND[:1], POOL_ND[1:], POOL_ND[:1]])
    two = tamis.select(texts, GOAL, 6, vectors={**BOTH, "texts": swapped})
    assert one.equals(two)


def test_blank_texts_need_no_vector():
    found = tamis.select([*POOL, " "], GOAL, 6, vectors={**BOTH, "texts": np.vstack([POOL_ND, [np.nan] * 5])})
    assert found.filter(row=30)["reason"].to_list() == ["heuristic"]


def test_quality_moves_the_choice_and_draws_by_it():
    low = np.zeros(30)
    low[7] = 1.0
    near, weighed = (
        dict(tamis.select(POOL, GOAL, 1, vectors=BOTH, **more).select("row", "score").iter_rows())
        for more in ({}, {"sampler": "got-d-quality", "quality": low})
    )
    assert weighed == pytest.approx({row: score + 1 - low[row] for row, score in near.items()})
    drawn = tamis.select(POOL, None, 5, sampler="quality-diversity", vectors=POOL_ND, quality=low)
    assert 7 in drawn.filter(verdict="selected")["row"]
    rounds = [
        tamis.select(POOL, GOAL, 5, sampler="got-d-quality-rounds", vectors=BOTH, quality=one)
        for one in (np.zeros(30), low)
    ]
    places = [dict(one.select("row", "rank").iter_rows())[7] for one in rounds]
    assert places[1] < places[0]
    twice = {**BOTH, "texts": np.vstack([POOL_ND, POOL_ND[7:8]])}
    best = tamis.select(
        [*POOL, POOL[7]], GOAL, 1, sampler="got-d-quality", vectors=twice, quality=[*np.zeros(30), 1.0]
    )
    scores = dict(best.select("row", "score").iter_rows())
    assert scores[7] == scores[30] == pytest.approx(weighed[7]), "of equal texts the best quality counts"


def test_texts_of_benchmarks_are_kept_out_by_name():
    leak = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    texts = [*POOL, f"before it {leak} and after it"]
    found = tamis.select(texts, None, 40, sampler="random", keep_out={"exam": [leak]})
    row = found.filter(row=30).row(0, named=True)
    assert (row["verdict"], row["reason"], row["detail"]) == ("rejected", "keep_out", "exam")
    assert (found.filter(reason="keep_out")["row"] == 30).all()
    alone = tamis.select(texts, None, 40, sampler="random", keep_out=[leak])
    assert alone.filter(row=30)["reason"].to_list() == ["keep_out"]


NAN = POOL_ND.copy()
NAN[4, 2] = np.nan
ZERO = POOL_ND.copy()
ZERO[3] = 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"vectors": POOL_ND}, r"there are none for 'goal'; pass \{\"texts\": ..., \"goal\": ...\}"),
        ({"vectors": {"texts": POOL_ND}}, "there are none for 'goal'"),
        ({"vectors": {**BOTH, "pool": POOL_ND}}, "'pool' is no argument that has vectors"),
        ({"vectors": {**BOTH, "texts": POOL_ND[:9]}}, r"its shape is \(9, 5\); pass \(30, d\)"),
        ({"vectors": {**BOTH, "texts": POOL_ND[:, 0]}}, r"its shape is \(30,\); pass \(30, d\)"),
        ({"vectors": {**BOTH, "texts": POOL_ND[:, :0]}}, r"its shape is \(30, 0\)"),
        ({"vectors": {**BOTH, "goal": GOAL_MD[:, :3]}}, "their widths differ: 5 of texts, 3 of goal"),
        ({"vectors": {**BOTH, "texts": NAN}}, r'vectors\["texts"\]: row 4 has NaN or an infinity; leave'),
        ({"vectors": {**BOTH, "texts": ZERO}}, "row 3 has nothing but zeros"),
        ({"vectors": {**BOTH, "texts": POOL_ND.astype(str)}}, "its type is <U"),
        ({"vectors": {**BOTH, "texts": POOL_ND + 1j}}, "its type is complex128"),
        ({"vectors": {**BOTH, "texts": [[1.0], [1.0, 2.0]]}}, "it is no array of numbers"),
        ({"vectors": BOTH, "sampler": "dsir"}, "the sampler 'dsir' reads no vectors"),
        ({"quality": np.zeros(30)}, "the sampler 'got-d' weighs no quality; choose by got-d-quality"),
        ({"quality": np.zeros(29), "sampler": "got-d-quality"}, r"its shape is \(29,\); pass \(30,\)"),
        ({"quality": np.full(30, np.nan), "sampler": "got-d-quality"}, "row 0 is NaN or an infinity"),
        (
            {"quality": np.full(30, 1.5), "sampler": "got-d-quality"},
            r"row 0 is not from 0 to 1 \(30 of 30 rows\)",
        ),
        ({"sampler": "got-d-quality"}, "needs quality, which only a project computes"),
    ],
)
def test_what_does_not_fit_is_a_sentence(more, said):
    with pytest.raises(ValueError, match=said):
        tamis.select(POOL, GOAL, 5, **more)
