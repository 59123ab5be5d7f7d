from dataclasses import replace

import pytest
import torch
from tests.compress.tasks import a_batch, fitting, in_full, task_of, used
from tests.training.methods import built, same

from kdbench.compress.distill.data_free import Against, DataFree, Generated
from kdbench.compress.distill.image_generator import Generator, Pixels, normalisation
from kdbench.compress.distill.soft_targets import distillation
from kdbench.compress.step import Examples
from kdbench.errors import BadSetting
from kdbench.models.network import Network, Normalise
from kdbench.models.views import view
from kdbench.training.teacher import Teacher

KNOBS = DataFree(4.0, 256, 3, 64, 1, 8, 4, 1.0, 5.0, 1.0, 0.5)
PIXELS = (0.13, 0.31)


def maker_of(shape, **sizes):
    return Generator(shape, *PIXELS, **{"noise": KNOBS.noise, "width": 4, "kept": 64, "shift": 1} | sizes)


class NoImages:
    """In the place of training images: nobody may look at them."""

    def __getattr__(self, name):
        raise AssertionError(f"training images were read ({name})")


def test_no_training_image_is_read(few, recipe, machine):
    task = task_of(few, fitting(few, recipe, machine), [Teacher(used("resnet", few, 1), machine)])
    blind = replace(task, data=Examples(NoImages(), few.val, few.class_names))
    start = built("cnn", few)
    assert not same(KNOBS(start, blind), start)  # it was trained all the same


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 14)])
def test_images_have_the_shape_of_the_data_and_come_of_numbers_of_mean_0_and_deviation_1(shape):
    maker = maker_of(shape)
    made = maker(50)
    assert made.shape == (50, *shape)
    assert made.min() >= 0
    assert made.max() <= 1
    numbers = maker.layers[:-1](torch.randn(50, KNOBS.noise))
    assert numbers.mean((0, 2, 3)).tolist() == pytest.approx([0] * shape[0], abs=1e-3)
    assert numbers.std((0, 2, 3)).tolist() == pytest.approx([1] * shape[0], abs=1e-2)


@pytest.mark.parametrize(("mean", "deviation"), [(0.1307, 0.3081), (0.5, 12**-0.5), (0.47, 0.25), (0.9, 0.1)])
def test_normal_numbers_become_pixels_of_a_mean_and_a_deviation(mean, deviation):
    numbers = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    pixels = Pixels(mean, deviation)(numbers)
    assert float(pixels.mean()) == pytest.approx(mean, abs=2e-3)
    assert float(pixels.std()) == pytest.approx(deviation, abs=2e-3)


@pytest.mark.parametrize(("mean", "deviation"), [(0.13, 5.0), (0.13, 0.0), (-3.0, 0.3), (40.0, 20.0)])
def test_means_and_deviations_that_no_pixels_have_give_pixels_all_the_same(mean, deviation):
    pixels = Pixels(mean, deviation)(torch.linspace(-4, 4, 100))
    assert pixels.isfinite().all()
    assert (pixels.diff() >= 0).all()
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1


def test_all_images_that_were_ever_made_are_kept_alike_often():
    torch.manual_seed(0)
    kept = torch.zeros(40)
    for _ in range(300):
        maker = maker_of((1, 1, 1), kept=10)
        for batch in torch.arange(40.0).split(8):
            maker.remember(batch.view(8, 1, 1, 1))
        numbers = maker.images.flatten().long()
        assert len(set(numbers.tolist())) == 10
        kept[numbers] += 1
    assert kept.min() > 45  # 75 are expected
    assert kept.max() < 110


def test_before_they_are_full_places_hold_what_there_is():
    maker = maker_of((1, 8, 8), kept=6)
    maker.remember(torch.full((2, 1, 8, 8), 0.5))
    assert maker.remembered(50)[:, :, 1:-1, 1:-1].min() == 0.5


def test_what_is_remembered_is_moved_by_up_to_so_many_pixels():
    torch.manual_seed(0)
    maker = maker_of((1, 9, 9), shift=2, kept=2)
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 1
    maker.remember(point)
    seen = maker.remembered(1000)
    assert (seen.sum((1, 2, 3)) == 1).all()
    places = {tuple(place[2:]) for place in seen.nonzero().tolist()}
    assert places == {(y, x) for y in range(2, 7) for x in range(2, 7)}


def test_the_generator_has_its_turn_and_learns_from_no_other_batch(few, machine):
    teacher, student, maker = used("resnet", few, 1), used("cnn", few), maker_of(few.shape)
    criterion = Generated(KNOBS, teacher, maker, in_full)
    learns = []
    for _ in range(7):
        maker.zero_grad(set_to_none=True)
        batch = criterion.prepare(a_batch(few), student)
        criterion(in_full(student, batch.images), batch).backward()
        learns.append(any(parameter.grad is not None for parameter in maker.parameters()))
    assert learns == [True, False, False, True, False, False, True]


def test_a_teacher_without_gradients_is_refused(few, recipe, machine):
    class File(torch.nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 10)

    task = task_of(few, fitting(few, recipe, machine), [Teacher(File(), machine)])
    with pytest.raises(BadSetting, match=r"compress\.teacher is a file"):
        KNOBS(built("cnn", few), task)


def test_going_against_turns_the_gradient_round_and_nothing_else():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = Against.apply(x, 0.5)
    assert torch.equal(y, x)
    (y * torch.tensor([3.0, 4.0])).sum().backward()
    assert torch.equal(x.grad, torch.tensor([-1.5, -2.0]))


def test_the_generator_climbs_what_the_student_descends(few, machine):
    """Without certainty and balance, the generator's gradient is minus that of the student's loss."""
    knobs = replace(KNOBS, certainty=0.0, balance=0.0)
    teacher, student = Teacher(used("resnet", few, 1), machine), used("cnn", few)
    maker = maker_of(few.shape)
    state = {name: tensor.clone() for name, tensor in maker.state_dict().items()}

    def gradients(loss):
        maker.load_state_dict(state)
        maker.zero_grad()
        torch.manual_seed(3)
        loss().backward()
        return torch.cat([parameter.grad.flatten() for parameter in maker.parameters()])

    def of_the_criterion():
        criterion = Generated(knobs, teacher.network, maker, in_full)
        batch = criterion.prepare(a_batch(few), student)
        return criterion(in_full(student, batch.images), batch)

    def of_the_student():
        images = maker(len(a_batch(few).index))
        own, said = student(images), teacher.network(images)
        soft = (said / 4).log_softmax(1)
        return (own - said).abs().mean() + distillation(own, soft, torch.zeros(len(own)).long(), 4.0, 0)

    climbing = gradients(of_the_criterion)
    assert torch.allclose(climbing, -gradients(of_the_student), atol=1e-5)
    assert climbing.abs().sum() > 0


def test_the_generator_learns_to_make_the_teacher_sure_and_of_all_classes(few, machine):
    """Without disagreement its gradient is that of `certainty CE(T, its class) + balance sum p log p` alone."""
    knobs = replace(KNOBS, disagreement=0.0, certainty=2.0, balance=3.0)
    teacher, student, maker = used("resnet", few, 1), used("cnn", few), maker_of(few.shape)

    def gradients(loss):
        maker.zero_grad()
        torch.manual_seed(3)
        loss().backward()
        return torch.cat([parameter.grad.flatten() for parameter in maker.parameters()])

    def of_the_criterion():
        criterion = Generated(knobs, teacher, maker, in_full)
        batch = criterion.prepare(a_batch(few), student)
        return criterion(in_full(student, batch.images), batch)

    def by_hand():
        said = teacher(maker(len(a_batch(few).index))).softmax(1)
        unsure, mean = -said.max(1).values.log().mean(), said.mean(0)
        return 2 * unsure + 3 * (mean * mean.log()).sum()

    state = {name: tensor.clone() for name, tensor in maker.state_dict().items()}
    found = gradients(of_the_criterion)
    maker.load_state_dict(state)
    assert torch.allclose(found, gradients(by_hand), atol=1e-5)
    assert found.abs().sum() > 0


@pytest.mark.parametrize(("means", "expected"), [((0.1,), 0.1), ((0.4, 0.5, 0.6), 0.5), ((0.0,), 0.5)])
def test_pixels_are_those_that_the_network_is_made_for(means, expected):
    network = Network(Normalise(means, [0.2] * len(means)), torch.nn.Identity())
    assert normalisation(network)[0] == pytest.approx(expected)


def test_pixels_are_those_of_the_first_network_that_sees_the_whole_image_and_normalises_it():
    def made_for(mean, seen=None):
        return Network(Normalise((mean,), (0.2,)), torch.nn.Identity(), seen)

    upper_half = view("upper_half", (1, 28, 28))
    assert normalisation(made_for(0.3), made_for(0.1))[0] == pytest.approx(0.3)
    assert normalisation(made_for(0.3, upper_half), made_for(0.1))[0] == pytest.approx(0.1)
    assert normalisation(made_for(0.0), made_for(0.1))[0] == pytest.approx(0.1)
