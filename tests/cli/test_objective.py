"""A run returns its objective, so that sweepers of Hydra's that choose by it can be used."""

import math
import sys
import types

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

import hydra_plugins
from kdbench.cli.main import main

RETURNED: list[float] = []
TINY = ["data=mnist_5k", "model=mlp_simple", "model.widths=[16]", "train.epochs=1", "threads=1"]


class OneByOne(Sweeper):
    """Asks for one run after the other, as sweepers do that choose the next by the last."""

    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        for number, lr in enumerate((0.001, 0.01)):
            (done,) = self.launcher.launch([[*arguments, f"train.lr={lr}"]], initial_job_idx=number)
            RETURNED.append(done.return_value)


@pytest.fixture
def one_by_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RETURNED.clear()
    module = types.ModuleType("hydra_plugins.one_by_one")
    module.OneByOne = OneByOne
    monkeypatch.setattr(hydra_plugins, "one_by_one", module, raising=False)
    monkeypatch.setitem(sys.modules, "hydra_plugins.one_by_one", module)
    monkeypatch.setattr(OneByOne, "__module__", "hydra_plugins.one_by_one")  # where Hydra wants plugins to be
    Plugins.instance().register(OneByOne)
    node = {"_target_": "hydra_plugins.one_by_one.OneByOne"}
    ConfigStore.instance().store("one_by_one", node, group="hydra/sweeper", provider="test")


def test_the_objective_is_returned(one_by_one, capsys):
    assert main(["run", "-m", "hydra/sweeper=one_by_one", "objective=val_accuracy", *TINY]) == 0
    assert len(set(RETURNED)) == 2
    assert all(0 < value < 1 for value in RETURNED)
    assert "train.lr=0.001" in capsys.readouterr().out  # the table


@pytest.mark.parametrize(
    ("typed", "message"),
    [([], "OneByOne chooses runs by what they return: type objective=val_accuracy, or another column"),
     (["objective=val_accuracy", "hydra/launcher=joblib"], "OneByOne does its runs in its own process: leave")],
)  # fmt: skip
def test_a_sweeper_that_cannot_know_how_runs_end_is_refused_in_one_line(one_by_one, typed, message, capsys):
    assert main(["run", "-m", "hydra/sweeper=one_by_one", *typed, *TINY]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert RETURNED == []


@pytest.mark.parametrize(
    ("objective", "message"),
    [("val_acuracy", "objective=val_acuracy is no column of numbers: did you mean 'val_accuracy'?"),
     ("agreement", "objective=agreement is empty in this row: choose another column")],
)  # fmt: skip
def test_what_is_none_is_one_line(one_by_one, objective, message, capsys):
    assert main(["run", "-m", "hydra/sweeper=one_by_one", f"objective={objective}", *TINY]) == 1
    err = capsys.readouterr().err
    assert err.count(message) == 1
    assert "Error executing job" not in err
    assert all(map(math.isnan, RETURNED))


def test_alone_it_changes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "objective=val_accuracy", *TINY]) == 0
    assert main(["run", *TINY]) == 0
    assert "was done already" in capsys.readouterr().out
