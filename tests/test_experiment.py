"""The story, end to end, without Hydra."""

import copy
import csv
import itertools
import os
import shutil
import sys
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
import torch
from omegaconf import OmegaConf
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file
from torch import nn

from kdbench import experiment
from kdbench.artifact import ship
from kdbench.cli.main import main
from kdbench.compress.step import NetworkStep
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, Collapsed, DamagedFile, NotFinite
from kdbench.evaluation import speed
from kdbench.evaluation.predictions import BATCH, pixels
from kdbench.evaluation.speed import Speed
from kdbench.models.network import build
from kdbench.models.weights_file import written
from kdbench.results import summary
from kdbench.results.row import FILE, read
from kdbench.results.run_folder import FILES, read_whole
from kdbench.settings import code, identity
from kdbench.settings.earlier_run import WEIGHTS, file_steps, network_in, shaped_by, weights_in
from kdbench.settings.network import StepSpec
from kdbench.storage.checksums import SUMS, checksum, sums
from kdbench.training import runtime
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.fitting import Fitting
from tests.conftest import DISTILL, FACTORIZE, PRUNE, QUANTIZE, WIDE, distill, mlp
from tests.models.test_models import shipped

TIMINGS = {*summary.TIMINGS, "date"}
SPEEDS = [name for name in Speed.__annotations__ if name != "cpu_share"]


@pytest.mark.parametrize("name", ["baseline", "quantize", "prune", "distill", "distill_quantize"])
def test_a_run_leaves_a_whole_folder_and_the_reference_evaluator_finds_the_same_errors(
    make_config, tmp_path, digits, name
):
    steps = {
        "baseline": [],
        "quantize": [QUANTIZE],
        "prune": [PRUNE],
        "distill": [distill(WIDE)],
        "distill_quantize": [distill(WIDE), QUANTIZE],
    }[name]
    result = experiment.run(make_config(name, *steps))
    assert {path.name for path in (tmp_path / "outputs" / "store").iterdir() if path.name[0] == "."} == set()
    row = result.row

    files = {path.name for path in result.folder.iterdir()}
    assert files == {*FILES, "SHA256SUMS", "run.log"}
    assert read(result.folder / FILE) == row
    assert OmegaConf.load(result.folder / "config.yaml").network.compress == name
    with (result.folder / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == (1 if name == "prune" else 2)

    file = onnx.load(result.folder / "model.onnx")
    evaluator = ReferenceEvaluator(file)
    wrong = 0
    for images, labels in zip(digits.test.images.split(BATCH), digits.test.labels.split(BATCH), strict=True):
        logits = evaluator.run(None, {"images": pixels(images)})[0]
        wrong += int((logits.argmax(1) != np.asarray(labels)).sum())
    assert wrong == row.errors
    assert row.accuracy == 1 - wrong / 1000

    assert row.size_bytes == (result.folder / "model.onnx").stat().st_size
    assert row.parameters == 784 * 16 + 16 + 160 + 10
    assert (row.agreement is None) == (name == "baseline")
    assert (row.teacher_size_bytes is None) == ("distill" not in name)
    weights = 784 * 16 + 160
    if name == "prune":
        assert row.nonzero_parameters == row.parameters - round(0.9 * weights)
    if "quantize" in name:
        assert row.size_bytes < 0.4 * row.baseline_size_bytes
    else:
        assert row.size_bytes == row.baseline_size_bytes


def test_the_same_run_gives_the_same_row_but_for_timings(make_config, tmp_path):
    rows = []
    for name in ("a", "b"):
        config = make_config("prune", PRUNE, outputs=tmp_path / name)
        rows.append(vars(experiment.run(config).row))
    for column, value in rows[0].items():
        if column not in TIMINGS:
            assert rows[1][column] == value, column


def test_the_same_configuration_finds_its_folder_again_and_trains_nothing(make_config, monkeypatch):
    first = experiment.run(make_config())
    monkeypatch.setattr("kdbench.training.fitting.fit", lambda *_, **__: pytest.fail("trained again"))
    again = experiment.run(make_config(again=True))
    assert again.folder == first.folder
    assert again.row.train_seconds == first.row.train_seconds


def test_what_is_done_is_not_done_again(make_config, monkeypatch):
    first = experiment.run(make_config("quantize", QUANTIZE))
    monkeypatch.setattr("kdbench.networks.maker.Maker.make", lambda *_: pytest.fail("done again"))
    again = experiment.run(make_config("quantize", QUANTIZE))
    assert (again.row, again.was_done, first.was_done) == (first.row, True, False)


def test_a_run_whose_times_were_disturbed_is_whole_but_for_them_and_measured_again(make_config, monkeypatch):
    real = speed.timed
    monkeypatch.setattr(speed, "TRIES", 1)
    monkeypatch.setattr(speed, "timed", lambda *given: speed.untimed(0.5))
    disturbed = experiment.run(make_config("quantize", QUANTIZE))
    assert disturbed.row.cpu_share == 0.5
    assert {name for name, value in vars(disturbed.row).items() if value is None} >= set(SPEEDS)
    [log] = disturbed.folder.glob("run.log")
    assert "timing was disturbed" in log.read_text()
    monkeypatch.setattr(speed, "timed", real)
    again = experiment.run(make_config("quantize", QUANTIZE))
    assert not again.was_done
    assert min(getattr(again.row, name) for name in SPEEDS) > 0
    for column, value in vars(disturbed.row).items():
        if column not in {*SPEEDS, "cpu_share", "date"}:
            assert getattr(again.row, column) == value, column
    assert experiment.run(make_config("quantize", QUANTIZE)).was_done


def test_what_is_damaged_is_set_aside_and_done_again(make_config, caplog):
    first = experiment.run(make_config())
    damages = [lambda content: b"", lambda content: content[:-9], lambda content: content + b" x", None]
    for name, damage in itertools.product([FILE, "model.onnx", "history.csv", "SHA256SUMS", "config.yaml"], damages):
        caplog.clear()
        path = first.folder / name
        if damage is None:
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(damage(path.read_bytes()))
        again = experiment.run(make_config())
        assert not again.was_done, name
        assert {column: value for column, value in vars(again.row).items() if column not in TIMINGS} == {
            column: value for column, value in vars(first.row).items() if column not in TIMINGS
        }
        aside = f"{name}.damaged-{damages.index(damage) + 1}"
        assert aside in caplog.text
        assert (first.folder / aside).exists()
        assert experiment.run(make_config()).was_done


def test_the_row_of_another_run_is_no_row_of_this_one(make_config, caplog):
    first = experiment.run(make_config())
    other = experiment.run(make_config(network=mlp(seed=5)))
    for name in (FILE, "model.onnx"):
        (first.folder / name).write_bytes((other.folder / name).read_bytes())
    again = experiment.run(make_config())
    assert not again.was_done
    assert again.row.accuracy == first.row.accuracy != other.row.accuracy
    assert "model.onnx is damaged (its checksum is not the one in SHA256SUMS)" in caplog.text
    for name in (*FILES, "SHA256SUMS"):
        (first.folder / name).write_bytes((other.folder / name).read_bytes())
    assert experiment.run(make_config()).row.accuracy == first.row.accuracy
    assert "metrics.csv is damaged (it is the row of another run)" in caplog.text


def test_a_row_of_other_versions_is_replaced(make_config, monkeypatch):
    first = experiment.run(make_config())
    newer = dict.fromkeys(experiment.versions(), "9")
    monkeypatch.setattr("kdbench.experiment.versions", lambda: newer)
    assert not experiment.run(make_config()).was_done
    assert first.row.kdbench_version != "9"


def test_a_student_does_not_train_its_own_baseline(make_config, monkeypatch):
    titles = []
    real = Fitting.__call__

    def counted(self, network, *given, **options):
        titles.append(self.title)
        return real(self, network, *given, **options)

    monkeypatch.setattr(Fitting, "__call__", counted)
    experiment.run(make_config("distill", distill(mlp(seed=1)), untrained=True))
    assert titles == ["mlp_tiny baseline seed 1", "mlp_tiny Distill seed 0"]


def test_the_test_split_is_read_once_by_each_file_and_a_network_is_exported_once(make_config, monkeypatch):
    from kdbench.evaluation import measure, predictions

    read_splits, exports = [], []
    predict, export = predictions.predict, ship.export
    monkeypatch.setattr(measure, "predictions", predictions.Predictions())
    monkeypatch.setattr(predictions, "predict", lambda *given: read_splits.append(len(given[1])) or predict(*given))
    monkeypatch.setattr(ship, "export", lambda *given: exports.append(given) or export(*given))
    experiment.run(make_config(untrained=True))
    assert (read_splits, len(exports)) == ([1000, 200], 1)  # test and validation
    experiment.run(make_config("quantize", QUANTIZE, untrained=True))
    assert (read_splits, len(exports)) == ([1000, 200] * 2, 1)


def test_nothing_but_the_final_evaluation_touches_the_test_split(make_config, monkeypatch):
    readers = set()
    plain = Splits.__getattribute__

    def watched(self, name):
        if name == "test":
            readers.add(sys._getframe(1).f_globals["__name__"])
        return plain(self, name)

    monkeypatch.setattr(Splits, "__getattribute__", watched)
    experiment.run(make_config("all", distill(WIDE), PRUNE, QUANTIZE))
    # The fingerprint hashes all three splits, and chooses nothing.
    assert readers <= {"kdbench.data.splits", "kdbench.evaluation.measure", "tests.conftest"}
    assert "kdbench.evaluation.measure" in readers


def test_a_row_says_what_auto_came_to_and_is_of_the_variant_of_runs_that_asked_for_it_by_name(make_config):
    auto = experiment.run(make_config(threads=None)).row
    by_name = experiment.run(make_config(threads=runtime.cores())).row
    assert auto.threads == by_name.threads == by_name.train_threads == runtime.cores()
    assert auto.variant_hash == by_name.variant_hash
    assert auto.config_hash != by_name.config_hash  # any number of threads is as good, or this one is asked for


def test_rows_of_edited_code_replace_the_old_ones_and_are_not_averaged_with_them(make_config, monkeypatch):
    before = experiment.run(make_config())
    monkeypatch.setattr(code, "_seen", {})
    monkeypatch.setattr(code, "parsed", lambda *_: ("edited", ()))
    monkeypatch.setattr(code, "_code_of", code._code_of.__wrapped__)
    after = experiment.run(make_config())
    assert after.folder == before.folder
    assert after.row.variant_hash != before.row.variant_hash
    assert after.row.network_hash != before.row.network_hash


def test_a_network_is_known_by_one_hash_in_all_its_treatments(make_config):
    made = [("baseline", []), ("quantize", [QUANTIZE])]
    rows = [experiment.run(make_config(name, *steps)).row for name, steps in made]
    taught = experiment.run(make_config("distill", distill(mlp()), network=mlp(widths=[8]))).row
    assert rows[0].network_hash == rows[1].network_hash == taught.teacher_hash
    assert len({row.variant_hash for row in rows}) == 2


def test_a_teacher_of_the_same_class_that_was_shaped_does_not_change_what_its_student_is(make_config):
    shaped = experiment.run(make_config("factorize", FACTORIZE, network=mlp(widths=[16])))
    plain = experiment.run(make_config())
    given = network_in(shaped.folder, "compress.teacher")
    taught = experiment.run(make_config("distill", distill(given)))
    assert taught.row.network_hash == plain.row.network_hash


def test_a_student_is_measured_beside_its_teacher(make_config):
    teacher = WIDE
    row = experiment.run(make_config("distill", distill(teacher))).row
    alone = experiment.run(make_config(network=teacher)).row
    assert (row.teacher_seed, row.teacher_accuracy) == (1, alone.accuracy)
    assert row.teacher_size_bytes == alone.size_bytes
    assert row.teacher_train_seconds == alone.train_seconds


@dataclass(frozen=True)
class Untrained(NetworkStep):
    from_scratch = True

    def __call__(self, model, task):
        return copy.deepcopy(model)


def test_a_student_is_as_large_as_the_same_network_alone(make_config):
    # Batch norm matters here: before any training its biases are zero, and the exporter leaves them out.
    network = replace(mlp(), model=shipped("cnn_simple"))
    student = experiment.run(make_config("distill", distill(mlp(seed=1)), network=network)).row
    alone = experiment.run(make_config(network=network)).row
    assert student.size_bytes == student.baseline_size_bytes == alone.size_bytes


def test_a_method_from_scratch_without_a_teacher_is_compared_with_its_trained_baseline(make_config):
    row = experiment.run(make_config("untrained", {"_target_": "tests.test_experiment.Untrained"})).row
    baseline = experiment.run(make_config()).row
    assert row.agreement < 1
    assert row.errors > baseline.errors
    assert row.size_bytes == row.baseline_size_bytes == baseline.size_bytes


def test_impossible_sizes_are_found_before_the_teacher_is_trained(make_config, monkeypatch):
    monkeypatch.setattr("kdbench.training.fitting.fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(BadSetting, match=r"model\.widths"):
        experiment.run(make_config("distill", distill(mlp(seed=1)), network=mlp(widths=[0])))


HINT = {"_target_": "kdbench.compress.distill.hints.Hint", "epochs": 1}
MAPS = {"_target_": "kdbench.compress.distill.attention.Attention", "beta": 1}
OTHER_CLASS = {"_target_": "kdbench.compress.distill.adjust_bias.AdjustBias", "classes": ["ten"]}
BY_ONE = {
    "_target_": "kdbench.compress.distill.decoupled.Decoupled",
    **{"temperature": 4.0, "target": 1.0, "others": 8.0},
}
NOWHERE = StepSpec(HINT | {"student_layer": "nowhere"}, (mlp(seed=1),))


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([NOWHERE], "no layer nowhere"),
        ([StepSpec(MAPS, (mlp(seed=1),))], "choose cnn or resnet"),
        ([StepSpec(BY_ONE, (mlp(seed=1), mlp(seed=2)))], "several teachers, but its method from one"),
        ([StepSpec(DISTILL | {"teacher_weights": [1, 2]}, (mlp(seed=1),))], "are not 1, one a teacher"),
        ([distill(mlp(seed=1)), StepSpec(OTHER_CLASS)], "ten is no class"),
        ([distill(mlp(seed=1), mlp(2, NOWHERE))], "no layer nowhere"),  # of a teacher's own teaching
    ],
)
@pytest.mark.parametrize("together", [(), (0, 1)])
def test_what_a_method_refuses_it_refuses_before_anything_is_trained(make_config, monkeypatch, steps, why, together):
    monkeypatch.setattr("kdbench.training.fitting.fit", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr("kdbench.training.together.fit_all", lambda *_, **__: pytest.fail("trained"))
    config = make_config("refused", *steps, untrained=True, together=together)
    with pytest.raises(BadSetting, match=why):
        experiment.run(config)


@dataclass(frozen=True)
class Doubled(NetworkStep):
    """A network with other layers, which no check before it is made can know."""

    def __call__(self, model, task):
        return self.architecture(model, {})

    def architecture(self, model, shapes):
        doubled = copy.deepcopy(model)
        doubled[1] = nn.Sequential(doubled[1], nn.Identity())
        return doubled


def test_layers_that_a_step_before_it_makes_may_be_named(make_config):
    steps = [StepSpec({"_target_": "tests.test_experiment.Doubled"})]
    named = {"student_layer": "0.1", "teacher_layer": "1"}
    similar = {"_target_": "kdbench.compress.distill.similarity.Similarity", **named}
    row = experiment.run(make_config("doubled", *steps, StepSpec(similar, (WIDE,)))).row
    assert row.errors < 1000


def test_a_run_that_is_cut_off_leaves_the_row_and_the_model_of_the_one_before(make_config, monkeypatch):
    first = experiment.run(make_config())
    monkeypatch.setattr("kdbench.experiment.measure", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        experiment.run(make_config(again=True))
    assert experiment.run(make_config()).row == first.row


def test_a_new_model_never_stands_beside_an_old_row(make_config, monkeypatch):
    first = experiment.run(make_config())
    replace_file = os.replace
    monkeypatch.setattr(os, "replace", lambda draft, path: 1 / 0 if path.name == FILE else replace_file(draft, path))
    monkeypatch.setattr(code, "_seen", {})
    monkeypatch.setattr(code, "parsed", lambda *_: ("edited", ()))
    monkeypatch.setattr(code, "_code_of", code._code_of.__wrapped__)
    monkeypatch.setattr("kdbench.artifact.export.bare", lambda file: file)  # another file
    with pytest.raises(ZeroDivisionError):
        experiment.run(make_config())
    assert not (first.folder / FILE).exists()


def test_a_network_that_gives_one_class_is_a_failure_and_the_next_try_fails_alike(make_config):
    config = make_config("prune", PRUNE | {"sparsity": 0.9999, "finetune_epochs": 0})
    for _ in range(2):
        with pytest.raises(Collapsed, match="the same class to every test image"):
            experiment.run(config)
    assert not list(config.outputs.rglob(FILE))


def test_a_training_that_ends_in_one_class_is_a_failure(make_config):
    config = make_config(network=mlp(lr=1e-9, weight_decay=0.0, widths=[1], epochs=1))
    with pytest.raises(Collapsed, match="predicts one class for every image"):
        experiment.run(config)


def test_a_run_that_diverges_writes_no_row(make_config):
    config = make_config(network=mlp(lr=1e30))
    with pytest.raises(NotFinite):
        experiment.run(config)
    assert not list(config.outputs.rglob(FILE))
    [log] = config.outputs.rglob("run.log")
    assert "NotFinite" in log.read_text()


def test_bad_knobs_are_found_before_anything_is_trained_or_written(make_config):
    config = make_config("prune", PRUNE | {"sparsity": 1.5}, untrained=True)
    with pytest.raises(BadSetting, match=r"compress\.sparsity=1\.5"):
        experiment.run(config)
    assert not config.outputs.exists()


def test_given_weights_that_a_method_would_only_pass_on_are_no_run_of_it(make_config, tmp_path):
    given = replace(mlp(epochs=0), weights=tmp_path / "w.pt")
    with pytest.raises(BadSetting, match=r"train\.epochs=0 leaves nothing for Distill to train"):
        experiment.run(make_config("distill", distill(), network=given))
    with pytest.raises(BadSetting, match=r"compress\.epochs=0 leaves nothing for Distill to train"):
        experiment.run(make_config("distill", StepSpec(DISTILL | {"epochs": 0}, (WIDE,))))


def test_what_a_run_leaves_teaches_and_is_taken_as_it_is_or_trained_on(make_config, tmp_path):
    first = experiment.run(make_config("prune", PRUNE))
    assert (first.row.origin, first.row.weights) == ("trained", None)
    teacher = network_in(first.folder, "compress.teacher")
    given = replace(mlp(epochs=0), weights=weights_in(first.folder, "weights"))
    as_is = experiment.run(make_config(network=given)).row
    assert as_is.origin == "given"
    for column in ("accuracy", "nll", "ece", "val_accuracy", "nonzero_parameters", "artifact_sha256"):
        assert getattr(as_is, column) == getattr(first.row, column), column
    assert (as_is.train_seconds, as_is.weights) == (
        0,
        f"{first.folder.name}:{checksum(given.weights.read_bytes())[:8]}",
    )
    taught = experiment.run(make_config("distill", distill(teacher))).row
    assert (taught.teacher, taught.teacher_accuracy) == ("mlp_tiny-prune", first.row.accuracy)
    assert (taught.teacher_train_seconds, taught.teacher_seed) == (None, 0)
    assert f"teacher.weights={as_is.weights}" in taught.teacher_settings.split()
    tuned = experiment.run(make_config(network=replace(mlp(epochs=1), weights=given.weights))).row
    assert tuned.origin == "fine-tuned"


@dataclass(frozen=True)
class Squared(NetworkStep):
    """Puts a square where the network had a ReLU: other layers, but none of another shape."""

    def __call__(self, model: nn.Module, task) -> nn.Module:
        return self.architecture(model, {})

    def architecture(self, model: nn.Module, shapes) -> nn.Module:
        squared = copy.deepcopy(model)
        for position, layer in enumerate(squared.model):
            if isinstance(layer, nn.ReLU):
                squared.model[position] = Square()
        return squared


class Square(nn.Module):
    def forward(self, values):
        return values * values


class Silent(Squared):
    """Changes what the network computes, and does not say so."""

    architecture = NetworkStep.architecture

    def __call__(self, model: nn.Module, task) -> nn.Module:
        return Squared.architecture(self, model, {})


def test_a_step_that_changes_more_than_weights_has_to_say_so(make_config):
    with pytest.raises(TypeError, match="changes more than weights, so it must define `architecture` too"):
        experiment.run(make_config("mine", {"_target_": "tests.test_experiment.Silent"}))


def test_what_a_later_run_put_there_is_not_taken_for_one_s_own(make_config, monkeypatch):
    result = experiment.run(make_config())
    assert result.artifact(np.zeros((1, 28, 28), np.float32)).shape == (1, 10)
    for change in ({"artifact_sha256": "0" * 64}, {"code_hash": "0" * 16}):
        other = replace(result, row=replace(result.row, **change))
        with pytest.raises(BadSetting, match=r"later run of other code|is another now"):
            _ = other.network


SQUARED = {"_target_": "tests.test_experiment.Squared"}


@pytest.mark.parametrize("steps", [[FACTORIZE], [FACTORIZE, FACTORIZE | {"keep": 0.8}], [SQUARED, FACTORIZE]])
def test_layers_of_other_shapes_than_those_of_the_model_teach_and_go_on_too(make_config, steps):
    first = experiment.run(make_config("mine", *steps))
    given = replace(mlp(epochs=0), weights=weights_in(first.folder, "weights"))
    again = experiment.run(make_config(network=given))
    assert (again.row.errors, again.row.parameters) == (first.row.errors, first.row.parameters)
    assert [one["method"] for one in shaped_by(again.folder / WEIGHTS)] == steps  # what shaped it is handed on
    taught = experiment.run(make_config("distill", distill(network_in(again.folder, "compress.teacher")))).row
    assert taught.teacher_accuracy == first.row.accuracy
    images = torch.rand(20, 1, 28, 28)
    before = torch.get_rng_state()
    with torch.no_grad():
        assert np.allclose(first.network(images).numpy(), first.artifact(images.numpy()), atol=1e-3)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_code_that_shaped_given_weights_decides_the_row_and_the_key(make_config, monkeypatch):
    first = experiment.run(make_config("mine", SQUARED))
    given = replace(mlp(epochs=0), weights=weights_in(first.folder, "weights"))
    hashes = []
    for seen in (shaped_by, lambda weights: []):
        monkeypatch.setattr(identity, "shaped_by", seen)
        config = identity.identified(make_config(network=given))
        hashes.append((config.code["row"], str(identity.of_network(given))))
    assert hashes[0][0] != hashes[1][0]
    assert "tests.test_experiment.Squared" in hashes[0][1]


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ({"method": {"_target_": "kdbench.models.mlp.MLP", "widths": [3]}, "shapes": {}}, "is no method of compr"),
        ({"method": {"_target_": "os.system"}, "shapes": {}}, "is not part of kdbench"),
        ({"method": FACTORIZE, "shapes": {"1.1.0.weight": []}}, "Factorize cannot make the layers that it holds"),
        ({"method": FACTORIZE, "shapes": {"1.1.0.weight": [2**40, 0]}}, "they are too large"),
        ({"method": FACTORIZE, "shapes": {"1.1.0.weight": ["x"]}}, "Factorize cannot make the layers"),
    ],
)
def test_a_file_of_anyone_that_says_what_shaped_it_is_no_way_in(make_config, tmp_path, one, said):
    network = build(mlp().model, 0, (1, 28, 28), 10, ((0.4,), (0.3,)))
    (tmp_path / "w").write_bytes(written(network, shaped_by=[one]))
    with pytest.raises(BadSetting, match=said) as error:
        experiment.run(make_config(network=replace(mlp(epochs=0), weights=tmp_path / "w")))
    assert "\n" not in str(error.value)


def test_weights_of_a_quantized_run_are_said_to_be_those_before(make_config, caplog):
    folder = experiment.run(make_config("quantize", QUANTIZE)).folder
    given = replace(mlp(epochs=0), weights=weights_in(folder, "weights"))
    row = experiment.run(make_config(network=given)).row
    assert f"weights={folder.name}: taken as they were before DynamicInt8" in caplog.text
    assert row.weights.startswith(f"{folder.name}:")


def test_identity_of_what_a_run_left_is_by_content_wherever_it_lies(make_config, tmp_path):
    folder = experiment.run(make_config()).folder
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    hashes = {
        identity.identified(make_config("distill", distill(network_in(place, "compress.teacher")))).hash
        for place in (folder, moved)
    }
    assert len(hashes) == 1


def test_the_weights_of_a_quantized_run_are_those_before_and_say_so(make_config):
    folder = experiment.run(make_config("quantize", QUANTIZE)).folder
    assert file_steps(folder / WEIGHTS) == "DynamicInt8"
    plain = experiment.run(make_config()).folder
    tensors, before = load_file(folder / WEIGHTS), load_file(plain / WEIGHTS)
    assert tensors.keys() == before.keys()
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_a_run_folder_without_weights_of_an_earlier_version_is_still_whole(make_config):
    folder = experiment.run(make_config()).folder
    kept = {name: (folder / name).read_bytes() for name in FILES if name != WEIGHTS}
    (folder / WEIGHTS).unlink()
    with pytest.raises(DamagedFile, match="is missing"):
        read_whole(folder)
    (folder / SUMS).write_bytes(sums(kept))
    assert read_whole(folder).model == "mlp_tiny"
    assert main(["verify", str(folder)]) == 0


def test_steps_out_of_order_are_refused(make_config):
    with pytest.raises(BadSetting, match="GlobalMagnitude changes a network, but DynamicInt8 before it"):
        experiment.run(make_config("wrong", QUANTIZE, PRUNE))
    quantized = replace(mlp(seed=1), steps=(StepSpec(QUANTIZE),))
    with pytest.raises(BadSetting, match="DynamicInt8 makes a file of mlp_tiny, which cannot teach"):
        experiment.run(make_config("wrong", distill(quantized)))


def test_seeds_trained_at_once_give_the_rows_that_each_would_give_alone(make_config, tmp_path, monkeypatch):
    def config(seed: int, **changes):
        steps = [StepSpec(PRUNE), distill(mlp(seed=seed + 1, widths=[32]))]  # a baseline before them
        return make_config("mine", *steps, network=mlp(seed=seed), **changes)

    alone = [experiment.run(config(seed, outputs=tmp_path / "alone")).row for seed in (0, 3)]
    first = experiment.run(config(0, seeds_together="always"), seeds=[0, 3]).row
    monkeypatch.setattr("kdbench.training.fitting.fit", lambda *_, **__: pytest.fail("trained again"))
    second = experiment.run(config(3, seeds_together="always"), seeds=[0, 3]).row
    for own, together in zip(alone, [first, second], strict=True):
        # They agree up to rounding, and are told apart.
        assert together.config_hash != own.config_hash
        assert together.variant_hash != own.variant_hash
        assert (together.seeds_together, own.seeds_together) == (2, 1)
        assert abs(together.errors - own.errors) <= 2  # of 1,000: equal up to rounding
        assert together.nonzero_parameters == own.nonzero_parameters


class Features(Criterion):
    """Reads a layer, which only a network alone has."""

    layers = ("1",)

    def __call__(self, output, batch):
        return cross_entropy(output.logits, batch.labels) + output.features["1"].pow(2).mean()


@dataclass(frozen=True)
class Reading(NetworkStep):
    from_scratch = True

    def __call__(self, model, task):
        network = copy.deepcopy(model)
        task.fit(network, Features(), epochs=1)
        return network


def test_a_row_says_how_many_seeds_were_really_trained_as_one(make_config, caplog):
    caplog.set_level("WARNING", logger="kdbench")
    shared = distill(replace(WIDE, seed_is_fixed=True))  # a teacher that all lanes want at the same time
    reading = {"_target_": "tests.test_experiment.Reading"}
    for steps, expected in (([shared], 2), ([reading], 1)):
        config = make_config("mine", *steps, seeds_together="always")
        assert experiment.run(config, seeds=[0, 1]).row.seeds_together == expected
    assert caplog.records == []


def test_seeds_are_trained_at_once_only_where_it_pays_or_is_asked_for(make_config):
    asked = {choice: make_config(seeds_together=choice) for choice in ("auto", "always", "never")}
    assert [asked[choice].trains_seeds_together for choice in asked] == [False, True, False]
    assert replace(asked["auto"], device="cuda").trains_seeds_together
    assert not replace(asked["never"], device="cuda").trains_seeds_together
    # What was asked for decides nothing; what came of it does.
    assert len({config.hash for config in asked.values()}) == 1
    assert replace(asked["always"], together=(0, 1)).hash != asked["always"].hash


def test_what_cannot_be_trained_at_once_is_trained_alone_and_said(make_config, monkeypatch, caplog):
    monkeypatch.setattr("kdbench.training.together.fit_all", lambda *_: 1 / 0)
    caplog.set_level("WARNING", logger="kdbench")
    row = experiment.run(make_config(seeds_together="always", untrained=True), seeds=[0, 1]).row
    assert row.accuracy > 0.2
    assert row.seeds_together == 1
    assert [record.message.split(" could")[0] for record in caplog.records] == ["seed 0", "seed 1"]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(144)], ids=["Ctrl-C", "the queue it runs in"])
def test_a_run_that_is_ended_from_outside_was_interrupted_and_did_not_fail(make_config, monkeypatch, end):
    def ended(*_):
        raise end

    monkeypatch.setattr("kdbench.networks.maker.Maker.make", ended)
    config = make_config()
    with pytest.raises(type(end)):
        experiment.run(config)
    [log] = config.outputs.rglob("run.log")
    assert log.read_text().endswith(" INFO interrupted\n")
    assert "Traceback" not in log.read_text()
