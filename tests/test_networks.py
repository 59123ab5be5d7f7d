"""Networks from their descriptions."""

import copy
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdbench import networks
from kdbench.compress.layers import weight_names
from kdbench.compress.order import is_compared
from kdbench.compress.step import NetworkStep
from kdbench.data.splits import Split, Splits
from kdbench.errors import BadSetting, Collapsed
from kdbench.networks.compared import Compared, compared
from kdbench.networks.maker import Maker
from kdbench.settings.network import DataSpec, StepSpec
from kdbench.storage.store import Store
from kdbench.training import runtime
from kdbench.training.criteria import Criterion
from kdbench.training.fitting import Fitting
from tests.conftest import DISTILL, PRUNE, mlp

SMALL_PRUNE = StepSpec(PRUNE | {"sparsity": 0.5})
SIMILARITY = {"_target_": "kdbench.compress.distill.similarity.Similarity"}
ROBUST = {
    "_target_": "kdbench.compress.adversarial.robust_distillation.RobustDistillation",
    **{"temperature": 4.0, "alpha": 0, "eps": 0.1, "attack_step": 0.1, "attack_steps": 1},
}
DATA_FREE = {
    "_target_": "kdbench.compress.distill.data_free.DataFree",
    **{"temperature": 4.0, "images": 128, "turns": 2, "kept": 64, "shift": 2, "noise": 8, "width": 4},
    **{"certainty": 1.0, "balance": 5.0, "disagreement": 1.0, "generator_lr_scale": 1.0},
}
ONE_SHOT = StepSpec(PRUNE | {"sparsity": 0.5, "finetune_epochs": 0})


def distill(*teachers, **knobs) -> StepSpec:
    return StepSpec(DISTILL | knobs, teachers)


@pytest.fixture
def maker(few, machine, tmp_path) -> Maker:
    return Maker(few, machine, Store(tmp_path / "store"))


@pytest.fixture
def fits(monkeypatch) -> list[str]:
    """The titles of all trainings that really happened."""
    titles = []
    real = Fitting.__call__

    def counted(self, *given, **options):
        titles.append(self.title)
        return real(self, *given, **options)

    monkeypatch.setattr(Fitting, "__call__", counted)
    return titles


def flat(trained) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in trained.network.state_dict().values()])


def zeros(trained) -> torch.Tensor:
    return torch.cat([p.flatten() == 0 for name, p in trained.network.named_parameters() if p.dim() > 1])


def test_nothing_is_trained_twice(maker, few, machine, tmp_path, fits):
    first = maker.make(mlp())
    again = Maker(few, machine, Store(tmp_path / "store")).make(mlp())
    assert len(fits) == 1
    assert torch.equal(flat(first), flat(again))
    assert (first.key, first.whole, first.history) == (again.key, again.whole, again.history)


def test_a_run_and_its_repetition_from_the_store_compress_alike(maker, few, machine, tmp_path, fits):
    spec = mlp(0, SMALL_PRUNE)
    first, again = maker.make(spec), Maker(few, machine, Store(tmp_path / "store")).make(spec)
    elsewhere = Maker(few, machine, Store(tmp_path / "other")).make(spec)
    assert len(fits) == 4  # baseline and fine-tuning, in each of two stores
    assert torch.equal(flat(first), flat(again))
    assert torch.equal(flat(first), flat(elsewhere))


@pytest.mark.parametrize(
    "other",
    [
        mlp(seed=1),
        mlp(epochs=3),
        mlp(batch_size=32),
        mlp(lr=0.02),
        mlp(weight_decay=0.0),
        mlp(shift=1),
        mlp(flip=True),
        mlp(widths=[17]),
        mlp(normalise="none"),
    ],
)
def test_everything_that_decides_the_weights_is_in_the_key(maker, other):
    assert maker.initial(mlp()).key == maker.initial(mlp()).key
    assert maker.initial(mlp()).key != maker.initial(other).key


def test_machine_and_data_are_in_the_key_and_names_are_not(maker, few, machine, tmp_path):
    key = maker.initial(mlp()).key
    assert maker.initial(replace(mlp(), name="another", compress="x", seed_is_fixed=True)).key == key
    store = Store(tmp_path / "store")
    for other in (
        replace(machine, threads_typed=machine.threads),
        replace(machine, threads_typed=machine.threads + 1),
        replace(machine, precision="bf16"),
        replace(machine, instructions="another"),
    ):
        assert Maker(few, other, store).initial(mlp()).key != key
    renamed = replace(few, class_names=[f"{name}!" for name in few.class_names])  # settings name classes by these
    assert Maker(renamed, machine, store).initial(mlp()).key != key
    fewer = Splits(few.train[:-1], few.val, few.test)
    assert Maker(fewer, machine, store).initial(mlp()).key != key
    assert Maker(few, machine, store, together=(0, 1)).initial(mlp()).key != key


def test_each_training_takes_the_threads_that_are_left_when_it_begins_and_all_find_it(few, machine, tmp_path, fits):
    counts = iter([4, 2, 1])
    four = replace(machine, threads_typed=None)
    store = Store(tmp_path / "store")

    def maker(count):
        return Maker(few, four, store, processes=lambda: count)

    before = torch.get_num_threads()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runtime, "cores", lambda: 4)
            baseline = maker(next(counts)).make(mlp())
            pruned = maker(next(counts)).make(mlp(0, SMALL_PRUNE))
            again = maker(next(counts)).make(mlp())
            taught = maker(4).make(mlp(0, distill(mlp())))
    finally:
        torch.set_num_threads(before)
    assert len(fits) == 3
    assert (baseline.threads, again.threads, taught.threads) == ({1}, {1}, {1})
    assert pruned.threads == {1, 2}  # its baseline's, and those of its fine-tuning
    assert Compared(pruned, baseline).train_threads is None
    assert Compared(baseline, baseline).train_threads == 1


def test_steps_teachers_and_their_order_are_in_the_key(maker):
    specs = [
        mlp(),
        mlp(0, SMALL_PRUNE),
        mlp(0, ONE_SHOT),
        mlp(0, SMALL_PRUNE, ONE_SHOT),
        mlp(0, distill(mlp(seed=1))),
        mlp(0, distill(mlp(seed=2))),
        mlp(0, distill(mlp(seed=1), mlp(seed=2))),
        mlp(0, distill(mlp(seed=2), mlp(seed=1))),
        mlp(0, distill(mlp(1, ONE_SHOT))),
        mlp(0, distill(mlp(seed=1)), ONE_SHOT),
        mlp(0, ONE_SHOT, distill(mlp(seed=1))),
    ]
    assert len({maker.make(spec).key for spec in specs}) == len(specs)


def test_the_test_split_has_no_part_in_training(few, machine, tmp_path):
    scrambled = Split(255 - few.test.images, few.test.labels.flip(0))
    made = [
        Maker(Splits(few.train, few.val, test), machine, Store(tmp_path / str(number))).make(mlp())
        for number, test in enumerate((few.test, scrambled))
    ]
    assert torch.equal(flat(made[0]), flat(made[1]))


def test_distillation_leaves_the_teacher_as_it_was_and_differs_from_training_alone(maker):
    teacher = maker.make(mlp(seed=1))
    before = flat(teacher)
    initial = flat(maker.initial(mlp()))
    student = maker.make(mlp(0, distill(mlp(seed=1))))
    assert torch.equal(flat(maker.make(mlp(seed=1))), before)
    assert torch.equal(flat(maker.initial(mlp())), initial)
    assert not torch.equal(flat(student), flat(maker.make(mlp())))


@pytest.mark.parametrize(("shift", "flip"), [(0, False), (2, False), (0, True)])
def test_students_share_the_logits_of_their_teacher_and_are_what_they_would_be_alone(
    maker, few, machine, tmp_path, shift, flip
):
    def student(width: int):
        return mlp(0, distill(mlp(seed=1, shift=shift)), widths=[width], shift=shift, flip=flip)

    def cached(trained) -> float:
        return maker.store.get(trained.key).record["cached_seconds"]

    first, second = maker.make(student(16)), maker.make(student(17))
    alone = Maker(few, machine, Store(tmp_path / "other")).make(student(17))
    assert torch.equal(flat(second), flat(alone))
    assert cached(first) == 0
    assert 0 < cached(second) < second.whole.seconds


def test_alpha_one_is_training_alone(maker):
    student = maker.make(mlp(0, distill(mlp(seed=1), alpha=1)))
    assert torch.equal(flat(student), flat(maker.make(mlp())))


def test_a_student_comes_to_agree_with_its_teacher(maker, few):
    teacher = mlp(seed=1, epochs=20)
    images = few.test.images.float() / 255
    made = maker.make(teacher)
    students = [maker.make(mlp(0, *steps, epochs=20)) for steps in ([distill(teacher, alpha=0)], [])]
    with torch.no_grad():
        answers = made.network(images).softmax(1)
        distances = [(answers - student.network(images).softmax(1)).abs().mean() for student in students]
    assert distances[0] < distances[1]


def test_an_ensemble_teaches_and_the_weights_of_its_members_count(maker):
    teachers = mlp(seed=1), mlp(seed=2)
    students = [
        maker.make(mlp(0, distill(*teachers))),
        maker.make(mlp(0, distill(*teachers, teacher_weights=[3, 1]))),
        maker.make(mlp(0, distill(teachers[0]))),
    ]
    assert len({flat(student).sum().item() for student in students}) == 3
    with pytest.raises(BadSetting, match=r"compress\.teacher_weights=\[1, 2, 3\] are not 2, one a teacher"):
        maker.make(mlp(0, distill(*teachers, teacher_weights=[1, 2, 3])))


def test_a_chain_of_assistants_is_made_link_by_link(maker, fits):
    deep = mlp(seed=0, widths=[32])
    assistant = mlp(0, distill(deep), widths=[24])
    student = mlp(0, distill(assistant))
    maker.make(student)
    assert fits == ["mlp_tiny baseline seed 0", "mlp_tiny Distill seed 0", "mlp_tiny Distill seed 0"]
    assert not torch.equal(flat(maker.make(student)), flat(maker.make(mlp(0, distill(deep)))))


def test_zeros_hold_through_a_later_distillation_also_from_the_store(maker, few, machine, tmp_path):
    pruned = maker.make(mlp(0, ONE_SHOT))
    spec = mlp(0, ONE_SHOT, distill(mlp()))
    share = zeros(pruned)
    assert share.float().mean() == pytest.approx(0.5, abs=1e-4)
    for own in (maker, Maker(few, machine, Store(tmp_path / "store"))):
        taught = own.make(replace(spec, seed=0))
        assert torch.equal(zeros(taught) & share, share)
        assert not torch.equal(flat(taught), flat(pruned))
        assert len(taught.constraints) == 1
    # Now only the pruned network comes from the store, and the training of the student is real.
    other = Maker(few, machine, Store(tmp_path / "store")).make(mlp(0, ONE_SHOT, distill(mlp(), temperature=1)))
    assert torch.equal(zeros(other) & share, share)


class FeaturesOnly(Criterion):
    """A loss that never looks at the logits, as that of a stage which trains layers below the head."""

    layers = ("1",)

    def __call__(self, output, batch):
        return (output.features["1"] - 1).pow(2).mean()


@dataclass(frozen=True)
class Body(NetworkStep):
    """Trains the layers below a head that gives the same to every image."""

    from_scratch: ClassVar[bool] = True

    def __call__(self, model, task):
        network = copy.deepcopy(model)
        nn.init.zeros_(network.model[-1].weight)
        nn.init.zeros_(network.model[-1].bias)
        task.fit(network, FeaturesOnly(), epochs=1)
        return network


BODY = StepSpec({"_target_": "tests.test_networks.Body"})


def test_a_stage_whose_head_is_not_trained_yet_is_no_failure_unless_it_is_the_last(maker, few, machine, tmp_path):
    spec = mlp(0, BODY)
    for own in (maker, Maker(few, machine, Store(tmp_path / "store"))):  # trained, and from the store
        with pytest.raises(Collapsed, match="predicts one class for every image: try a milder compression"):
            own.make(spec)
    assert maker.make(mlp(0, BODY, distill(mlp(seed=1)))).history[-1].classes > 1


@dataclass(frozen=True)
class Noting(NetworkStep):
    """Notes what a step sees before it trains anything."""

    seen: ClassVar[list] = []

    def __call__(self, model, task):
        self.seen.append((task, torch.get_num_threads(), torch.initial_seed()))
        return copy.deepcopy(model)


NOTING = StepSpec({"_target_": "tests.test_networks.Noting"})


def test_a_task_is_all_that_a_method_may_use(maker, few):
    maker.make(mlp(3, NOTING))
    task, _, seed = Noting.seen[-1]
    assert (task.seed, seed, tuple(task.teachers)) == (3, 3, ())
    assert (task.data.shape, task.data.classes, task.data.class_names) == ((1, 28, 28), 10, few.class_names)
    images = task.data.to_calibrate(5)
    assert torch.equal(images, few.train.images[:5].float() / 255)
    initial = task.initial
    with torch.no_grad():
        initial.model[1].weight.zero_()  # a copy: rewinding finds the weights that there were
    assert torch.equal(flat(replace(maker.initial(mlp(3)), network=task.initial)), flat(maker.initial(mlp(3))))
    with pytest.raises(BadSetting, match="needs a teacher: add `teacher: auto`"):
        _ = task.teacher


@dataclass(frozen=True)
class OwnImages(NetworkStep):
    """Trains on images of its own making, under a teacher whose answers are known for the training set only."""

    from_scratch: ClassVar[bool] = True
    asked: ClassVar[list] = []

    def __call__(self, model, task):
        from kdbench.compress.distill.soft_targets import SoftTargets

        network, teacher = copy.deepcopy(model), task.teacher
        real = teacher.cached
        teacher.cached = lambda view: self.asked.append(view) or real(view)
        inverted = Split(255 - task.data.train.images, task.data.train.labels)
        task.fit(network, SoftTargets([teacher], [1], 2, 0), epochs=1, examples=inverted)
        return network


def test_answers_kept_for_the_training_set_are_not_given_for_images_of_a_method_s_own(maker):
    maker.make(mlp(0, StepSpec({"_target_": "tests.test_networks.OwnImages"}, (mlp(seed=1),))))
    assert OwnImages.asked == []


def test_another_data_set_is_what_the_student_learns_from(maker, few, monkeypatch):
    others = Splits(few.train[:150], few.val, few.test, few.class_names)
    monkeypatch.setattr(networks.transfer, "load", lambda spec, source: (spec, others))
    transfer = DataSpec("others", {"_target_": "x"}, None, None)
    here, there = distill(mlp(seed=1)), replace(distill(mlp(seed=1)), transfer=transfer)
    assert not torch.equal(flat(maker.make(mlp(0, here))), flat(maker.make(mlp(0, there))))


def test_images_of_another_shape_are_no_transfer_set(maker, colours, monkeypatch):
    monkeypatch.setattr(networks.transfer, "load", lambda spec, source: (spec, colours))
    step = replace(distill(mlp(seed=1)), transfer=DataSpec("colours", {"_target_": "x"}, None, None))
    with pytest.raises(BadSetting, match=r"compress\.transfer=colours has images of 3x32x32, and the"):
        maker.make(mlp(0, step))


@pytest.mark.parametrize(
    ("method", "typed"),
    [
        (DISTILL, "compress.alpha=0"),
        (SIMILARITY, "compress=distill compress.alpha=0"),
        (ROBUST, "compress=distill compress.alpha=0"),  # whose alpha is another
    ],
)
def test_classes_of_another_data_set_are_learnt_from_without_labels_alone(maker, few, monkeypatch, method, typed):
    others = replace(few, class_names=[f"{name}!" for name in few.class_names])
    monkeypatch.setattr(networks.transfer, "load", lambda spec, source: (spec, others))
    step = StepSpec(method, (mlp(seed=1),), DataSpec("others", {"_target_": "x"}, None, None))
    with pytest.raises(BadSetting, match=f"has classes of its own, and labels are learnt from: type {typed}$"):
        maker.make(mlp(0, step))


def test_a_student_costs_the_time_of_all_its_teachers_and_of_theirs(maker):
    first, second = mlp(seed=1), mlp(seed=2)
    assistant = mlp(3, distill(first))
    alone = [maker.make(spec) for spec in (first, second, assistant)]
    assert all(made.whole.seconds > 0 for made in alone)
    of_two = maker.make(mlp(0, distill(first, second)))
    assert of_two.whole_teaching.seconds == pytest.approx(sum(made.whole.seconds for made in alone[:2]))
    chain = maker.make(mlp(0, distill(assistant, second)))
    assert chain.whole_teaching.seconds == pytest.approx(sum(made.whole.seconds for made in alone))
    both = maker.make(mlp(0, distill(assistant, first)))  # which counts once
    assert both.whole_teaching.seconds == pytest.approx(alone[0].whole.seconds + alone[2].whole.seconds)


def test_a_data_free_student_depends_on_no_training_image(few, machine, tmp_path):
    """Of other images, whose pixels are as bright on the whole, the same student comes, to the bit."""
    given = Maker(few, machine, Store(tmp_path / "store")).make(mlp(seed=5))
    save_file(given.network.model.state_dict(), tmp_path / "given.safetensors")
    teacher = replace(mlp(epochs=0), weights=tmp_path / "given.safetensors")
    images = few.train.images.flatten()[torch.randperm(few.train.images.numel())].view_as(few.train.images)
    mixed = replace(few, train=Split(images, few.train.labels.flip(0)))
    assert mixed.pixel_statistics == few.pixel_statistics
    spec = mlp(0, StepSpec(DATA_FREE, (teacher,)))
    made = [Maker(splits, machine, Store(tmp_path / splits.fingerprint)).make(spec) for splits in (few, mixed)]
    assert torch.equal(flat(made[0]), flat(made[1]))
    taught = [Maker(splits, machine, Store(tmp_path / splits.fingerprint)).make(mlp(0, distill(teacher)))
              for splits in (few, mixed)]  # fmt: skip
    assert not torch.equal(flat(taught[0]), flat(taught[1]))


def test_given_weights_stay_as_they_are_with_no_epochs_and_are_trained_on_otherwise(maker, tmp_path):
    given = maker.make(mlp(seed=5))
    path = tmp_path / "given.safetensors"
    save_file(given.network.model.state_dict(), path)
    as_is = maker.make(replace(mlp(epochs=0), weights=path))
    assert torch.equal(flat(as_is), flat(given))
    assert (as_is.whole.seconds, as_is.history) == (0, ())
    tuned = maker.make(replace(mlp(), weights=path))
    assert not torch.equal(flat(tuned), flat(given))
    pruned = maker.make(replace(mlp(0, ONE_SHOT, epochs=0), weights=path))
    assert zeros(pruned).float().mean() == pytest.approx(0.5, abs=1e-4)
    student = maker.make(mlp(0, distill(replace(mlp(epochs=0), weights=path))))
    assert student.whole.seconds > 0


def test_what_the_weights_leave_out_is_as_the_seed_initialises_it_and_in_the_key(maker, tmp_path):
    path, fresh = tmp_path / "given.safetensors", maker.initial(mlp())
    save_file(maker.initial(mlp(seed=5)).network.model.state_dict(), path)
    whole, in_part = maker.initial(mlp(weights=path)), maker.initial(mlp(weights=path, weights_except=("3",)))
    assert torch.equal(in_part.network.model[3].weight, fresh.network.model[3].weight)
    assert torch.equal(in_part.network.model[1].weight, whole.network.model[1].weight)
    assert in_part.key != whole.key


def test_a_network_sees_pixels_as_is_typed(maker, few):
    images = few.test.images[:3].float() / 255
    for typed, mean, deviation in (("none", 0, 1), ("0.5/0.25", 0.5, 0.25)):
        network = maker.initial(mlp(normalise=typed)).network
        assert torch.equal(network(images), network.model((images - mean) / deviation))


def test_a_classifier_of_torchvision_is_pruned_and_taught_by_one_from_a_file(colours, machine, tmp_path):
    from kdbench.data.torchvision_import import torchvision

    torch.save(torchvision.models.squeezenet1_1(num_classes=7).state_dict(), tmp_path / "w.pth")
    node = {"_target_": "kdbench.models.torchvision_model.classifier", "name": "squeezenet1_1"}
    given = replace(mlp(epochs=0, weights=tmp_path / "w.pth", normalise="imagenet"), model=node)
    student = replace(mlp(0, ONE_SHOT, distill(given), epochs=1), model=node | {"name": "mnasnet0_5"})
    made = Maker(colours, machine, Store(tmp_path / "store")).unchecked(student)
    weights = torch.cat([made.network.get_parameter(name).flatten() for name in weight_names(made.network)])
    assert (weights == 0).float().mean() == pytest.approx(0.5, abs=1e-5)
    again = Maker(colours, machine, Store(tmp_path / "store")).unchecked(student)
    assert torch.equal(flat(made), flat(again))


def test_weights_that_are_overwritten_make_another_network(maker, tmp_path):
    path = tmp_path / "given.pt"
    keys = []
    for seed in (5, 6):
        torch.save(maker.make(mlp(seed=seed)).network.state_dict(), path)
        keys.append(maker.make(replace(mlp(epochs=0), weights=path)).key)
    assert keys[0] != keys[1]


def test_images_of_another_shape_and_classes_go_all_the_way(colours, machine, tmp_path):
    maker = Maker(colours, machine, Store(tmp_path / "store"))
    spec = mlp(0, ONE_SHOT, distill(mlp(seed=1)))
    made = maker.make(spec)
    assert made.network(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    assert zeros(made).float().mean() >= 0.5 - 1e-4


def test_a_frozen_store_trains_nothing(few, machine, tmp_path, maker):
    frozen = Maker(few, machine, Store(tmp_path / "store", frozen=True))
    with pytest.raises(BadSetting, match="mlp_tiny baseline seed 0 is not in the store: --retrain makes it"):
        frozen.make(mlp())
    assert not (tmp_path / "store").exists()
    made = maker.make(mlp())
    assert torch.equal(flat(frozen.make(mlp())), flat(made))


def test_what_is_another_way_to_train_has_its_plain_network_trained_only_to_be_compared(maker):
    bounded = mlp(0, StepSpec({"_target_": "kdbench.compress.max_norm.MaxNorm", "limit": 3.0}))
    assert not is_compared(bounded)
    assert compared(maker, bounded, is_compared(bounded)).baseline.history == ()
    pruned = replace(bounded, steps=(*bounded.steps, SMALL_PRUNE))
    assert is_compared(pruned)
    assert compared(maker, pruned, is_compared(pruned)).baseline.history
