import math

import pytest
import torch
import torch.nn.functional as F
from tests.training.methods import Hint, Scaled, mlp_of, same
from torch import nn

from kdbench.errors import NotFinite
from kdbench.training.batches import Batch
from kdbench.training.criteria import LABELS, Criterion, cross_entropy
from kdbench.training.features import Output
from kdbench.training.fit import fit
from kdbench.training.learner import Learner


def batch_of(count: int = 6) -> Batch:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 28, 28, generator=random)
    return Batch(images, torch.randint(10, (count,), generator=random), torch.arange(count))


def test_cross_entropy_of_ignorance_is_log_of_the_classes():
    labels = torch.arange(10)
    assert cross_entropy(torch.zeros(10, 10), labels).item() == pytest.approx(math.log(10), rel=1e-6)


def test_probabilities_may_stand_in_the_place_of_labels():
    logits, labels = torch.randn(5, 10), torch.arange(5)
    sure = F.one_hot(labels, 10).float()
    assert torch.allclose(cross_entropy(logits, sure), cross_entropy(logits, labels))
    mixed = cross_entropy(logits, 0.3 * sure + 0.7 * sure.flip(0))
    assert torch.allclose(mixed, 0.3 * cross_entropy(logits, labels) + 0.7 * cross_entropy(logits, labels.flip(0)))


def test_labels_alone_read_logits_alone_and_show_the_batch_as_it_is():
    batch = batch_of()
    logits = torch.randn(6, 10)
    assert LABELS.prepare(batch, nn.Identity()) is batch
    assert torch.equal(LABELS(Output(logits), batch), cross_entropy(logits, batch.labels))
    assert (tuple(LABELS.layers), LABELS.modules) == ((), None)


class Loose(Criterion):
    """The mistake: it learns a temperature that stands nowhere an optimiser would find it."""

    def __init__(self) -> None:
        self.temperature = nn.Parameter(torch.ones(()))

    def __call__(self, output, batch):
        return cross_entropy(output.logits / self.temperature, batch.labels)


class MadeLate(Loose):
    """The mistake, less plainly: its modules are made once the training has begun."""

    def __call__(self, output, batch):
        self.modules = nn.ParameterList([self.temperature])
        return super().__call__(output, batch)


class OtherNetwork(Criterion):
    """The mistake, as in a teacher that is called with gradients."""

    def __init__(self) -> None:
        self.network = mlp_of()

    def __call__(self, output, batch):
        return F.mse_loss(output.logits, self.network(batch.images))


class Held(Loose):
    def __init__(self) -> None:
        super().__init__()
        self.modules = nn.ParameterList([self.temperature])


@pytest.mark.parametrize("criterion", [Loose, MadeLate, OtherNetwork])
def test_parameters_that_no_optimiser_holds_are_an_error_before_the_first_step(few, recipe, machine, criterion):
    model, steps = mlp_of(), []

    class Seen:
        def apply(self, network, step, total):
            steps.append(step)

    learner = Learner(model, 0, criterion(), [Seen()])
    with pytest.raises(TypeError, match=r"of shape \(.*\) that is not trained: it must stand in .* `modules`"):
        fit(learner, few.train, few.val, recipe, machine)
    assert steps == []
    assert same(model, mlp_of())


def test_frozen_parameters_and_constants_are_no_error(few, recipe, machine):
    criterion = OtherNetwork()
    criterion.network.requires_grad_(False)
    model = mlp_of(seed=1)
    model[1].weight.requires_grad_(False)
    fit(Learner(model, 0, criterion), few.train[:100], few.val, recipe, machine)
    assert torch.equal(model[1].weight, mlp_of(seed=1)[1].weight)
    assert not torch.equal(model[3].weight, mlp_of(seed=1)[3].weight)


def test_modules_are_trained_along_by_the_same_optimiser(few, recipe, machine):
    criterion = Held()
    fit(Learner(mlp_of(), 0, criterion), few.train, few.val, recipe, machine)
    # AdamW moves whatever has a gradient, and OneCycleLR sums to several times the first rate.
    assert abs(criterion.temperature.item() - 1) > 0.01


def test_modules_are_in_train_mode_at_every_step_whatever_they_were_in(few, recipe, machine):
    criterion = Hint(8)
    criterion.modules.eval()
    before = [tensor.clone() for tensor in criterion.modules.state_dict().values()]
    fit(Learner(mlp_of(), 0, criterion), few.train, few.val, recipe, machine)
    assert criterion.modes == {True}
    changed = [not torch.equal(a, b) for a, b in zip(before, criterion.modules.state_dict().values(), strict=True)]
    assert all(changed)  # weights, and what batch norm counts


def test_a_criterion_reads_the_layers_that_it_names(few, recipe, machine):
    seen = set()

    class Reads(Criterion):
        layers = ("1", "2")

        def __call__(self, output, batch):
            seen.add(tuple(output.features))
            assert torch.equal(output.features["1"].relu(), output.features["2"])
            assert output.features["1"].requires_grad
            return cross_entropy(output.logits, batch.labels)

    read, plain = mlp_of(), mlp_of()
    fit(Learner(read, 0, Reads()), few.train, few.val, recipe, machine)
    fit(Learner(plain, 0), few.train, few.val, recipe, machine)
    assert seen == {("1", "2")}
    assert same(read, plain)  # reading changes nothing


def test_the_network_is_shown_what_prepare_returns_and_so_is_the_criterion(few, recipe, machine):
    class Mixed(Criterion):
        def prepare(self, batch, network):
            assert network is model
            sure = F.one_hot(batch.labels, 10).float()
            return Batch((batch.images + batch.images.flip(0)) / 2, (sure + sure.flip(0)) / 2, batch.index)

        def __call__(self, output, batch):
            assert batch.labels.dtype == torch.float32
            assert torch.equal(batch.images, batch.images.flip(0))
            assert torch.allclose(output.logits, output.logits.flip(0))
            return cross_entropy(output.logits, batch.labels)

    model = mlp_of()
    fit(Learner(model, 0, Mixed()), few.train, few.val, recipe, machine)
    assert not same(model, mlp_of())


def test_a_loss_that_is_not_finite_is_an_error(few, recipe, machine):
    with pytest.raises(NotFinite, match="diverged in epoch 1"):
        fit(Learner(mlp_of(), 0, Scaled(float("nan"))), few.train, few.val, recipe, machine)
