import copy
from dataclasses import replace

import pytest
import torch
from tests.training.methods import FAMILIES, built, flat, mlp_of, same, timeless
from torch import nn

from kdbench.errors import NotFinite, OutOfMemory
from kdbench.training.batches import Batches
from kdbench.training.fit import fit, fit_all, validate
from kdbench.training.learner import Learner
from kdbench.training.teacher import Teacher


def network(seed: int = 0) -> nn.Module:
    return mlp_of([16], seed)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(few, recipe, machine, precision):
    def trained(seed: int) -> torch.Tensor:
        model = network()
        runtime = replace(machine, precision=precision)
        fit(Learner(model, seed), few.train, few.val, replace(recipe, shift=2), runtime)
        return flat(model)

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_training_learns_and_the_history_says_so(few, recipe, machine):
    model = network()
    history = fit(Learner(model, 0), few.train, few.val, replace(recipe, epochs=8), machine)
    assert [epoch.epoch for epoch in history] == list(range(1, 9))
    assert history[-1].train_loss < history[0].train_loss / 2
    last = history[-1]
    assert (last.val_loss, last.val_accuracy, last.classes) == validate(model, few.val, machine)
    assert last.val_accuracy > 0.7
    assert last.classes == 10


def test_a_training_of_a_single_step_takes_it_at_the_rate_that_was_asked_for(few, recipe, machine):
    model = network()
    before = flat(model).clone()
    one = replace(recipe, epochs=1, batch_size=len(few.train), lr=0.01, weight_decay=0.0)
    fit(Learner(model, 0), few.train, few.val, one, machine)
    moved = (flat(model) - before).abs()
    assert moved.max() == pytest.approx(0.01, rel=0.01)  # the first step of Adam is as long as the rate


@pytest.mark.parametrize("family", FAMILIES)
def test_images_of_another_shape_in_another_number_of_classes_are_learned(family, colours, recipe, machine):
    model = built(family, colours)
    settings = replace(recipe, epochs=5, batch_size=16, lr=0.03, shift=1)
    history = fit(Learner(model, 0), colours.train, colours.val, settings, machine)
    assert history[-1].train_loss < history[0].train_loss
    assert history[-1].val_accuracy > 2 / 7
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 7)


class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network()
        self.modes = []

    def forward(self, x):
        self.modes.append((self.training, torch.is_grad_enabled()))
        return self.inner(x)


def test_every_training_step_is_in_train_mode_and_the_end_in_eval_mode(few, recipe, machine):
    model = Watched()
    fit(Learner(model, 0), few.train, few.val, recipe, machine)
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
        fit(Learner(network(), 0), few.train, few.val, replace(recipe, lr=1e30), machine)


def test_a_network_whose_head_is_not_trained_is_no_error_and_the_history_counts_its_classes(few, recipe, machine):
    class Body(nn.Module):
        """The mean of what the first layer gives is trained; the head, which always says 3, is not."""

        def __init__(self):
            super().__init__()
            self.body = nn.Linear(784, 8)
            self.register_buffer("head", nn.functional.one_hot(torch.tensor(3), 10).float())

        def forward(self, images):
            return self.head + 0 * self.body(images.flatten(1)).mean(1, keepdim=True)

    history = fit(Learner(Body(), 0), few.train, few.val, recipe, machine)
    assert [epoch.classes for epoch in history] == [1, 1]


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
        fit(Learner(Huge(1, 1), 0), few.train, few.val, recipe, machine)
    assert "\n" not in str(caught.value)


def test_other_errors_of_a_network_keep_their_words(few, recipe, machine):
    class Broken(nn.Linear):
        def forward(self, images):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(Learner(Broken(1, 1), 0), few.train, few.val, recipe, machine)


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"until": 0}])
def test_no_epochs_change_nothing(few, recipe, machine, changes):
    model = network().train()
    before = flat(model)
    settings = replace(recipe, epochs=changes.get("epochs", 2))
    assert fit(Learner(model, 0), few.train, few.val, settings, machine, changes.get("until")) == []
    assert torch.equal(flat(model), before)
    assert not model.training


class Snapshots:
    """A constraint that changes nothing, and keeps the network as it is after each step."""

    def __init__(self):
        self.kept = []

    def apply(self, network, step, total):
        self.kept.append(copy.deepcopy(network))

    def state(self):
        return {}


def test_until_stops_early_on_the_schedule_of_all_epochs(few, recipe, machine):
    settings = replace(recipe, epochs=3, shift=1)
    whole, snapshots = network(), Snapshots()
    expected = fit(Learner(whole, 0, constraints=[snapshots]), few.train, few.val, settings, machine)
    for until in (1, 2):
        part = network()
        history = fit(Learner(part, 0), few.train, few.val, settings, machine, until)
        assert same(part, snapshots.kept[5 * until - 1])
        assert timeless(history) == timeless(expected[:until])
    short = network()
    fit(Learner(short, 0), few.train, few.val, replace(settings, epochs=2), machine)
    assert not same(short, snapshots.kept[9])  # a shorter schedule is another one
    beyond = network()
    assert len(fit(Learner(beyond, 0), few.train, few.val, settings, machine, until=9)) == 3
    assert same(beyond, whole)


def test_the_fit_after_until_begins_a_schedule_of_its_own(few, recipe, machine):
    """Going on is not implied: what was kept is the weights alone, and epochs count from one."""
    stopped, whole = network(), network()
    fit(Learner(stopped, 0), few.train, few.val, recipe, machine, until=1)
    fresh = copy.deepcopy(stopped)
    history = fit(Learner(stopped, 0), few.train, few.val, recipe, machine)
    fit(Learner(fresh, 0), few.train, few.val, recipe, machine)
    fit(Learner(whole, 0), few.train, few.val, recipe, machine)
    assert [epoch.epoch for epoch in history] == [1, 2]
    assert same(stopped, fresh)
    assert not same(stopped, whole)


@pytest.mark.parametrize("known", [True, False])
def test_batches_have_views_unless_the_images_are_a_methods_own(few, recipe, machine, known):
    seen = set()

    def criterion(output, batch):
        seen.add(batch.known_view)
        return output.logits.logsumexp(1).mean()

    criterion.layers, criterion.modules, criterion.prepare = (), None, lambda batch, network: batch
    learner = Learner(network(), 0, criterion, views_known=known)
    fit(learner, few.train, few.val, replace(recipe, shift=1), machine)
    assert seen == ({1, 2} if known else {None})


def test_several_may_be_one_and_the_outcome_is_a_list(few, recipe, machine):
    one, other = network(), network()
    (history,) = fit_all([Learner(one, 0)], few.train, few.val, recipe, machine)
    assert timeless(history) == timeless(fit(Learner(other, 0), few.train, few.val, recipe, machine))
    assert same(one, other)


def test_a_teacher_of_images_of_another_shape_answers_once_and_in_their_classes(colours, recipe, machine):
    teacher = Teacher(built("cnn", colours, seed=1), machine)
    views = Batches(colours.train, 50, 0, 0, "cpu")
    asked = []
    teacher.cached = lambda view: asked.append(view) or teacher.logits_of(views, view)[0]

    def criterion(output, batch):
        answer = teacher(batch).logits
        assert answer.shape == output.logits.shape == (len(batch.labels), 7)
        return (output.logits - answer).square().mean()

    criterion.layers, criterion.modules, criterion.prepare = (), None, lambda batch, network: batch
    student = built("mlp", colours)
    settings = replace(recipe, epochs=6)
    history = fit(Learner(student, 0, criterion), colours.train, colours.val, settings, machine)
    assert asked == [0]
    assert history[-1].train_loss < history[0].train_loss
