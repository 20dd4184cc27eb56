"""Texts classified by the mean over their tokens: as by hand, whatever fills rows up, said by checkpoints."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import WORDS, bert, labelled

from tamis.settings.training_sections import FineTuningSection
from tamis.training import FineTuningOptions, fine_tune
from tamis.training.adapters import Adapter
from tamis.training.attention import wants_mask
from tamis.training.evaluation import classify
from tamis.training.models import load_model
from tamis.training.objective import row_logits
from tamis.training.packing import IGNORED, Batch
from tamis.training.pooling import averages, choose_pooling

CPU = torch.device("cpu")
OPTIONS = FineTuningOptions(
    sequence_length=32, batch_size=4, epochs=4, learning_rate=1e-3, seed=5, pooling="mean"
)


def classifier(model, pooling: str = "mean"):
    loaded = load_model(model, CPU, 32, classes=sorted(WORDS))
    choose_pooling(loaded.model, pooling)
    loaded.model.eval()
    return loaded


@pytest.mark.parametrize("plain", [True, False])
@torch.inference_mode()
def test_what_fills_a_row_up_counts_for_nothing(tiny, plain):
    loaded = classifier(tiny.model)
    if not plain:
        loaded.model.set_attn_implementation("sdpa")
    assert wants_mask(loaded.model) != plain
    whole, short = np.arange(5, 14), np.arange(30, 34)
    filled = np.concatenate([short, np.full(5, IGNORED)])
    together = row_logits(loaded, Batch(rows=np.stack([whole, filled])))
    alone = [row_logits(loaded, Batch(rows=row[None]))[0] for row in (whole, short)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)
    by_hand = loaded.model.score(loaded.hidden(torch.tensor(short)[None])[0].mean(0))
    assert torch.allclose(together[1], by_hand, atol=1e-5)
    last = row_logits(classifier(tiny.model, "last"), Batch(rows=whole[None]))
    assert not torch.allclose(last, together[:1], atol=1e-3)


@pytest.mark.parametrize("adapter", [None, Adapter(rank=4)])
def test_a_checkpoint_says_what_it_reads_by(tiny, tmp_path, adapter):
    options = replace(OPTIONS, adapter=adapter, learning_rate=5e-3 if adapter else 1e-3)
    held_out, places = labelled(20, 64), (tmp_path / "out", tmp_path / "state")
    result = fine_tune(tiny.model, labelled(64), options, held_out, *places, runtime=tiny.runtime)
    assert result.accuracy > 0.9
    configuration = json.loads((tmp_path / "out" / "config.json").read_text())
    assert configuration["classifier_pooling"] == "mean"
    found = classify(tmp_path / "out", held_out, sequence_length=32, device="cpu")
    assert found.predicted.tolist() == result.outcomes.predicted
    assert found.nats == pytest.approx(result.held_out_loss, rel=1e-5)
    reloaded = classifier(tmp_path / "out", "last")
    assert not averages(reloaded.model)
    assert not hasattr(reloaded.model.config, "classifier_pooling")


def test_an_encoder_keeps_its_own_way(tiny, tmp_path):
    assert not averages(classifier(bert(tiny.tokenizer, tmp_path / "bert")).model)


def test_a_key_that_is_not_set_makes_nothing_anew():
    assert "pooling" not in FineTuningSection().recipe()
    assert FineTuningSection(pooling="mean").recipe()["pooling"] == "mean"
