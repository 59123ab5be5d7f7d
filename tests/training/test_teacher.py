from dataclasses import replace

import pytest
import torch
from tests.training.methods import built, cnn_of, mlp_of
from tests.training.test_batches import CHANGES

from kdbench.errors import BadSetting
from kdbench.training.batches import Batches, plain
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.fit import fit
from kdbench.training.learner import Learner
from kdbench.training.teacher import Teacher


@pytest.fixture
def network():
    made = cnn_of()
    made(torch.rand(8, 1, 28, 28))  # gives batch norm some statistics to lose
    return made.train()


@pytest.fixture
def ran(network):
    """The number of images in each batch that the network is run on."""
    sizes = []
    network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    return sizes


def caching(network, split, machine, shift, seed=0):
    """A teacher whose logits for a view are computed when they are first asked for."""
    teacher = Teacher(network, machine)
    views = Batches(split, 20, shift, seed, "cpu")
    kept = {}

    def cached(view):
        if view not in kept:
            kept[view] = teacher.logits_of(views, view)[0]
        return kept[view]

    teacher.cached = cached
    return teacher


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("shift", [0, 2])
def test_the_teacher_is_never_changed_and_gives_no_gradient(network, noise, machine, shift, cached):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    teacher = caching(network, noise, machine, shift) if cached else Teacher(network, machine)
    for batch in Batches(noise, 8, shift, 0, "cpu").epoch(1):
        network.train()  # whoever did that
        output = teacher(batch, () if cached else ("0",))
        assert not output.logits.requires_grad
        assert not any(feature.requires_grad for feature in output.features.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_logits_belong_to_the_image_as_the_student_sees_it(network, noise, machine, shift, seed):
    teacher = caching(network, noise, machine, shift, seed)
    for number in (1, 2, 1):
        for batch in Batches(noise, 8, shift, seed, "cpu").epoch(number):
            with torch.no_grad():
                expected = network.eval()(batch.images)
            found = teacher(batch).logits
            assert found.dtype == torch.float32
            assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("shift", "times"), [(0, 1), (2, 3)])
def test_the_network_is_run_once_for_each_view(network, noise, machine, ran, shift, times):
    teacher = caching(network, noise, machine, shift)
    for number in (1, 2, 3):
        for batch in Batches(noise, 8, shift, 0, "cpu").epoch(number):
            teacher(batch)
    assert sum(ran) == times * 50


def test_a_view_is_asked_for_once_in_an_epoch_and_what_is_cached_is_not_run(network, noise, machine, ran):
    asked = []
    logits = torch.randn(50, 10, dtype=torch.bfloat16)
    teacher = Teacher(network, machine, lambda view: asked.append(view) or logits)
    for number in (1, 2):
        for batch in Batches(noise, 8, 2, 0, "cpu").epoch(number):
            assert torch.equal(teacher(batch).logits, logits[batch.index].float())
    assert asked == [1, 2]
    assert ran == []


def test_logits_of_a_view_come_in_the_order_of_the_split_with_their_time(network, noise, machine):
    logits, spent = Teacher(network, machine).logits_of(Batches(noise, 20, 2, 0, "cpu"), 3)
    assert min(spent.seconds, spent.cpu_seconds) > 0
    for batch in Batches(noise, 8, 2, 0, "cpu").epoch(3):
        with torch.no_grad():
            assert torch.allclose(network(batch.images), logits[batch.index], atol=1e-5)


# What would be wrong with any answer: the teacher must not even ask for it.
def refuse(view):
    raise AssertionError(f"view {view} was taken from the cache")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_of_images_that_were_changed_nothing_comes_from_the_cache(network, noise, machine, change):
    changed = change(next(Batches(noise, 8, 2, 3, "cpu").epoch(1)))
    found = Teacher(network, machine, refuse)(changed).logits
    with torch.no_grad():
        assert torch.equal(found, network(changed.images))


def test_images_that_are_not_the_training_sets_are_run(network, noise, machine):
    teacher = Teacher(network, machine, refuse)
    others = [*plain(noise, 20, "cpu"), *Batches(noise, 20, 2, 0, "cpu", known=False).epoch(1)]
    for batch in others:
        assert teacher(batch).logits.shape == (len(batch.labels), 10)


def test_features_are_run_for_and_come_with_logits_of_the_same_run(network, noise, machine, ran):
    batch = next(Batches(noise, 8, 0, 0, "cpu").epoch(1))
    output = Teacher(network, machine, refuse)(batch, ("0", "2"))
    assert ran == [len(batch.labels)]
    with torch.no_grad():
        assert torch.equal(output.features["0"], network[0](batch.images))
        assert torch.equal(output.logits, network(batch.images))
    assert list(output.features) == ["0", "2"]


def test_a_layer_that_there_is_not_is_an_error(network, noise, machine):
    batch = next(Batches(noise, 8, 0, 0, "cpu").epoch(1))
    with pytest.raises(BadSetting, match="there is no layer conv7: choose from 0, 1, 2"):
        Teacher(network, machine)(batch, ("conv7",))


class Taught(Criterion):
    def __init__(self, teacher) -> None:
        self.teacher = teacher

    def __call__(self, output, batch):
        return cross_entropy(output.logits, self.teacher(batch).logits.softmax(1))


class Negated(Taught):
    def prepare(self, batch, network):
        return replace(batch, images=1 - batch.images)


class NegatedInPlace(Taught):
    def prepare(self, batch, network):
        batch.images.neg_().add_(1)
        return batch


class Shuffled(Taught):
    def prepare(self, batch, network):
        order = torch.randperm(len(batch.labels))
        return replace(batch, images=batch.images[order], labels=batch.labels[order], index=batch.index[order])


class Half(Taught):
    def prepare(self, batch, network):
        half = len(batch.labels) // 2
        return replace(batch, images=batch.images[:half], labels=batch.labels[:half], index=batch.index[:half])


@pytest.mark.parametrize("criterion", [Negated, NegatedInPlace, Shuffled, Half])
def test_a_student_of_changed_images_learns_what_the_teacher_says_of_those(few, recipe, machine, criterion):
    def trained(teacher):
        student = mlp_of()
        fit(Learner(student, 0, criterion(teacher)), few.train[:100], few.val, recipe, machine)
        return student

    network = cnn_of()
    cached, run = Teacher(network, machine, refuse), Teacher(network, machine)
    first, second = trained(cached), trained(run)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_student_of_unchanged_images_is_taught_from_the_cache_alone(few, recipe, machine):
    network = cnn_of()
    sizes = []
    network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    teacher = caching(network, few.train, machine, 1)
    fit(Learner(mlp_of(), 0, Taught(teacher)), few.train, few.val, replace(recipe, shift=1), machine)
    assert sum(sizes) == recipe.epochs * len(few.train)  # once for each view


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_teachers_of_images_of_another_shape(family, colours, machine):
    teacher = caching(built(family, colours), colours.train, machine, 1)
    for batch in Batches(colours.train, 50, 1, 0, "cpu").epoch(1):
        found = teacher(batch).logits
        assert found.shape == (len(batch.labels), 7)
        assert torch.allclose(found, teacher.run(batch.images).logits, atol=1e-5)
