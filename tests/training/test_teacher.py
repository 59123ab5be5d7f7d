import pytest
import torch

from kdbench.models.cnn import CNN
from kdbench.training.batches import Batches
from kdbench.training.teacher import Teacher


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = CNN([4], 1, "average")
    made(torch.rand(8, 1, 28, 28))  # gives batch norm some statistics to lose
    return made.train()


@pytest.fixture
def heard(network):
    """The number of images in each batch that the network is run on."""
    sizes = []
    network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    return sizes


def views(split, shift, seed=0):
    return Batches(split, 20, shift, seed, "cpu")


@pytest.mark.parametrize("shift", [0, 2])
def test_the_teacher_is_never_changed_and_gives_no_gradient(network, noise, machine, shift):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    teacher = Teacher(network, views(noise, shift), machine)
    for batch in Batches(noise, 8, shift, 0, "cpu").epoch(1):
        assert not teacher(batch).requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_logits_belong_to_the_image_as_the_student_sees_it(network, noise, machine, shift, seed):
    teacher = Teacher(network, views(noise, shift, seed), machine)
    for number in (1, 2, 1):
        for batch in Batches(noise, 8, shift, seed, "cpu").epoch(number):
            with torch.no_grad():
                expected = network.eval()(batch.images)
            assert torch.allclose(teacher(batch), expected, atol=1e-5)


@pytest.mark.parametrize(("shift", "times"), [(0, 1), (2, 3)])
def test_the_teacher_speaks_once_about_each_view(network, noise, machine, heard, shift, times):
    teacher = Teacher(network, views(noise, shift), machine)
    for number in (1, 2, 3):
        for batch in Batches(noise, 8, shift, 0, "cpu").epoch(number):
            teacher(batch)
    assert sum(heard) == times * 50


def test_what_is_remembered_is_not_said_again_and_its_cost_is_known(network, noise, machine, heard):
    kept = {}

    def memory(view, speak):
        recalled = view in kept
        return kept.setdefault(view, None if recalled else speak(view)), recalled

    batch = next(Batches(noise, 8, 2, 0, "cpu").epoch(1))
    first, second = (Teacher(network, views(noise, 2), machine, memory) for _ in range(2))
    assert torch.equal(first(batch), second(batch))
    assert sum(heard) == 50
    assert first.recalled_seconds == 0
    assert second.recalled_seconds == kept[1].seconds > 0


def test_what_a_training_that_goes_on_hears_again_is_not_counted_again(network, noise, machine):
    said = Teacher(network, views(noise, 2), machine).speak(1)
    batch = next(Batches(noise, 8, 2, 0, "cpu").epoch(1))
    again = Teacher(network, views(noise, 2), machine, lambda view, speak: (said, True))
    again.recalled_seconds, again.heard = 5.0, 1
    again(batch)
    assert again.recalled_seconds == 5.0
