"""No figure of other code, other files or another machine is ever served, and none is called verified."""

import copy
import sys
import textwrap
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from kdbench import experiment
from kdbench.cli.main import main
from kdbench.compress.distill import soft_targets
from kdbench.compress.step import NetworkStep
from kdbench.evaluation import accuracy
from kdbench.settings import code, own_folder
from kdbench.settings.network import StepSpec
from kdbench.training.fitting import Fitting
from tests.conftest import PRUNE, QUANTIZE, distill, mlp


@pytest.fixture
def trainings(monkeypatch) -> list[str]:
    """The titles of all trainings that really happen."""
    titles = []
    real = Fitting.__call__
    monkeypatch.setattr(Fitting, "__call__", lambda own, *a, **k: titles.append(own.title) or real(own, *a, **k))
    return titles


def test_an_edited_loss_is_trained_anew_and_the_old_row_is_not_called_verified(
    make_config, edited, monkeypatch, trainings, capsys
):
    config = make_config("distill", distill())
    first = experiment.run(config)
    assert trainings == []  # it lay in the store

    def without_factor(student, soft, labels, temperature, alpha):
        return soft_targets.cross_entropy(student, labels)

    edited("kdbench.compress.distill.soft_targets", "temperature**2 *", "")
    monkeypatch.setattr(soft_targets, "distillation", without_factor)
    assert main(["verify", str(first.folder)]) == 1
    out = capsys.readouterr().out
    assert "differs: the code that decides the row is another now" in out
    assert "verified" not in out
    again = experiment.run(config)
    assert trainings == ["mlp_tiny Distill seed 0"]
    assert not again.was_done
    assert (again.folder, again.row.code_hash != first.row.code_hash) == (first.folder, True)
    assert again.row.nll != first.row.nll
    other_seed = experiment.run(replace(config, network=config.network.with_seed(7)))
    assert other_seed.row.variant_hash == again.row.variant_hash != first.row.variant_hash


def test_a_metric_that_was_edited_and_reverted_leaves_no_wrong_figure(make_config, edited, monkeypatch, trainings):
    first = experiment.run(make_config())
    real = accuracy.ece
    edited("kdbench.evaluation.accuracy", "bins: int = 15", "bins: int = 10")
    monkeypatch.setattr(accuracy, "ece", lambda logits, labels: real(logits, labels, bins=10))
    wrong = experiment.run(make_config())
    edited("kdbench.evaluation.accuracy", "bins: int = 10", "bins: int = 15")
    monkeypatch.setattr(accuracy, "ece", real)
    right = experiment.run(make_config())
    assert wrong.row.ece != first.row.ece == right.row.ece
    assert trainings == []  # measuring anew is all that a metric needs


def test_the_numbers_that_a_named_normalisation_stands_for_decide_weights(make_config, edited, trainings):
    experiment.run(make_config())
    edited("kdbench.settings.normalisation", "0.485, 0.456", "0.1, 0.456")
    assert not experiment.run(make_config()).was_done
    assert trainings == ["mlp_tiny baseline seed 0"]


def test_a_loader_that_was_rewritten_is_the_same_data(make_config, edited, trainings):
    rows = [experiment.run(make_config(name, *steps)).row for name, steps in (("baseline", ()), ("prune", [PRUNE]))]
    edited("kdbench.data.mnist_5k", "everything", "all_of_them")
    edited("kdbench.data.download", "CONNECT_SECONDS = 10", "CONNECT_SECONDS = 11")
    for name, steps, row in (("baseline", (), rows[0]), ("prune", [PRUNE], rows[1])):
        again = experiment.run(make_config(name, *steps))
        assert again.was_done
        assert again.row.network_hash == row.network_hash
    assert trainings == []


def test_the_weights_of_another_processor_are_not_carried_under_this_one_s_name(make_config, monkeypatch, trainings):
    first = experiment.run(make_config())
    other = "AVX512" if torch.backends.cpu.get_cpu_capability() == "AVX2" else "AVX2"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: other)
    there = experiment.run(make_config())
    assert not there.was_done
    assert trainings == ["mlp_tiny baseline seed 0"]
    assert (first.row.cpu_capability, there.row.cpu_capability) != (other, other)
    assert there.row.cpu_capability == other
    # Other bits, but the same variant: accuracies are averaged and paired.
    assert (there.row.variant_hash, there.row.network_hash) == (first.row.variant_hash, first.row.network_hash)


def test_a_weights_file_that_was_overwritten_is_read_again(make_config, tmp_path):
    path = tmp_path / "given.pt"

    def given(seed: int) -> experiment.Result:
        torch.save(experiment_network(make_config, seed), path)
        return experiment.run(make_config(network=replace(mlp(epochs=0), weights=path)))

    first, second, again = given(0), given(1), given(0)
    assert not second.was_done
    assert second.row.artifact_sha256 != first.row.artifact_sha256
    assert (first.row.weights[:9], first.row.weights != second.row.weights) == ("given.pt:", True)
    assert again.was_done
    assert again.row == first.row


def experiment_network(make_config, seed: int) -> dict[str, torch.Tensor]:
    from kdbench.networks.maker import Maker
    from kdbench.storage.store import Store
    from kdbench.training import runtime
    from tests.conftest import load_some

    config = make_config()
    maker = Maker(load_some(None, None), runtime.resolve("cpu", "fp32", None), Store(config.outputs / "store"))
    return maker.make(mlp(seed=seed)).network.state_dict()


def test_training_anew_can_be_forced_and_makes_files_and_logits_anew_too(make_config, trainings):
    first = experiment.run(make_config("distill", distill()))
    assert trainings == []
    entries = {path.name: path.stat().st_mtime_ns for path in (first.folder.parents[2] / "store").glob("[0-9a-f]*")}
    again = experiment.run(make_config("distill", distill(), retrain=True))
    assert trainings == ["mlp_tiny baseline seed 1", "mlp_tiny Distill seed 0"]
    assert again.row.artifact_sha256 == first.row.artifact_sha256
    newer = {path.name: path.stat().st_mtime_ns for path in (first.folder.parents[2] / "store").glob("[0-9a-f]*")}
    assert sum(newer[name] > entries[name] for name in entries) >= 5  # both networks, both files, the logits


@dataclass(frozen=True)
class Asking(NetworkStep):
    """Computes something before it fits anything."""

    threads: ClassVar[list[int]] = []

    def __call__(self, model, task):
        self.threads.append(torch.get_num_threads())
        return copy.deepcopy(model)


def test_a_step_that_computes_before_it_fits_does_so_under_the_threads_of_the_run(make_config):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        experiment.run(make_config("asking", {"_target_": "tests.test_stale_figures.Asking"}, threads=1))
    finally:
        torch.set_num_threads(before)
    assert Asking.threads == [1]


def test_a_quantized_network_is_never_that_of_an_older_helper(make_config, tmp_path, trainings):
    folder = tmp_path / "mine"
    folder.mkdir()
    own_folder.serve(folder)
    before = set(sys.modules)

    def write(activation: str) -> None:
        (folder / "blocks.py").write_text(f"from torch import nn\n\nAct = nn.{activation}\n")
        for name in set(sys.modules) - before:
            del sys.modules[name]
        code.forget()

    (folder / "net.py").write_text(
        textwrap.dedent(
            """
            from blocks import Act
            from torch import nn

            class Net(nn.Sequential):
                def __init__(self, shape, classes):
                    super().__init__(nn.Flatten(), nn.Linear(784, 8), Act(), nn.Linear(8, classes))
            """
        )
    )
    network = replace(mlp(), name="net", model={"_target_": "net.Net"})
    here = {"data": replace(make_config().data, loader={"_target_": "kdbench.data.mnist_5k.load"})}
    write("ReLU")
    relu = experiment.run(make_config(network=network, **here))
    write("Tanh")
    tanh = experiment.run(make_config("quantize", StepSpec(QUANTIZE), network=network, **here))
    write("ReLU")
    assert trainings == ["net baseline seed 0"] * 2
    assert relu.row.network_hash != tanh.row.network_hash
