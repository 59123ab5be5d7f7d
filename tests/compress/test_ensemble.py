import copy

import pytest
import torch
from tests.compress.tasks import task_of
from tests.training.methods import built, same

from kdbench.compress.ensemble import Ensemble
from kdbench.errors import BadSetting
from kdbench.models.views import ImageView
from kdbench.training.teacher import Teacher


def test_it_gives_the_mean_of_the_probabilities(few, machine):
    members = [built("cnn", few, seed).eval() for seed in range(3)]
    teachers = [Teacher(copy.deepcopy(member), machine) for member in members[1:]]
    joined = Ensemble()(members[0], task_of(few, teachers=teachers)).eval()
    images = few.val.images[:20].float() / 255
    mean = torch.stack([member(images).softmax(1) for member in members]).mean(0)
    assert torch.allclose(joined(images).softmax(1), mean, atol=1e-6)
    shapes = {name: tensor.shape for name, tensor in joined.state_dict().items()}
    shaped = Ensemble().architecture(members[0], shapes)
    shaped.load_state_dict(joined.state_dict())
    assert same(shaped, joined)


def test_networks_of_other_architectures_and_one_alone_are_refused(few, machine):
    with pytest.raises(BadSetting, match="networks of one architecture"):
        Ensemble()(built("cnn", few), task_of(few, teachers=[Teacher(built("resnet", few), machine)]))
    with pytest.raises(BadSetting, match=r"type compress\.teacher=NAME"):
        Ensemble()(built("cnn", few), task_of(few))


def test_what_cannot_be_joined_is_refused_before_anything_is_trained(few):
    student = built("cnn", few)
    task = task_of(few)
    with pytest.raises(BadSetting, match="networks of one architecture"):
        Ensemble().check(student, [built("resnet", few)], task.data)
    Ensemble().check(student, [built("cnn", few, 1)], task.data)


def test_a_network_is_not_joined_with_itself_nor_with_one_that_sees_something_else(few, machine):
    network = built("cnn", few)
    with pytest.raises(BadSetting, match="two of these are one"):
        Ensemble()(network, task_of(few, teachers=[Teacher(copy.deepcopy(network), machine)]))
    other = built("cnn", few, 1)
    other.view = ImageView("edges", few.shape)
    with pytest.raises(BadSetting, match="networks of one architecture"):
        Ensemble()(network, task_of(few, teachers=[Teacher(other, machine)]))
