from dataclasses import replace

import pytest
import torch
from torch import nn

from kdbench.errors import NotFinite, OutOfMemory
from kdbench.models.mlp import MLP
from kdbench.training.fit import fit, validate


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return MLP([16])


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(few, recipe, machine, precision):
    def trained(seed: int) -> torch.Tensor:
        model = network()
        fit(model, few.train, few.val, replace(recipe, shift=2), replace(machine, precision=precision), seed)
        return flat(model)

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_training_learns_and_the_history_says_so(few, recipe, machine):
    model = network()
    history = fit(model, few.train, few.val, replace(recipe, epochs=8), machine, 0)
    assert [epoch.epoch for epoch in history] == list(range(1, 9))
    assert history[-1].train_loss < history[0].train_loss / 2
    assert (history[-1].val_loss, history[-1].val_accuracy) == validate(model, few.val, machine)[:2]
    assert history[-1].val_accuracy > 0.7


def test_every_training_step_is_in_train_mode_and_the_end_in_eval_mode(few, recipe, machine):
    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()
            self.modes = []

        def forward(self, x):
            self.modes.append((self.training, torch.is_grad_enabled()))
            return self.inner(x)

    model = Watched()
    fit(model, few.train, few.val, recipe, machine, 0)
    steps = [training for training, grad in model.modes if grad]
    assert len(steps) == 2 * 5  # two epochs of 300 images in batches of 64
    assert all(steps)
    assert not any(training for training, grad in model.modes if not grad)
    assert not model.training


def test_validation_counts_every_image_once(digits, machine, monkeypatch):
    model = network()
    whole = validate(model, digits.val, machine)
    monkeypatch.setattr("kdbench.training.fit.EVALUATION_BATCH", 128)  # 500 = 3 * 128 + 116
    assert validate(model, digits.val, machine) == pytest.approx(whole, rel=1e-6)

    class Perfect(nn.Module):
        def forward(self, images):
            known = digits.val.images.flatten(1).float() / 255
            match = torch.cdist(images.flatten(1), known).argmin(1)
            return nn.functional.one_hot(digits.val.labels[match], 10).float()

    assert validate(Perfect(), digits.val, machine)[1:] == (1.0, 10)


def test_divergence_is_an_error_that_says_what_to_do(few, recipe, machine):
    with pytest.raises(NotFinite, match=r"train\.lr"):
        fit(network(), few.train, few.val, replace(recipe, lr=1e30), machine, 0)


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)."),
    ],
)
def test_memory_that_runs_out_names_the_batch_size_and_what_to_type(few, recipe, machine, raised):
    class Huge(nn.Linear):
        def forward(self, images):
            raise raised

    with pytest.raises(OutOfMemory, match=r"train\.batch_size=64: try train\.batch_size=32") as caught:
        fit(Huge(1, 1), few.train, few.val, recipe, machine, 0)
    assert "\n" not in str(caught.value)


def test_other_errors_of_a_network_keep_their_words(few, recipe, machine):
    class Broken(nn.Linear):
        def forward(self, images):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(Broken(1, 1), few.train, few.val, recipe, machine, 0)


def test_no_epochs_change_nothing(few, recipe, machine):
    model = network()
    before = flat(model)
    assert fit(model, few.train, few.val, replace(recipe, epochs=0), machine, 0) == []
    assert torch.equal(flat(model), before)
    assert not model.training


def test_after_step_runs_after_every_step(few, recipe, machine):
    calls = []
    fit(network(), few.train, few.val, recipe, machine, 0, after_step=lambda: calls.append(1))
    assert len(calls) == 10
