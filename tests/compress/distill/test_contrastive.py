import math

import pytest
import torch
from tests.compress.tasks import a_batch, in_full, task_of, used

from kdbench.compress.distill.contrastive import Contrastive, Memory, contrast
from kdbench.errors import BadSetting
from kdbench.training.teacher import Teacher


def test_the_loss_by_the_formula_of_the_paper():
    """`h = P / (P + N / M)`, `P = exp(s) / (M Z)`: minus log h of the pair, minus log(1 - h) of the negatives."""
    positive, negative = torch.tensor([1.0, -2.0]), torch.tensor([[0.5, 3.0, -1.0], [0.0, 1.0, 2.0]])
    counts = torch.tensor([[True, True, False], [True, True, True]])
    images, mean = 50, 1.7  # M, and the mean of exp(s) that Z was estimated by

    def h(score, drawn):
        probability = torch.exp(score) / (images * mean)
        return probability / (probability + drawn / images)

    expected = 0.0
    for row in range(2):
        drawn = int(counts[row].sum())
        expected -= torch.log(h(positive[row], drawn))
        expected -= torch.log(1 - h(negative[row][counts[row]], drawn)).sum()
    assert torch.allclose(contrast(positive, negative, counts, torch.tensor(math.log(mean))), expected / 2)


def test_the_constant_is_that_of_the_first_batch():
    memory = Memory(((3,), (4,)), torch.tensor([0, 1]), 2)
    first = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.allclose(memory.scale_of(first, 0), first.exp().mean().log())
    assert torch.allclose(memory.scale_of(first + 5, 0), first.exp().mean().log())
    assert torch.allclose(memory.scale_of(first + 5, 1), first.exp().mean().log() + 5)


def test_what_is_remembered_moves_half_way_and_stays_at_length_one():
    memory = Memory(((3,), (4,)), torch.tensor([0, 1, 2]), 2)
    memory.banks[:] = torch.tensor([1.0, 0.0])
    memory.remember(torch.tensor([[0.0, 1.0]]), torch.tensor([1]), 0)
    assert torch.allclose(memory.banks[0], torch.tensor([[1.0, 0.0], [0.5**0.5, 0.5**0.5], [1.0, 0.0]]))
    assert torch.allclose(memory.banks[1], torch.tensor([1.0, 0.0]))


def criterion_of(few, machine):
    seen = []
    teacher = Teacher(used("resnet", few, 1), machine)
    task = task_of(few, lambda network, criterion: seen.append(criterion), [teacher])
    Contrastive(0.8, 0.07, 64, 8)(used("cnn", few), task)
    return seen[0]


def test_what_it_remembers_goes_into_checkpoints(few, machine):
    criterion = criterion_of(few, machine)
    before = {name: tensor.clone() for name, tensor in criterion.modules.state_dict().items()}
    assert {"banks", "scales"} <= before.keys()
    student, batch = used("cnn", few), a_batch(few)
    criterion(in_full(student, batch.images, criterion.layers), batch)
    changed = (criterion.modules.state_dict()["banks"] != before["banks"]).any(2)
    assert changed[:, batch.index].all()
    assert int(changed.sum()) == 2 * len(batch.index)


def test_images_of_one_class_have_nothing_to_be_told_from(few, machine):
    alike = few.train[(few.train.labels == 3).nonzero().flatten()]
    from dataclasses import replace

    with pytest.raises(BadSetting, match="images of several classes"):
        criterion_of(replace(few, train=alike), machine)


def test_each_is_contrasted_with_what_is_remembered_of_the_other(few, machine):
    criterion, student, batch = criterion_of(few, machine), used("cnn", few), a_batch(few)
    memory, method = criterion.memory, criterion.method
    output = in_full(student, batch.images, criterion.layers)
    theirs = criterion.teacher(batch, [criterion.other]).features[criterion.other]
    embedded = [memory.embedded(output.features[criterion.layers[0]], 0), memory.embedded(theirs, 1)]
    torch.manual_seed(5)
    drawn = torch.randint(len(memory.labels), (method.negatives,))
    counts = memory.labels[drawn] != batch.labels[:, None]
    expected = torch.nn.functional.cross_entropy(output.logits, batch.labels)
    for own, bank in zip(embedded, memory.banks.flip(0).clone(), strict=True):
        positive, negative = (own * bank[batch.index]).sum(1) / 0.07, own @ bank[drawn].T / 0.07
        scale = torch.cat([positive[:, None], negative], 1).exp().mean().log()
        expected = expected + 0.8 * contrast(positive, negative, counts, scale)
    torch.manual_seed(5)
    assert torch.allclose(criterion(output, batch), expected, rtol=1e-5)
