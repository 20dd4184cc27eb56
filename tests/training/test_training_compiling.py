"""Compiled trainings learn what others do, leave the model as it was, and say what is missing to compile.

What is captured is tested without machine code; the last two tests need a C++ compiler.
"""

import dataclasses
import functools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tamis.settings.training_sections import FineTuningSection, PretrainingSection
from tamis.training import FineTuningOptions, NoCompilerError, fine_tune, pretrain
from tamis.training.compiling import fused
from tamis.training.examples import Labelled
from tamis.training.models import load_model
from tamis.training.objective import backward
from tamis.training.packing import Batch

CPU = torch.device("cpu")
LABELLED = [Labelled(text=f"the mean of {word}", label=word) for word in ("sample", "array", "test") * 6]


def trained(tiny, folder: Path, compiled: bool):
    options = dataclasses.replace(tiny.options, compile=compiled)
    places = folder / "model", folder / "resume"
    return pretrain(tiny.shape, tiny.texts, tiny.tokenizer, options, *places, runtime=tiny.runtime)


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.fixture
def without_machine_code(monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    yield
    torch._dynamo.reset()


@pytest.mark.slow
def test_batches_of_every_size_are_captured_once_and_whole(tiny, without_machine_code):
    loaded = load_model(tiny.model, CPU, 32)
    loaded.model.train()
    torch._dynamo.utils.counters.clear()
    found = []
    for count, length in ((4, 32), (3, 32), (4, 17), (2, 9)):
        rows = torch.randint(3, 300, (count, length + 1)).numpy()
        plain = backward(loaded, Batch(rows=rows))
        with fused(loaded.model, True):
            found.append((plain, backward(loaded, Batch(rows=rows))))
    assert all(torch.allclose(plain, compiled, rtol=1e-5) for plain, compiled in found)
    assert graphs() == 1
    assert not torch._dynamo.utils.counters["graph_break"]


def test_only_training_is_compiled_and_the_model_is_left_as_it_was(tiny, without_machine_code):
    loaded = load_model(tiny.model, CPU, 32)
    torch._dynamo.utils.counters.clear()
    with fused(loaded.model, True):
        loaded.hidden(torch.ones(1, 8, dtype=torch.long))
        assert "forward" in vars(loaded.model.base_model)
    assert not torch._dynamo.utils.counters["stats"]
    assert "forward" not in vars(loaded.model.base_model)
    with fused(loaded.model, False):
        assert "forward" not in vars(loaded.model.base_model)


@pytest.mark.parametrize("section", [PretrainingSection, FineTuningSection])
def test_what_is_not_compiled_is_not_made_anew_for_the_key(section):
    assert "compile" not in section().recipe()
    assert section(compile=True).recipe() == section().recipe() | {"compile": True}


def test_without_a_compiler_the_error_says_what_to_install_or_leave_out():
    from torch._inductor import config

    torch._dynamo.reset()
    layers = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh()).train()
    model = SimpleNamespace(base_model=layers)
    absent = config.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True})
    refused = pytest.raises(NoCompilerError, match=r"no-such-compiler.*apt-get install g\+\+.*`compile`")
    with absent, refused, fused(model, True):
        layers(torch.ones(2, 3))
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler to compile with")
def test_a_compiled_training_learns_what_another_does(tiny, tmp_path):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain = trained(tiny, tmp_path / "plain", compiled=False)
    assert graphs() == 0
    compiled = trained(tiny, tmp_path / "compiled", compiled=True)
    assert graphs() == 1
    assert compiled.losses[-1][1] == pytest.approx(plain.losses[-1][1], abs=0.05)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler to compile with")
def test_machine_code_learns_labels_and_is_the_same_twice(tiny, tmp_path):
    torch._dynamo.reset()
    options = FineTuningOptions(compile=True, epochs=8, sequence_length=32, batch_size=4)
    results = [
        fine_tune(tiny.model, LABELLED, options, LABELLED, tmp_path / name, tmp_path / "resume")
        for name in ("one", "two")
    ]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    assert results[0].losses[-1][1] < results[0].losses[0][1]
    torch._dynamo.reset()
