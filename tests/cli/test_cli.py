"""What a person at the terminal sees: commands, messages, exit statuses."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from tests.conftest import make_row

from kdbench.cli.main import COMMANDS, main
from kdbench.errors import BadSetting, LockLost
from kdbench.results.collect import collect
from kdbench.results.row import write
from kdbench.settings import schema

QUICK = ["data=mnist_5k", "train.epochs=1", "model=mlp_simple"]


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_run_prints_one_line_and_writes_below_where_it_was_typed(capsys, tmp_path):
    assert main(["run", *QUICK]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "mnist_5k  mlp_simple (train.epochs=1)  baseline  seed 0" in out
    assert "outputs/runs/mnist_5k/mlp_simple-baseline-seed0-" in out
    assert err == ""
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}
    assert {path.name for path in Path("outputs").iterdir()} == {"runs", "store", "ledger", "locks"}


def test_outputs_moves_everything(tmp_path):
    assert main(["run", *QUICK, "outputs=elsewhere/deep"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere"}


def test_the_home_of_the_user_may_be_abbreviated(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for number, typed in enumerate(["outputs=~/a", "outputs='~/a'"]):
        assert main(["run", *QUICK, typed, f"seed={number}"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert len(list(tmp_path.glob("home/a/runs/mnist_5k/*"))) == 2


def test_a_sweep_is_narrowed_by_what_is_typed_and_ends_with_the_table(capsys):
    assert main(["sweep", *QUICK, "compress=baseline,quantize", "seed=0,1"]) == 0
    out = capsys.readouterr().out
    rows, _ = collect(Path("outputs"))
    assert {(row.compress, row.seed) for row in rows} == {(c, s) for c in ("baseline", "quantize") for s in (0, 1)}
    table = out[out.index("mnist_5k, 1000 test images, 2 seeds") :]
    assert "mlp_simple  quantize" in table
    assert "±" in table


@pytest.mark.parametrize("on", [[], ["--on", "joblib", "--workers", "1"]], ids=["here", "on joblib"])
def test_what_is_typed_twice_is_done_and_shown_once(capsys, on):
    assert main(["sweep", *QUICK, "compress=baseline,baseline", "seed=0,0", *on]) == 0
    assert capsys.readouterr().out.count("mnist_5k  mlp_simple (train.epochs=1)  baseline") == 1


def test_the_bar_of_a_sweep_says_what_is_done_where_nothing_else_moves(monkeypatch, capsys):
    from kdbench.cli import invocation

    said = []
    monkeypatch.setattr(invocation.tqdm, "set_postfix_str", lambda bar, text: said.append(text))
    assert main(["sweep", *QUICK, "compress=baseline,quantize"]) == 0
    stages = ("loading", "training", "exporting", "measuring", "timing")
    assert said == [*(f"{stage} mlp_simple {c} seed 0" for c in ("baseline", "quantize") for stage in stages), ""]
    assert capsys.readouterr().err == ""  # not at a terminal


def test_a_sweep_without_narrowing_is_all_36_variants(monkeypatch):
    from kdbench.cli import hydra_app

    seen = []
    monkeypatch.setattr(hydra_app, "launch", lambda arguments, typed: seen.append((arguments, typed)) or 0)
    assert main(["sweep", "seed=1"]) == 0
    every = ["--multirun", "model=glob([cnn_*,mlp_*,resnet_*])", "compress=baseline,quantize,prune,distill", "seed=1"]
    assert seen == [(every, ["sweep", "seed=1"])]


def test_what_was_disturbed_while_it_was_timed_is_timed_again_at_the_end_of_the_sweep(capsys, monkeypatch):
    from kdbench.evaluation import speed

    real, tries = speed.timed, []
    disturbed = 3  # both runs, and the first of them again

    def timed(*given):
        tries.append(1)
        return speed.untimed(0.5) if len(tries) <= disturbed else real(*given)

    monkeypatch.setattr(speed, "timed", timed)
    monkeypatch.setattr(speed, "TRIES", 1)
    assert main(["run", "-m", *QUICK, "seed=0,1"]) == 0
    out, err = capsys.readouterr()
    assert out.count("not timed") == 2  # and not once more for the one that is timed in vain
    assert err.strip() == (
        "not timed: mlp_simple (train.epochs=1) baseline seed 0: other processes had the CPU too, so there are no "
        "times (the same command measures them)"
    )
    assert out.count("  baseline  ") == 1 + 3  # of the table, and of each measurement but the one in vain
    assert [row.timed for row in sorted(collect(Path("outputs"))[0], key=lambda row: row.seed)] == [False, True]
    assert main(["status", "outputs"]) == 0
    assert main(["run", "-m", *QUICK, "seed=0,1"]) == 0
    out, err = capsys.readouterr()
    assert (len(tries), err) == (5, "")
    assert all(row.timed for row in collect(Path("outputs"))[0])


def test_a_run_of_a_sweep_whose_lock_was_lost_is_left_to_who_has_it_and_taken_from_there(capsys, monkeypatch):
    from kdbench import experiment

    real, lost = experiment.run, [LockLost("the run: this process stood still")]

    def run(*given):
        if lost:
            raise lost.pop()
        return real(*given)

    monkeypatch.setattr(experiment, "run", run)
    assert main(["run", "-m", *QUICK, "compress=baseline,quantize"]) == 0
    assert "waiting for other processes, which do 1 of the runs" in capsys.readouterr().err
    lost.append(LockLost("the run: this process stood still"))
    assert main(["run", *QUICK]) == 1
    assert capsys.readouterr().err.strip() == "error: the run: this process stood still"


def test_variants_of_one_method_that_were_disturbed_are_all_timed_again(capsys, monkeypatch):
    from kdbench.evaluation import speed

    real, tries = speed.timed, []

    def timed(*given):
        tries.append(1)
        return speed.untimed(0.5) if len(tries) <= 2 else real(*given)

    monkeypatch.setattr(speed, "timed", timed)
    monkeypatch.setattr(speed, "TRIES", 1)
    pruned = ["compress=prune", "compress.finetune_epochs=0", "compress.sparsity=0.5,0.9"]
    assert main(["run", "-m", *QUICK, *pruned]) == 0
    out, _ = capsys.readouterr()
    assert all(row.timed for row in collect(Path("outputs"))[0])
    for sparsity in (0.5, 0.9):
        assert out.count(f"prune (finetune_epochs=0 sparsity={sparsity})  seed 0  |") == 2


def test_a_failing_job_is_reported_the_others_go_on_and_the_exit_says_so(capsys):
    # Flags may stand anywhere.
    arguments = ["run", *QUICK, "compress=prune", "compress.finetune_epochs=0", "-m", "compress.sparsity=0.5,2,0.9"]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert len(collect(Path("outputs"))[0]) == 2
    assert "compress.sparsity=2 is out of range" in err
    assert "1 of 3 runs failed" in err
    assert "Traceback" not in err + out


def test_a_cause_that_several_runs_share_is_said_when_it_comes_and_at_the_end(capsys):
    assert main(["run", "-m", *QUICK, "compress=prune", "compress.sparsity=2", "seed=0,1,2"]) == 1
    err = capsys.readouterr().err
    assert err.count("compress.sparsity=2 is out of range") == 1
    assert err.count(": the same as above\n") == 2
    assert err.endswith("\nall 3 runs failed, for the one reason above\n")
    assert main(["run", "-m", *QUICK, "compress=prune", "compress.sparsity=2,0.5", "seed=0,1"]) == 1
    err = capsys.readouterr().err
    assert err.count("compress.sparsity=2 is out of range") == 2
    alike = [line.strip() for line in err[err.index("2 of 4 runs failed:\n  compress.sparsity=2") :].splitlines()[2:]]
    assert [line.rpartition(" ")[2] for line in alike] == ["seed=0", "seed=1"]
    assert all(err.count(f"compress.sparsity=2 seed={seed}") == 2 for seed in range(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra/sweeper=optuna"], "hydra/sweeper=optuna is not installed: docs/scale.md says how"),
        (["model=cnn_dep"], "model=cnn_dep is unknown: did you mean 'cnn_deep'?"),
        (["compress=quantise"], "compress=quantise is unknown: did you mean 'quantize'?"),
        (["data=some/pictures"], "type data=image_folder data.root=some/pictures"),
        (["data=minst"], "data=minst is unknown: did you mean 'mnist'?"),
        (["teacher=cnn_deep"], "teacher is not a setting: did you mean compress.teacher or model.teacher?"),
        (["modle=cnn_deep"], "modle is not a setting: did you mean 'model'?"),
        (["train.epoch=3"], "train.epoch is not a setting: did you mean 'train.epochs'?"),
        (
            ["compress.sparsity=0.5"],
            "compress.sparsity is a setting of compress=deep_compression,prune,prune_distill_quantize,prune_gradual,",
        ),
        (["--frobnicate"], "unrecognized arguments: --frobnicate: see kdbench run --help"),
        (["--cfg", "everything"], "see kdbench run --help"),
        (["+compress.sparsity=0.5"], "compress.sparsity is not a setting"),
        (["outputs=a_file"], "a_file"),
        (["+train.foo=1"], "train.foo is not a setting"),
        (["+outputz=there"], "outputz is not a setting: did you mean 'outputs'?"),
        (["+model.depth=3"], "takes no depth: "),
        (["train.epochs=many"], "train.epochs=many is not a whole number"),
        (["train.lr=fast"], "train.lr=fast is not a number"),
        (["seed=x"], "seed=x is not a whole number"),
        (["seed=-1"], "seed=-1 is out of range"),
        (["train.epochs=-1"], "train.epochs=-1 is out of range: it takes a whole number of at least 0"),
        (
            ["compress=prune", "compress.sparsity=1"],
            "compress.sparsity=1 is out of range: it takes a number in [0, 1)",
        ),
        (["compress=prune", "compress.sparsity=lots"], "compress.sparsity=lots is not a number in [0, 1)"),
        (
            ["compress=distill", "compress.teacher=cnn_dep"],
            "compress.teacher=cnn_dep is unknown: did you mean 'cnn_deep'?",
        ),
        (["data=mnist", "data.fallback=mnst"], "data.fallback=mnst is unknown: did you mean"),
        (["model.widths=[0]"], "model.widths=0 is out of range"),
        (["model.widths=64"], "model.widths=64 is not a list of layer sizes"),
        (["device=tpu"], "device=tpu is unknown"),
        (["precision=fp8"], "precision=fp8 is unknown"),
        (["threads=0"], "threads=0 is out of range"),
        (["threads=100000"], "threads=100000 is out of range: it takes a whole number from 1 to "),
        (["compress=quantize", "+compress.teacher=cnn_deep"], "compress=quantize has no teacher"),
        (["epochs"], "'epochs' is not SETTING=VALUE"),
        (["outputs/"], "'outputs/' is not SETTING=VALUE"),
        (["~model"], "'~model' is not SETTING=VALUE"),
        (["~seed=0"], "~seed=0 takes away a setting that every run needs"),
        (["outputs="], "outputs= names no folder"),
        (["experiment=smoke"], "experiment is not chosen yet: type +experiment=smoke"),
        (["data=mnist_5k;rm"], "'data=mnist_5k;rm' cannot be read: type SETTING=VALUE, in quotes if need be"),
        (["seed=0,1"], "seed=0,1 is several values: -m makes a run for each"),
        (
            ["model.widths=8,9"],
            "model.widths=8,9 is no list: type 'model.widths=[8,9]', or -m 'model.widths=[8],[9]' for a run each",
        ),
        (
            ["compress=distill", "compress.teacher=cnn_deep,mlp_deep"],
            "several values: -m makes a run for each, 'compress.teacher=[cnn_deep,mlp_deep]' is an ensemble",
        ),
        (
            ["compress=attention", "compress.teacher=cnn_deep,mlp_deep"],
            "several values: -m makes a run for each\n",
        ),
        (["compress=distill", "compress.temperature=2,3"], "several values: -m makes a run for each\n"),
        (
            ["compress=prune,distill"],
            "several values: -m makes a run for each; one after the other is a YAML with steps",
        ),
        (
            ["compress=[prune,distill]"],
            "compress=[prune,distill] is no name: -m compress=prune,distill makes a run for each; one after the",
        ),
        (["-m", "compress=[prune,distill]"], "compress=[prune,distill] is no name: -m compress=prune,distill makes"),
        (["model=[cnn_deep]"], "model=[cnn_deep] is no name: type model=cnn_deep"),
        (["data=[mnist,mnist_5k]"], "data=[mnist,mnist_5k] is no name: -m data=mnist,mnist_5k makes a run for each"),
        (["compress={a:b}"], "compress={a:b} is no name: see kdbench ls"),
        (["compress=null"], "compress=null is unknown: choose from"),
        (["compress="], "compress= names no choice: see kdbench ls"),
        (["retrain=2"], "retrain=2 is not true or false"),
        (["again=yes"], "again=yes is not true or false"),
        (["data=image_folder", "data.skip_unreadable=2"], "data.skip_unreadable=2 is not true or false"),
        (["seed=range(3)"], "seed=range(3) is several values: -m makes a run for each"),
        (["-m", "again=true,1"], "again=true,1 is not true or false"),
        (
            ["compress=distill_adjust_bias", "compress.transfer.leave_out=[5]"],
            "compress.transfer.leave_out cannot be typed alone: type compress.transfer=... as a whole",
        ),
        (["model.widths={a:1}"], "model.widths={a:1}: its YAML has a list, such as [A,B]"),
        (["data.fallback=none"], "data.fallback=none is unknown: choose from null, cifar10"),
        (
            ["compress=distill", "compress.teacher=null"],
            "compress.teacher=null is unknown: choose from auto, self, cnn_deep",
        ),
        (
            ["-m", "compress=distill,baseline", "compress.teacher=mlp_simple"],
            "compress.teacher is a setting of compress=assistant,attention,contrastive,data_free,decoupled,deep_",
        ),
        (["+model=cnn_deep"], "model is chosen already: type model=cnn_deep, without +"),
        (["trust=[mine]"], "trust is not a setting"),
        (["model.depth=3"], "model.depth is not a setting: did you mean"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
        (["-m", "model=glob(vgg*)"], "no run is asked for: model=glob(vgg*) matches nothing"),
        (["outputs=/proc/nothing"], "/proc/nothing"),
        (["train.epochs="], "train.epochs"),
        (["+experiment=operating_points"], "is several sweeps: type kdbench sweep +experiment=operating_points"),
        (["model=[a"], "model=[a"),
        (["checkpoint_seconds=-1"], "checkpoint_seconds=-1.0 is out of range"),
        (["again=maybe"], "again=maybe is not true or false"),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(capsys, arguments, message, tmp_path):
    Path("a_file").touch()
    assert main(["run", "data=mnist_5k", "train=mlp", "model=mlp_simple", *arguments]) != 0
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("error: ")
    assert not list(tmp_path.rglob("metrics.csv"))


@pytest.mark.parametrize(
    ("kept", "several", "expected"),
    [
        ("compress=distill", "compress.teacher=cnn_simple,mlp_deep", {"-m": [1, 1], "list": [2]}),
        ("compress=distill_quantize", "compress.teacher=cnn_simple,mlp_deep", {"-m": [1, 1], "list": [2]}),
        ("compress=prune_distill_quantize", "compress.teacher=self,mlp_deep", {"-m": [1, 1], "list": [2]}),
        ("compress=attention", "compress.teacher=cnn_simple,cnn_deep", {"-m": [1, 1]}),
        ("compress=baseline", "model.widths=8,9", {"-m": [0, 0], "list": [0]}),
        ("seed=3", "data=mnist_5k,mnist", {"-m": [0, 0]}),
        ("seed=3", "compress=prune,distill", {"-m": [0, 1]}),
        ("seed=3", "compress=[prune,quantize]", {"-m": [0, 0]}),
    ],
)
def test_what_is_advised_instead_of_several_values_works(capsys, monkeypatch, kept, several, expected):
    from kdbench import experiment
    from kdbench.compress.order import split_steps
    from kdbench.errors import OutOfMemory

    teachers = []

    def run(config, *_, **__):
        teachers.append(len(split_steps(config.network)[0].teachers))
        raise OutOfMemory("understood")

    monkeypatch.setattr(experiment, "run", run)
    typed = ["run", "data=mnist_5k", "model=mlp_simple", kept]
    assert main([*typed, several]) == 1
    [advice] = capsys.readouterr().err.splitlines()
    name = several.partition("=")[0]
    ways = {"list": re.findall(rf"(?<!-m )'{name}=\[[^']*'", advice)}
    ways["-m"] = [f"-m {several}"] if "-m makes a run for each" in advice else re.findall(rf"-m '?{name}=\S+", advice)
    found = {}
    for kind, [way] in ((kind, way) for kind, way in ways.items() if way):
        teachers.clear()
        assert main([*typed, *shlex.split(way)]) == 1
        found[kind] = [*teachers]
    assert found == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot", "nowhere"], "error: there is no folder nowhere"),
        (["plot", "."], "error: there are no rows under ."),
        (["table", "nowhere"], "error: there is no folder nowhere"),
        (["plott"], "error: there is no command 'plott': did you mean 'plot'?"),
        (["plot", "--tp"], "error: unrecognized arguments: --tp: see kdbench plot --help"),
        (["table", "a", "b"], "error: unrecognized arguments: b: see kdbench table --help"),
        (["ls", "--config-dir", "nowhere"], "error: --config-dir nowhere: there is no such folder"),
        (["ls", "--all"], "error: unrecognized arguments: --all: see kdbench ls --help"),
        (["status", "nowhere"], "error: there is no folder nowhere"),
        (["status", "."], "error: nothing was started under .: kdbench sweep outputs=."),
        (["verify"], "error: the following arguments are required: RUN_FOLDER: see kdbench verify --help"),
    ],
)
def test_other_commands_refuse_bad_input_in_one_line(capsys, arguments, message):
    assert main(arguments) != 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert len(err.strip().splitlines()) == 1


def test_a_sweep_typed_again_or_with_more_does_only_what_is_missing(capsys, monkeypatch):
    assert main(["sweep", *QUICK, "compress=baseline,quantize"]) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("outputs").rglob("metrics.csv")}
    assert len(before) == 2
    capsys.readouterr()
    assert main(["sweep", *QUICK, "compress=baseline,quantize,prune", "seed=0,1"]) == 0
    assert capsys.readouterr().out.count("was done already") == 2
    after = {path: path.stat().st_mtime_ns for path in Path("outputs").rglob("metrics.csv")}
    assert len(after) == 6
    assert before.items() <= after.items()
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "2 done" in out
    assert "6 done" in out
    assert main(["run", *QUICK, "again=true"]) == 0
    assert "was done already" not in capsys.readouterr().out


def test_status_names_what_failed_and_the_command_that_finishes_it(capsys):
    typed = ["run", "-m", *QUICK, "train.lr=0.003,1e30"]
    assert main(typed) == 1
    capsys.readouterr()
    assert main(["status"]) == 1
    out = capsys.readouterr().out
    assert "1 done, 1 failed" in out
    assert "train.lr=1e+30: mlp_simple baseline seed 0 diverged in epoch 1" in out
    assert "what failed would fail again: change its settings" in out
    next(Path("outputs/runs/mnist_5k").glob("*/metrics.csv")).unlink()
    assert main(["status"]) == 1
    assert f"to finish it, type it again: kdbench {' '.join(typed)}\n" in capsys.readouterr().out


def test_status_knows_a_run_by_whatever_command_it_was_made(capsys):
    assert main(["run", *QUICK]) == 0
    assert main(["sweep", *QUICK, "compress=baseline", "seed=0"]) == 0
    [row] = Path("outputs/runs").rglob("metrics.csv")
    row.unlink()
    assert main(["run", *QUICK, "device=auto"]) == 0
    capsys.readouterr()
    assert main(["status"]) == 0
    assert capsys.readouterr().out.count("1 done") == 3


def test_a_command_all_of_whose_runs_were_refused_leaves_nothing(capsys):
    for typed in (["threads=100000"], ["-m", "threads=100000", "seed=0,1"], ["-m", "model.widths=0", "seed=0,1"]):
        assert main(["run", *QUICK, *typed]) == 1
    assert "all 2 runs failed, for the one reason above" in capsys.readouterr().err
    assert not Path("outputs/ledger").exists()
    assert main(["status"]) == 1
    assert "nothing was started" in capsys.readouterr().err


def test_a_run_that_was_refused_beside_one_that_was_not_is_listed_with_the_reason(capsys):
    assert main(["run", "-m", *QUICK, "model.widths=0,[8]"]) == 1
    capsys.readouterr()
    assert main(["status"]) == 1
    out = capsys.readouterr().out
    assert "1 done, 1 failed" in out
    assert "model.widths=0: model.widths=0 is not a list of layer sizes" in out


def test_a_command_is_written_down_before_it_is_done_and_then_a_refusal_is_too(capsys, monkeypatch):
    for typed in (["run", *QUICK], ["run", "-m", *QUICK, "seed=0,1"]):
        with monkeypatch.context() as cut:
            cut.setattr("kdbench.networks.maker.Maker.make", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            assert main(typed) == 130
        assert main(["status"]) == 1
        assert "missing" in capsys.readouterr().out
        with monkeypatch.context() as refusing:
            refusing.setattr("kdbench.experiment.split_steps", Mock(side_effect=BadSetting("not now")))
            assert main(typed) == 1
    capsys.readouterr()
    assert main(["status"]) == 1
    out = capsys.readouterr().out
    assert "1 failed" in out
    assert "2 failed" in out


def test_a_knob_that_all_swept_compressions_have_can_be_typed(capsys):
    several = ["-m", "compress=distill,distill_quantize", "compress.teacher=mlp_simple", "compress.alpha=0.5"]
    assert main(["run", *QUICK, "teacher_train.epochs=1", "model.widths=[8]", *several]) == 0
    rows, _ = collect(Path("outputs"))
    assert {(row.compress, row.teacher) for row in rows} == {
        ("distill", "mlp_simple"),
        ("distill_quantize", "mlp_simple"),
    }
    assert all("alpha=0.5" in row.settings for row in rows)


def test_the_seeds_of_each_variant_of_a_sweep_are_trained_at_once_if_asked(monkeypatch):
    from kdbench.training import together as meeting

    sizes = []
    real = meeting.fit_all
    monkeypatch.setattr(
        meeting, "fit_all", lambda learners, *rest: sizes.append(len(learners)) or real(learners, *rest)
    )
    monkeypatch.setattr("kdbench.training.fitting.fit", lambda *_, **__: pytest.fail("trained alone"))
    variants = ["model.widths=[8],[9]", "seed=0,4", "seeds_together=always"]
    assert main(["run", "-m", *QUICK, *variants]) == 0
    assert sizes == [2, 2]
    rows = collect(Path("outputs"))[0]
    assert sorted(row.seed for row in rows) == [0, 0, 4, 4]


def test_a_traceback_is_shown_to_those_who_ask(capsys, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(["run", "model=cnn_dep"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_data_that_cannot_be_had_are_replaced_with_a_warning_or_refused(capsys, monkeypatch):
    from kdbench.data.torchvision_import import torchvision

    # Port 9 of this machine: nobody listens there.
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    assert main(["run", "train.epochs=1", "model=mlp_simple"]) == 0
    out, err = capsys.readouterr()
    assert "mnist_5k  mlp_simple" in out
    assert "GOING ON WITH mnist_5k INSTEAD" in err
    assert err.splitlines()[-1] == "!! mnist could not be had: what was run above is mnist_5k, not mnist"
    [log] = Path("outputs").rglob("run.log")
    assert "mnist was asked for and could not be had" in log.read_text()
    assert {row.dataset for row in collect(Path("outputs"))[0]} == {"mnist_5k"}
    assert main(["run", "train.epochs=1", "model=mlp_simple", "data.fallback=null", "outputs=strict"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "data.root=FOLDER" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("data", ["mnist", "kmnist", "cifar100", "emnist_letters", "mnist_5k"])
def test_a_folder_that_does_not_hold_the_data_is_one_line_and_nothing_else_is_run(capsys, data):
    assert main(["run", "model=mlp_simple", f"data={data}", "data.root=nothing"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: data.root=")
    assert len(err.strip().splitlines()) == 1
    assert not Path("outputs/runs").exists()


def test_a_folder_that_cannot_be_written_is_one_line(capsys, tmp_path):
    write(make_row(), tmp_path)
    Path("a_file").touch()
    assert main(["plot", ".", "--to", "a_file/charts"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "a_file" in err
    assert len(err.strip().splitlines()) == 1


def test_an_altered_data_file_stops_the_run_and_is_named(capsys):
    Path("mine").mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        Path(f"mine/{name}-ubyte").write_bytes(b"\x00\x00\x08\x03")
    assert main(["run", "model=mlp_simple", "data.root=mine"]) == 1
    err = capsys.readouterr().err
    assert "train-images-idx3-ubyte is truncated or altered" in err
    assert len(err.strip().splitlines()) == 1


def test_a_teacher_is_the_one_of_the_yaml_or_the_one_that_is_named(capsys):
    quick = ["train.epochs=1", "teacher_train.epochs=1", "data=mnist_5k", "compress=distill"]
    assert main(["run", *quick, "model=mlp_simple", "model.widths=[8]", "compress.teacher=mlp_simple"]) == 0
    [row] = collect(Path("outputs"))[0]
    assert row.teacher == "mlp_simple"
    assert row.teacher_size_bytes > 4 * row.size_bytes  # the teacher is not the narrowed student


def test_help_and_version_of_every_command(capsys, monkeypatch):
    import kdbench

    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kdbench {kdbench.__version__}\n"
    assert main(["--help"]) == main([]) == 0
    overview = capsys.readouterr().out
    for command in [command.__name__.rpartition(".")[2] for command in COMMANDS]:
        assert f"\n    {command} " in overview
        with contextlib.suppress(SystemExit):  # argparse prints its help and leaves
            assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"kdbench {command}" in text
        assert max(map(len, text.splitlines())) <= 80


def test_every_command_and_setting_stands_in_the_readme_and_in_the_help(capsys):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n    kdbench {command.__name__.rpartition('.')[2]} " in readme
    for setting in schema.SETTINGS:
        assert f"\n  {setting.name}" in text
    table = readme.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert table == schema.markdown()


def test_help_and_composing_import_no_torch(tmp_path):
    code = (
        "import sys; from kdbench.cli.main import main;"
        "failed = [main(words.split()) for words in ('--help', 'run --help', 'run --cfg job')];"
        "sys.exit(any(failed) or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "epochs: " in done.stdout  # what was composed is shown


def test_the_list_fits_its_terminal(capsys, monkeypatch):
    monkeypatch.setattr("kdbench.cli.ls.sizes", lambda path: ("1,494,154", "30,821,248"))
    assert main(["ls"]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setattr("kdbench.cli.terminal.width", lambda: 80)
    assert main(["ls"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80 < max(map(len, whole.splitlines()))
    assert {*shown.split()} == {*whole.split()} - {"knobs"}


def test_the_list_names_every_choice_with_its_size(capsys):
    assert main(["ls"]) == 0
    out = capsys.readouterr().out
    for name in ("mlp_simple", "cnn_deep", "resnet_medium", "distill_quantize", "fashion_mnist"):
        assert name in out
    assert "teacher=[{equals:2}]" in out
    [line] = [line for line in out.splitlines() if "mlp_simple" in line]
    assert "50,890" in line
    assert "50,816" in line


def layers_of(capsys, *arguments) -> dict[str, list[str]]:
    assert main(["ls", "--layers", *arguments]) == 0
    return {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:]}


def test_the_layers_of_a_model_are_listed_with_what_they_give_under_what_is_typed(capsys):
    assert layers_of(capsys, "cnn_simple")["0"] == ["8x28x28", "Conv2d"]
    assert layers_of(capsys, "cnn_simple", "model.widths=[6,7,8]")["0"] == ["6x28x28", "Conv2d"]
    assert layers_of(capsys, "fully_connected", "model.widths=[9]")["1"] == ["9", "Linear"]
    assert layers_of(capsys, "torchvision", "model.name=resnet18")["conv1"] == ["64x14x14", "Conv2d"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ls", "cnn_deep"], "kdbench ls takes no cnn_deep: kdbench ls --layers cnn_deep lists layers"),
        (["ls", "--layers", "cnn"], "model=cnn is unknown: did you mean"),
        (["ls", "--layers", "onnx"], "what it is has no layers"),
        (["ls", "--layers", "cnn_simple", "model.width=3"], "model.width"),
        (["ls", "--layers", "cnn_simple", "model.convs=1,2"], "is several values"),
        (["reproduce", "--list", "hinton2015"], "type kdbench reproduce --list, or kdbench reproduce hinton2015"),
        (["search", "--list", "student"], "type kdbench search --list, or kdbench search student"),
    ],
)
def test_what_a_list_cannot_show_is_one_line(capsys, arguments, said):
    assert main(arguments) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_the_console_script_works_in_a_process_of_its_own(tmp_path):
    as_typed = "runpy.run_module('kdbench', run_name='__main__', alter_sys=True)"
    quickly = f"import runpy; from kdbench.evaluation import speed; speed.SECONDS, speed.TRIES = 0.01, 1; {as_typed}"
    command = [sys.executable, "-c", quickly, "run", *QUICK]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("not timed: ")]  # beside other work
    assert said == []  # bars are quiet when nobody watches
    assert len(done.stdout.splitlines()) == 1


def test_a_file_that_is_no_yaml_is_named_with_its_line(capsys):
    Path("mine/compress").mkdir(parents=True)
    Path("mine/compress/bad.yaml").write_text("a: 1\nsteps:\n  - x: 1\n y: 2\n")
    assert main(["run", "--config-dir", "mine", "compress=bad", *QUICK]) == 1
    error = capsys.readouterr().err
    assert "bad.yaml, line 4: this is no YAML: " in error
    assert len(error.splitlines()) == 1


def test_the_stack_of_ones_own_in_the_docs_runs_and_a_misspelled_field_is_named(capsys):
    docs = Path(__file__).parents[2] / "docs" / "compression.md"
    stack = re.search(r"`mine/compress/my_stack.yaml`\n\n```yaml\n(.*?)```", docs.read_text(), re.S)[1]
    file = Path("mine/compress/my_stack.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(stack.replace("group:", "groups:"))
    typed = ["run", "--config-dir", "mine", "compress=my_stack", "compress.bits=3", *QUICK]
    assert main(typed) == 1
    assert "WeightOnly takes no groups: did you mean 'group'?" in capsys.readouterr().err
    file.write_text(stack)
    assert main(typed) == 0
    assert "my_stack (bits=3)" in capsys.readouterr().out
