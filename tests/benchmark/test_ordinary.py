import torch
from benchmark.ordinary import DEVIATION, MEAN, Images, Ordinary, Tutorial
from torch import nn

from kdbench.models.network import parameters


def test_the_ordinary_way_sees_the_same_images_one_by_one(few):
    seen = Images(few.train, 0)
    assert len(seen) == len(few.train)
    for index in (0, 17, 299):
        image, label = seen[index]
        assert torch.allclose(image, (few.train.images[index] / 255 - MEAN) / DEVIATION, atol=1e-6)
        assert label == few.train.labels[index]


def test_its_shifts_move_an_image_by_up_to_as_many_pixels(few):
    torch.manual_seed(0)
    image = few.train.images[0, 0].float()
    padded = nn.functional.pad(image, (2, 2, 2, 2))
    moves = {(y, x): (padded[y : y + 28, x : x + 28] / 255 - MEAN) / DEVIATION for y in range(5) for x in range(5)}
    found = set()
    for _ in range(40):
        shown = Images(few.train, 2)[0][0][0]
        found |= {move for move, expected in moves.items() if torch.allclose(shown, expected, atol=1e-6)}
    assert len(found) > 10


def test_it_trains_and_leaves_its_teacher_as_it_was(few):
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    student = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    before = teacher[1].weight.clone()
    Ordinary(student, teacher, few.train, few.val, 0)()
    assert torch.equal(teacher[1].weight, before)
    epoch = Ordinary(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), None, few.train, few.val, 0)
    assert max(epoch() for _ in range(5)) > 0.6


def test_the_tutorials_network_is_the_known_one():
    assert parameters(Tutorial()) == 1_199_882
