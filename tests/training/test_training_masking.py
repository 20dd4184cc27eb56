"""An encoder before its labels: hidden tokens are what is predicted, the same ones every time."""

import dataclasses

import numpy as np
import pytest
import torch
from families import bert, labelled
from safetensors.torch import load_file

from tamis.training import FineTuningOptions, fine_tune
from tamis.training.masking import CHOSEN, MaskedDocuments
from tamis.training.models import Kind, load_model
from tamis.training.objective import backward
from tamis.training.options import Session
from tamis.training.packing import IGNORED, pack
from tamis.training.tokenizer import load_tokenizer
from tamis.training.trainings import Schooling, TrainingStage, school

OPTIONS = FineTuningOptions(sequence_length=32, batch_size=4, epochs=3, learning_rate=1e-3, seed=5)
MASK, VOCABULARY = 2, 320


@pytest.fixture
def documents(tiny) -> MaskedDocuments:
    packed = pack(load_tokenizer(tiny.tokenizer), tiny.texts)
    return MaskedDocuments(documents=packed, mask=MASK, vocabulary=VOCABULARY)


def test_what_is_hidden_is_what_is_predicted(documents):
    batch = documents.batch(32, 0, 0, slice(0, 60))
    plain = documents.documents.batch(32, 0, 0, slice(0, 60)).rows[:, 1:]
    scored = batch.targets != IGNORED
    np.testing.assert_array_equal(batch.targets[scored], plain[scored])
    np.testing.assert_array_equal(batch.rows[~scored], plain[~scored])
    assert scored.any(1).all(), "a row without a target"
    real = int((plain != IGNORED).sum())
    assert batch.count / real == pytest.approx(CHOSEN, abs=0.03)
    assert (batch.rows[scored] == MASK).mean() == pytest.approx(0.8, abs=0.07)
    assert 0.05 < (batch.rows[scored] == plain[scored]).mean() < 0.2


def test_rows_hide_the_same_in_any_batch_and_other_tokens_in_another_epoch(documents):
    whole = documents.batch(32, 0, 0, slice(0, 8))
    part = documents.batch(32, 0, 0, slice(4, 8))
    np.testing.assert_array_equal(part.rows, whole.rows[4:])
    assert (documents.batch(32, 0, 1, slice(0, 8)).rows != whole.rows).any()


def test_the_loss_is_that_of_the_hidden_tokens(tiny, tmp_path, documents):
    base = bert(tiny.tokenizer, tmp_path / "bert")
    loaded = load_model(base, torch.device("cpu"), 32, hiding=True)
    assert loaded.kind == Kind.MASKED
    batch = documents.batch(32, 0, 0, slice(0, 4))
    assert (batch.rows != IGNORED).all(), "no filling in these rows"
    logits = loaded.model(input_ids=torch.tensor(batch.rows)).logits
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.tensor(batch.targets).flatten(), ignore_index=IGNORED
    )
    assert backward(loaded, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_an_encoder_is_warmed_up_and_then_learns_labels(tiny, tmp_path):
    base = bert(tiny.tokenizer, tmp_path / "bert")
    stages = [
        TrainingStage(data=name, digest="ab" * 32, doc_ids=[], examples=examples)
        for name, examples in (("selection", tiny.texts), ("target", labelled(64)))
    ]
    schooling = Schooling(base=base, stages=stages, held_out=labelled(20, 64))
    # Six epochs: after three, two of eight seeds still err, by luck in what dropout drops.
    longer = dataclasses.replace(OPTIONS, epochs=6)
    session = Session(resume=tmp_path / "state", runtime=tiny.runtime)
    ((first, second),) = school(schooling, longer, 1, tmp_path / "out", session)
    assert first.losses[-1][1] < first.losses[0][1] - 1
    assert first.held_out_bits_per_byte is None
    assert second.accuracy > 0.9
    begun = load_file(tmp_path / "state" / "run-0" / "stage-0" / "model.safetensors")
    original = load_file(base / "model.safetensors")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(begun[name], original[name])
    alone = fine_tune(
        base,
        labelled(64),
        OPTIONS,
        labelled(20, 64),
        tmp_path / "alone",
        tmp_path / "resume",
        runtime=tiny.runtime,
    )
    assert alone.losses != second.losses
