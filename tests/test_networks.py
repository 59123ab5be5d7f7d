from dataclasses import replace

import pytest
import torch

from kdbench import networks as trainers
from kdbench.compress.distill.soft_targets import Distill
from kdbench.compress.prune.global_magnitude import GlobalMagnitude
from kdbench.data.splits import Split, Splits
from kdbench.networks import Log, Trainer
from kdbench.settings.config import TrainConfig
from kdbench.storage.store import Store
from tests.conftest import mlp

DISTILL = {"_target_": "kdbench.compress.distill.soft_targets.Distill", "temperature": 4, "alpha": 0.1}
PRUNE = {
    "_target_": "kdbench.compress.prune.global_magnitude.GlobalMagnitude",
    "sparsity": 0.5,
    "finetune_epochs": 1,
    "finetune_lr_scale": 1,
}


@pytest.fixture
def trainer(few, machine, tmp_path) -> Trainer:
    return Trainer(few, machine, Store(tmp_path / "store"))


@pytest.fixture
def fits(monkeypatch) -> list[str]:
    """The titles of all trainings that really happened."""
    titles = []
    real = trainers.fit

    def counted(*arguments, title, **options):
        titles.append(title)
        return real(*arguments, title=title, **options)

    monkeypatch.setattr(trainers, "fit", counted)
    return titles


def flat(network) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in network.state_dict().values()])


def test_nothing_is_trained_twice(trainer, few, machine, tmp_path, fits):
    first = trainer.baseline(mlp())
    again = Trainer(few, machine, Store(tmp_path / "store")).baseline(mlp())
    assert len(fits) == 1
    assert torch.equal(flat(first.network), flat(again.network))
    assert (first.key, first.seconds, first.history) == (again.key, again.seconds, again.history)


def test_a_run_and_its_repetition_from_the_store_compress_alike(trainer, few, machine, tmp_path, fits):
    def pruned(own: Trainer):
        return own.compressed(GlobalMagnitude(0.5, 1, 1), PRUNE, own.baseline(mlp()), mlp(), None)

    first, again = pruned(trainer), pruned(Trainer(few, machine, Store(tmp_path / "store")))
    elsewhere = pruned(Trainer(few, machine, Store(tmp_path / "other")))
    assert len(fits) == 4  # baseline and fine-tuning, in each of two stores
    assert torch.equal(flat(first.network), flat(again.network))
    assert torch.equal(flat(first.network), flat(elsewhere.network))


@pytest.mark.parametrize(
    "other",
    [
        mlp(seed=1),
        mlp(epochs=3),
        mlp(batch_size=32),
        mlp(lr=0.02),
        mlp(weight_decay=0.0),
        mlp(shift=1),
        mlp(widths=[17]),
    ],
)
def test_everything_that_decides_the_weights_is_in_the_key(trainer, other):
    assert trainer.initial(mlp()).key == trainer.initial(mlp()).key
    assert trainer.initial(mlp()).key != trainer.initial(other).key


def test_machine_and_data_are_in_the_key_and_the_name_is_not(trainer, few, machine, tmp_path):
    key = trainer.initial(mlp()).key
    assert trainer.initial(replace(mlp(), name="another")).key == key
    store = Store(tmp_path / "store")
    for other in (replace(machine, threads=machine.threads + 1), replace(machine, precision="bf16")):
        assert Trainer(few, other, store).initial(mlp()).key != key
    fewer = Splits(few.train[:-1], few.val, few.test)
    assert Trainer(fewer, machine, store).initial(mlp()).key != key


def test_defaults_that_no_yaml_names_are_part_of_the_identity():
    class_with_default = {"_target_": "tests.test_networks.Defaulted"}
    assert trainers.targets.identity(class_with_default)["size"] == 7


class Defaulted:
    def __init__(self, size: int = 7):
        self.size = size


def test_the_test_split_has_no_part_in_training(few, machine, tmp_path):
    scrambled = Split(255 - few.test.images, few.test.labels.flip(0))
    networks = [
        Trainer(Splits(few.train, few.val, test), machine, Store(tmp_path / str(number))).baseline(mlp()).network
        for number, test in enumerate((few.test, scrambled))
    ]
    assert torch.equal(flat(networks[0]), flat(networks[1]))


def test_distillation_leaves_the_teacher_as_it_was_and_differs_from_training_alone(trainer):
    teacher = trainer.baseline(mlp(seed=1))
    before = flat(teacher.network)
    start = trainer.initial(mlp())
    initial = flat(start.network)
    student = trainer.compressed(Distill(4, 0.1), DISTILL, start, mlp(), teacher)
    assert torch.equal(flat(teacher.network), before)
    assert torch.equal(flat(start.network), initial)
    assert student.network is not teacher.network
    assert not torch.equal(flat(student.network), flat(trainer.baseline(mlp()).network))


@pytest.mark.parametrize("shift", [0, 2])
def test_students_share_what_their_teacher_said_and_are_what_they_would_be_alone(
    trainer, few, machine, tmp_path, shift
):
    def students(own: Trainer, *widths: int):
        teacher = own.baseline(mlp(seed=1, shift=shift))
        configs = [mlp(widths=[width], shift=shift) for width in widths]
        return [own.compressed(Distill(4, 0.1), DISTILL, own.initial(c), c, teacher) for c in configs]

    def recalled(student) -> float:
        return trainer.store.get(student.key, student.network).recalled_seconds

    first, second = students(trainer, 16, 17)
    (alone,) = students(Trainer(few, machine, Store(tmp_path / "other")), 17)
    assert torch.equal(flat(second.network), flat(alone.network))
    assert recalled(first) == 0
    assert 0 < recalled(second) < second.seconds


def test_alpha_one_is_training_alone(trainer):
    teacher = trainer.baseline(mlp(seed=1))
    node = {**DISTILL, "alpha": 1}
    student = trainer.compressed(Distill(4, 1), node, trainer.initial(mlp()), mlp(), teacher)
    assert torch.equal(flat(student.network), flat(trainer.baseline(mlp()).network))


def test_a_student_comes_to_agree_with_its_teacher(trainer, few):
    config = mlp(epochs=20)
    teacher = trainer.baseline(mlp(seed=1, epochs=20))
    student = trainer.compressed(Distill(4, 0), DISTILL | {"alpha": 0}, trainer.initial(config), config, teacher)
    alone = trainer.baseline(config)
    images = few.test.images.float() / 255
    with torch.no_grad():
        said = teacher.network(images).softmax(1)
        distances = [(said - net.network(images).softmax(1)).abs().mean() for net in (student, alone)]
    assert distances[0] < distances[1]


def test_a_method_may_ask_for_no_epochs(trainer):
    history = []
    progress = Log(history, trainer.store.checkpoint("key"))
    trainer.fit(mlp(), progress, "title", trainer.initial(mlp()).network, epochs=0)
    assert history == []


def test_recipes_are_checked():
    with pytest.raises(ValueError, match=r"train\.lr=0 is out of range"):
        TrainConfig(1, 64, 0, 0, 0).check()
