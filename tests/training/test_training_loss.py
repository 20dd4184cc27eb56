"""The output layer's loss and gradients against PyTorch's own, in blocks of any size."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from tamis.training import objective as module
from tamis.training.objective import linear_cross_entropy, token_losses


@pytest.mark.parametrize(("block", "chunk"), [(1 << 24, 1 << 19), (7 * 50, 3 * 50), (1, 1)])
def test_loss_and_gradients_match_autograd(monkeypatch, block, chunk):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", block)
    monkeypatch.setitem(module.CHUNK_ELEMENTS, "cpu", chunk)
    torch.manual_seed(0)
    hidden = torch.randn(23, 8, requires_grad=True)
    weight = torch.randn(50, 8, requires_grad=True)
    targets = torch.randint(0, 50, (23,))
    expected = cross_entropy(hidden @ weight.T, targets)
    expected.backward()
    loss, hidden_gradient, weight_gradient = linear_cross_entropy(hidden.detach(), weight.detach(), targets)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(hidden_gradient, hidden.grad)
    torch.testing.assert_close(weight_gradient, weight.grad)
    each = token_losses(hidden.detach(), weight.detach(), targets)
    torch.testing.assert_close(each, cross_entropy(hidden @ weight.T, targets, reduction="none").detach())


def test_loss_stays_finite_when_the_target_is_hopeless():
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[200.0], [-200.0]])
    loss, gradient, _ = linear_cross_entropy(hidden, weight, torch.tensor([1]))
    assert 87 < loss.item() < 88
    assert gradient.item() == pytest.approx(400.0)
    assert token_losses(hidden, weight, torch.tensor([1])).item() == pytest.approx(400.0)


def test_bfloat16_loss_is_reported_in_float32():
    torch.manual_seed(0)
    hidden, weight = torch.randn(64, 16).bfloat16(), torch.randn(99, 16).bfloat16()
    targets = torch.randint(0, 99, (64,))
    loss, hidden_gradient, _ = linear_cross_entropy(hidden, weight, targets)
    logits = (hidden @ weight.T).float()
    assert loss.dtype == torch.float32
    assert hidden_gradient.dtype == torch.bfloat16
    assert loss.item() == pytest.approx(cross_entropy(logits, targets).item(), rel=1e-6)
