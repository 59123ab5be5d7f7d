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


@pytest.mark.parametrize("augmented", [False, True])
def test_the_teacher_is_never_changed_and_gives_no_gradient(network, noise, machine, augmented):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    teacher = Teacher(network, noise, augmented, machine)
    for batch in Batches(noise, 8, 2, 0, "cpu").epoch():
        assert not teacher(batch).requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_kept_logits_belong_to_the_image_in_whatever_order(network, noise, machine):
    teacher = Teacher(network, noise, False, machine)
    for seed in (0, 1):
        for batch in Batches(noise, 8, 0, seed, "cpu").epoch():
            with torch.no_grad():
                expected = network.eval()(batch.images)
            assert torch.allclose(teacher(batch), expected, atol=1e-5)


def test_without_augmentation_the_teacher_speaks_once(network, noise, machine):
    spoken = []
    network.register_forward_hook(lambda *_: spoken.append(1))
    teacher = Teacher(network, noise, False, machine)
    for _ in range(3):
        for batch in Batches(noise, 8, 0, 0, "cpu").epoch():
            teacher(batch)
    assert len(spoken) == 1  # 50 images fit into one evaluation batch


def test_with_augmentation_the_teacher_sees_what_the_student_sees(network, noise, machine):
    teacher = Teacher(network, noise, True, machine)
    for batch in Batches(noise, 8, 2, 0, "cpu").epoch():
        with torch.no_grad():
            assert torch.allclose(teacher(batch), network.eval()(batch.images), atol=1e-5)
