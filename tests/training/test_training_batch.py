"""Rows of unequal length become one array: nothing lost, few widths, none wider than the longest."""

import dataclasses

import numpy as np
import torch
from families import bert, labelled
from hypothesis import given
from hypothesis import strategies as st

from tamis.training.device import choose_device
from tamis.training.evaluation import measure
from tamis.training.examples import labelled_rows
from tamis.training.models import load_model
from tamis.training.objective import backward, row_logits
from tamis.training.packing import IGNORED, WIDTH_STEP, filled


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    others=st.integers(0, 60),
    behind=st.integers(0, 1),
)
def test_tokens_are_kept_and_widths_are_few(lengths, others, behind):
    longest = max(lengths) + others
    rows = filled([np.arange(length) for length in lengths], longest, behind)
    for row, length in zip(rows, lengths, strict=True):
        assert row[:length].tolist() == list(range(length))
        assert (row[length:] == IGNORED).all()
    width = rows.shape[1]
    assert max(lengths) <= width <= min(longest, max(lengths) + WIDTH_STEP - 1)
    assert width == longest or (width - behind) % WIDTH_STEP == 0


def test_an_encoder_makes_the_same_of_wider_rows(tiny, tmp_path):
    classes = ("negative", "none", "positive")
    loaded = load_model(bert(tiny.tokenizer, tmp_path / "bert"), choose_device("cpu"), 64, classes=classes)
    loaded.model.eval()
    batch = labelled_rows(loaded, labelled(12), 64).chosen(np.arange(12))
    rows = np.pad(batch.rows, ((0, 0), (0, 20)), constant_values=IGNORED)
    outcomes = []
    for one in (batch, dataclasses.replace(batch, rows=rows)):
        loaded.model.zero_grad()
        loss = backward(loaded, one)
        gradients = [weight.grad.clone() for weight in loaded.model.parameters() if weight.grad is not None]
        outcomes.append([loss, row_logits(loaded, one).detach(), *gradients])
    for found, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_no_row_is_wider_than_a_model_has_places(tiny, tmp_path):
    base = bert(tiny.tokenizer, tmp_path / "bert")
    places = 57  # no multiple of a step
    loaded = load_model(base, choose_device("cpu"), places, classes=("negative", "none", "positive"))
    loaded.model.config.max_position_embeddings = places
    embeddings = loaded.model.bert.embeddings
    embeddings.position_embeddings.weight.data = embeddings.position_embeddings.weight.data[:places]
    embeddings.position_ids = embeddings.position_ids[:, :places]
    long = [dataclasses.replace(one, text=one.text * 9) for one in labelled(8)]
    assert labelled_rows(loaded, long, places).chosen(np.arange(8)).rows.shape == (8, places)
    assert measure(loaded, long, places).expected.size == 8
