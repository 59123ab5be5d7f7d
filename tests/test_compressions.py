"""Every compression that ships, as its YAML has it: an ordinary run, and a row."""

import pytest

from kdbench import experiment
from kdbench.artifact.packing import kdz
from kdbench.evaluation import robustness
from kdbench.settings import choices
from kdbench.settings.choices import config_dir
from tests.settings.test_compose import composed

COMPRESSIONS = choices.options("compress", [config_dir()])
STUDENT = ("model=cnn_simple", "model.widths=[4,6,8]")
TEACHER = "{model:cnn_simple,model.widths:[3,4,6]}"
OF_EQUALS = ("ensemble",)  # whose teachers are not typed
LESS = {"attack_steps": 1, "images": 256, "kept": 256, "hint_epochs": 1}  # of what takes long,
LESS |= {"sparsity": 0.3, "keep": 0.9}  # or leaves too little of a tiny network
NOT_COMPARED = ("baseline", "max_norm")  # another way to train a network, and nothing else
JOINED = ("ensemble", "born_again_ensemble")  # networks that taught the one which ships nothing
UNDER_ATTACK = ("adversarial", "robust_distill")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_it_runs_from_its_yaml_and_leaves_a_row(name, outputs, monkeypatch):
    for constant, little in (("IMAGES", 50), ("STEPS", 2), ("RESTARTS", 1)):
        monkeypatch.setattr(robustness, constant, little)
    knobs = choices.knobs(COMPRESSIONS[name])
    typed = [f"compress.{knob}={value}" for knob, value in LESS.items() if knob in knobs]
    typed += [f"compress.teacher={TEACHER}"] * ("teacher" in knobs and name not in OF_EQUALS)
    typed += ["compress.assistant=cnn_simple"] * ("assistant" in knobs)
    config = composed(
        *(*STUDENT, "data=mnist_5k", "data.train_images=200", "threads=1", f"outputs={outputs}"),
        *("train.epochs=2", "teacher_train.epochs=2", f"compress={name}", *typed),
    )
    result = experiment.run(config)
    row, content = result.row, result.artifact.path.read_bytes()
    assert kdz.unpack(kdz.pack(content)) == content
    assert row.packed_bytes == len(kdz.pack(content)) < row.size_bytes
    assert (row.compress, row.test_images) == (name, 1_000)
    assert 0 < row.errors < 1_000
    assert (row.agreement is None) == (name in NOT_COMPARED)
    assert (row.robust_accuracy is None) == (name not in UNDER_ATTACK)
    taught = "teacher: " in COMPRESSIONS[name].read_text() and name not in JOINED
    of_the_teacher = (row.teacher, row.teacher_accuracy, row.teacher_size_bytes, row.teacher_hash)
    assert [column is not None for column in of_the_teacher] == [taught] * 4, of_the_teacher
    assert ("members=3" in row.settings) == (name in JOINED)
    assert row.size_bytes > 0
