import math

import pytest
import torch
from tests.compress.tasks import a_batch, fitting, task_of, used
from tests.training.methods import built, same
from torch import nn

from kdbench.compress.distill.attention import Attention, AttentionMaps, attention_map, common_layers, map_distance
from kdbench.errors import BadSetting
from kdbench.training.batches import Batch
from kdbench.training.criteria import cross_entropy
from kdbench.training.features import Output, run
from kdbench.training.teacher import Teacher


def maps_of(seed: int, shape=(5, 4, 6, 6)) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_an_attention_map_is_the_sum_of_squared_activations_over_channels_at_length_one():
    # Two channels, 2 x 2: squares sum to [[1 + 4, 0 + 0], [4 + 0, 9 + 0]] = [[5, 0], [4, 9]], of length sqrt(122);
    # what a ReLU leaves out does not count.
    maps = torch.tensor([[[[1.0, 0.0], [2.0, 3.0]], [[2.0, 0.0], [0.0, -1.0]]]])
    expected = torch.tensor([[5.0, 0.0, 4.0, 9.0]]) / math.sqrt(122)
    assert torch.allclose(attention_map(maps), expected)
    assert torch.allclose(attention_map(maps_of(0)).norm(dim=1), torch.ones(5))


def test_equation_2_by_hand(few):
    """`CE + beta / 2 * || Q_S / ||Q_S|| - Q_T / ||Q_T|| ||` for maps of 2 x 2."""
    student = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])  # looks at one corner
    teacher = torch.tensor([[[[0.0, 0.0], [0.0, 2.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])  # at another, or everywhere
    labels, logits = torch.tensor([3, 7]), torch.randn(2, 10)
    batch = Batch(torch.zeros(2, 1, 28, 28), labels, torch.arange(2))
    criterion = AttentionMaps(lambda batch, layers: Output(logits, {"t": teacher}), [("s", "t")], 10.0)
    found = criterion(Output(logits, {"s": student.expand(2, -1, -1, -1)}), batch)
    # |e1 - e4| = sqrt 2; |e1 - (1, 1, 1, 1) / 2| = sqrt(1/4 + 3/4) = 1.
    assert found.item() == pytest.approx(cross_entropy(logits, labels).item() + 5 * (math.sqrt(2) + 1) / 2, rel=1e-6)


def test_maps_before_all_weights_are_never_compared(few, machine):
    def pooled():
        torch.manual_seed(0)
        return nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 3, 3, padding=1), nn.Flatten(), nn.Linear(588, 10))

    task = task_of(few, teachers=[Teacher(used("cnn", few, 1), machine)])
    with pytest.raises(BadSetting, match=r"layer 0 gives no maps: choose from 1"):
        Attention(1.0, student_layers=["0"], teacher_layers=["3"])(pooled(), task)
    flat = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 10))
    with pytest.raises(BadSetting, match="attention needs layers that give maps"):
        Attention(1.0)(flat, task)


def test_pairs_add_up(few, machine):
    teacher, student = Teacher(used("resnet", few, 1), machine), used("cnn", few)
    batch, pairs = a_batch(few), [("2", "3"), ("6", "4")]

    def extra(chosen, beta):
        output = run(student, batch.images, [own for own, _ in chosen])
        criterion = AttentionMaps(teacher, chosen, beta)
        return criterion(output, batch) - cross_entropy(output.logits, batch.labels)

    both = extra(pairs, 4.0)
    assert torch.allclose(both, extra(pairs[:1], 4.0) + extra(pairs[1:], 4.0), atol=1e-5)
    assert torch.allclose(both, 2 * extra(pairs, 2.0), atol=1e-5)
    assert both > 0.01


def test_identical_maps_cost_next_to_nothing_and_have_no_broken_gradient():
    maps = maps_of(0).requires_grad_()
    distance = map_distance(maps, maps.detach())
    assert 0 <= distance.item() < 1e-5
    (gradient,) = torch.autograd.grad(distance, maps)
    assert torch.isfinite(gradient).all()


def test_other_maps_cost_something_and_at_most_the_square_root_of_two():
    # Both are of length one and have no negative parts.
    for seed in range(1, 5):
        assert 0.05 < map_distance(maps_of(0), maps_of(seed)).item() <= math.sqrt(2)


@pytest.mark.parametrize("factor", [1e-3, 0.5, 40])
def test_how_strong_maps_are_does_not_matter_only_where(factor):
    student, teacher = maps_of(0), maps_of(1)
    expected = map_distance(student, teacher)
    assert torch.allclose(map_distance(factor * student, teacher), expected, rtol=1e-5)
    each = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[:, None, None, None]
    assert torch.allclose(map_distance(each * student, teacher), expected, rtol=1e-5)


def test_the_number_of_channels_may_differ_and_their_order_does_not_matter():
    student, teacher = maps_of(0), maps_of(1, (5, 9, 6, 6))
    assert torch.allclose(map_distance(student, teacher), map_distance(student, teacher.flip(1)))


@pytest.mark.parametrize("shapes", [((5, 4, 12, 12), (5, 4, 6, 6)), ((5, 4, 6, 6), (5, 2, 18, 12))])
def test_maps_of_other_sizes_are_averaged_down_to_the_smaller(shapes):
    student, teacher = (maps_of(seed, shape) for seed, shape in enumerate(shapes))
    small = [nn.functional.avg_pool2d(m, (m.shape[2] // 6, m.shape[3] // 6)) for m in (student, teacher)]
    assert torch.allclose(map_distance(student, teacher), map_distance(*small))


def test_dead_maps_are_no_nan():
    dead = torch.zeros(2, 4, 6, 6, requires_grad=True)
    distance = map_distance(dead, maps_of(0, (2, 4, 6, 6)))
    assert distance.item() == pytest.approx(1, rel=1e-5)
    assert torch.isfinite(torch.autograd.grad(distance, dead)[0]).all()


def test_layers_are_paired_at_each_size_that_both_networks_have_the_last_of_it():
    student = {"a": (4, 28, 28), "b": (4, 28, 28), "c": (6, 14, 14), "d": (6, 7, 7)}
    teacher = {"p": (16, 28, 28), "q": (32, 14, 14), "r": (32, 14, 14), "s": (64, 9, 9)}
    assert common_layers(student, teacher) == [("b", "p"), ("c", "r")]


def test_without_a_common_size_the_last_maps_are_paired():
    assert common_layers({"a": (4, 12, 12), "b": (4, 6, 6)}, {"p": (2, 9, 9), "q": (2, 3, 3)}) == [("b", "q")]


def criterion_of(method, student, teacher, splits, machine):
    """What a method hands to its fit."""
    seen = []
    task = task_of(splits, lambda network, criterion: seen.append(criterion), [Teacher(teacher, machine)])
    method(student, task)
    return seen[0]


def test_the_layers_that_are_named_are_those_that_are_compared(few, machine):
    method = Attention(1.0, ["2", "3"], ["2", "3.conv1"])
    criterion = criterion_of(method, built("cnn", few), built("resnet", few), few, machine)
    assert (criterion.layers, criterion.teacher_layers) == (("2", "3"), ("2", "3.conv1"))


def test_names_that_yaml_reads_as_numbers_are_names(few, machine):
    criterion = criterion_of(Attention(1.0, [2, 3], [2, 3]), built("cnn", few), built("resnet", few), few, machine)
    assert (criterion.layers, criterion.teacher_layers) == (("2", "3"), ("2", "3"))


def test_by_default_both_networks_are_compared_at_all_sizes_they_share(colours, machine):
    criterion = criterion_of(Attention(1.0), built("cnn", colours), built("resnet", colours), colours, machine)
    # 32 x 32, where the CNN's last layer before pooling is batch norm, and 16 x 16.
    assert (criterion.layers, criterion.teacher_layers) == (("1", "6"), ("3", "4"))


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (["conv3"], ["3"], "there is no layer conv3: choose from 0, 1, 2, "),
        (["0"], ["block"], r"there is no layer block: choose from 0, 1, 2, 3, 3\.conv1, "),
        (["8"], ["3"], "layer 8 gives no maps: choose from 0, 1, 2, 3, 4, 5, 6$"),
        (["9"], ["3"], "layer 9 gives no maps"),
        # A single position has one attention map only: nothing could be learned from it.
        (["7"], ["3"], "layer 7 gives no maps"),
        (["0"], ["6"], r"layer 6 gives no maps: choose from 0, 1, 2, 3\.conv1, "),
    ],
)
def test_layers_that_do_not_exist_or_give_no_maps_are_refused_with_those_that_do(
    few, machine, student, teacher, message
):
    task = task_of(few, teachers=[Teacher(built("resnet", few), machine)])
    with pytest.raises(BadSetting, match=message) as error:
        Attention(1.0, student, teacher)(built("cnn", few), task)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layers", [(None, None), (["1"], ["1"])])
@pytest.mark.parametrize("families", [("mlp", "cnn"), ("cnn", "mlp"), ("mlp", "mlp")])
def test_networks_without_maps_are_refused_in_one_line(few, machine, families, layers):
    student, teacher = (built(family, few) for family in families)
    task = task_of(few, teachers=[Teacher(teacher, machine)])
    with pytest.raises(BadSetting, match="maps in both networks: choose cnn or resnet models") as error:
        Attention(1.0, *layers)(student, task)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ((0,), r"compress\.beta=0"),
        (("much",), r"compress\.beta=much"),
        ((1, ["0"]), "name as many layers, in pairs"),
        ((1, None, ["0"]), "name as many layers, in pairs"),
        ((1, ["0", "1"], ["0"]), "name as many layers, in pairs"),
        ((1, [], []), r"compress\.student_layers=\[\] is not a list"),
        ((1, ["0"], "0"), r"compress\.teacher_layers=0 is not a list, such as compress\.teacher_layers=\[2,5\]"),
        ((1, 0, ["0"]), r"compress\.student_layers=0 is not a list"),
    ],
)
def test_bad_knobs_are_named(knobs, message):
    with pytest.raises(BadSetting, match=message):
        Attention(*knobs)


def test_without_a_teacher_or_with_several_the_error_says_what_to_type(few, machine):
    with pytest.raises(BadSetting, match="teacher: auto"):
        Attention(1.0)(built("cnn", few), task_of(few))
    teachers = [Teacher(built("cnn", few, seed), machine) for seed in range(2)]
    with pytest.raises(BadSetting, match=r"compress\.teacher=NAME"):
        Attention(1.0)(built("cnn", few), task_of(few, teachers=teachers))


def attention_gap(student, teacher, splits):
    """How far a student looks from where its teacher looks, in the validation images."""
    images = splits.val.images.float() / 255
    with torch.no_grad():
        own = run(student, images, ["6"]).features["6"]
        theirs = run(teacher, images, ["4"]).features["4"]
        return map_distance(own, theirs).item()


@pytest.mark.parametrize("data", ["few", "colours"])
def test_a_student_comes_to_look_where_its_teacher_of_another_family_looks(data, recipe, machine, request):
    splits = request.getfixturevalue(data)
    teacher = used("resnet", splits, 1)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    histories, start = [], built("cnn", splits)
    fit_one = fitting(splits, recipe, machine, histories)
    student = Attention(100.0)(start, task_of(splits, fit_one, [Teacher(teacher, machine)]))
    alone = built("cnn", splits)
    fit_one(alone)
    assert histories[0][-1].train_loss < histories[0][0].train_loss
    assert attention_gap(student, teacher, splits) < attention_gap(alone, teacher, splits)
    assert same(start, built("cnn", splits))
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
