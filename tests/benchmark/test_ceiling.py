import torch

from benchmark import ceiling
from kdbench.models.cnn import CNN
from kdbench.models.resnet import ResNet


def test_convolutions_are_counted_by_shape():
    found = ceiling.convolutions(CNN([4, 6], 2, "average", (1, 28, 28), 10), torch.zeros(2, 1, 28, 28))
    assert found == {(1, 4, 28, 3, 1): 1, (4, 4, 28, 3, 1): 1, (4, 6, 14, 3, 1): 1, (6, 6, 14, 3, 1): 1}
    strided = ceiling.convolutions(ResNet([4, 8], 1, (1, 28, 28), 10), torch.zeros(2, 1, 28, 28))
    assert strided[4, 8, 28, 3, 2] == 1


def test_operations_are_those_of_forward_and_both_gradients(monkeypatch):
    monkeypatch.setattr(ceiling, "REPETITIONS", 1)
    _, first = ceiling.convolution((1, 4, 28, 3, 1), 2, torch.float32, first=True)
    _, other = ceiling.convolution((4, 8, 28, 3, 2), 2, torch.float32, first=False)
    assert first == 2 * 2 * (2 * 4 * 28 * 28) * 9  # no gradient to the images
    assert other == 3 * 2 * (2 * 8 * 14 * 14) * 4 * 9


def test_the_first_convolution_is_the_one_that_sees_the_images_however_many_channels_they_have(monkeypatch):
    seen = []
    monkeypatch.setattr(
        ceiling, "convolution", lambda shape, batch, dtype, first: seen.append((shape, first)) or (1, 2)
    )
    network = CNN([4], 2, "average", (3, 32, 32), 7)
    assert ceiling.of_training(network, torch.zeros(5, 3, 32, 32), torch.float32) == (2, 4)
    assert seen == [((3, 4, 32, 3, 1), True), ((4, 4, 32, 3, 1), False)]
