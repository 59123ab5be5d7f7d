"""Which variant is best under limits, and the command that makes it."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import make_row

import kdbench
from kdbench import experiment
from kdbench.cli import limits
from kdbench.cli.main import main
from kdbench.cli.overrides import by_name, for_hydra
from kdbench.errors import BadSetting
from kdbench.results.best import LATENCY, VALIDATION, Limit, excess, ranked
from kdbench.results.collect import collect
from kdbench.results.row import write
from kdbench.results.summary import frame, summarise
from kdbench.settings.typed import config_of

QUICK = ["data=mnist_5k", "train.epochs=1", "model=mlp_simple", "model.widths=[16]", "threads=1"]


LINEAR = """
from torch import nn


class Linear(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.Linear(784, classes))
"""


@pytest.fixture(autouse=True)
def somewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def a_row(name, seed=0, **figures):
    """A row of the variant `name`, whose knobs are called so."""
    known = {"variant_hash": f"v{name}", "settings": f"sparsity={name}", "compress": "prune"}
    return make_row(**known, seed=seed, config_hash=f"c{name}{seed}", **figures)


def written(*rows):
    for row in rows:
        folder = Path("outputs/runs") / row.dataset / f"{row.variant_hash}-{row.config_hash}"
        folder.mkdir(parents=True)
        write(row, folder)


THREE = [
    a_row("0.5", file_val_accuracy=0.995, packed_bytes=30_000, size_bytes=50_000, latency_ms=0.05, accuracy=0.96),
    a_row("0.7", file_val_accuracy=0.992, packed_bytes=20_000, size_bytes=60_000, latency_ms=0.03, accuracy=0.97),
    a_row("0.9", file_val_accuracy=0.950, packed_bytes=10_000, size_bytes=20_000, latency_ms=0.04, accuracy=0.98),
]


@pytest.mark.parametrize(
    ("typed", "chosen"),
    [
        ([], "0.5"),
        (["--min-accuracy", "99%"], "0.7"),
        (["--min-accuracy", "0.9"], "0.9"),
        (["--max-bytes", "20kB"], "0.7"),
        (["--max-bytes", "19.9kB"], "0.9"),
        (["--min-accuracy", "0.99", "--file", "onnx"], "0.5"),
        (["--max-bytes", "50kB", "--file", "onnx"], "0.5"),
        (["--max-latency", "0.04ms"], "0.7"),
        (["--max-latency", "40us", "--max-bytes", "15kB"], "0.9"),
    ],
)
def test_the_best_is_the_smallest_of_a_given_accuracy_and_else_the_most_accurate(typed, chosen, capsys):
    written(*THREE)
    assert main(["best", *typed]) == 0
    out = capsys.readouterr().out
    assert f"sparsity={chosen})" in out.splitlines()[1]
    assert all(
        f"{name} {value}" in out.splitlines()[0]
        for name, value in zip(typed[::2], typed[1::2], strict=True)
        if name != "--file"
    )


def test_the_accuracy_on_the_test_images_chooses_nothing_and_is_that_of_the_chosen_one(capsys):
    """Whatever it is: all its values, the other way round, choose the same."""
    written(*THREE)
    assert main(["best"]) == 0
    first = capsys.readouterr().out
    assert "test         96.00%" in first
    assert not any(f"{accuracy}.00%" in first for accuracy in (97, 98))
    shutil.rmtree("outputs")
    written(
        *(
            a_row(
                row.settings[-3:],
                **{name: getattr(row, name) for name in ("file_val_accuracy", "packed_bytes")},
                accuracy=accuracy,
            )
            for row, accuracy in zip(THREE, (0.99, 0.98, 0.91), strict=True)
        )
    )
    assert main(["best"]) == 0
    assert "sparsity=0.5)" in capsys.readouterr().out


def grid():
    """Variants of all kinds, ties and missing times among them."""
    numbers = [(a, size, time) for a in (0.97, 0.98, 0.99) for size in (10, 20, 30) for time in (None, 0.1, 0.2)]
    rows = [
        a_row(str(number), file_val_accuracy=a, packed_bytes=1000 * size, latency_ms=time)
        for number, (a, size, time) in enumerate(numbers)
        if (number * 7) % 5
    ]
    return summarise(frame(rows))


@pytest.mark.parametrize("accuracy", [None, 0.975, 0.98])
@pytest.mark.parametrize("size", [None, 25_000, 10_000])
@pytest.mark.parametrize("time", [None, 0.15, 0.1])
def test_what_is_chosen_keeps_to_every_limit_and_no_other_is_better_in_one_and_as_good_in_the_rest(
    accuracy, size, time
):
    means = grid()
    asked = [
        Limit("", column, bound)
        for column, bound in ((VALIDATION, accuracy), ("packed_bytes", size), (LATENCY, time))
        if bound is not None
    ]
    lines = ranked(means, "packed_bytes", asked)
    best = lines.iloc[0]
    assert best["excess"] == 0
    assert accuracy is None or best[VALIDATION] >= accuracy
    assert size is None or best["packed_bytes"] <= size
    assert time is None or best[LATENCY] <= time
    keeping = means[excess(means, asked) == 0].fillna({LATENCY: 9.0})
    assert len(keeping) == len(lines)
    own = best[[VALIDATION, "packed_bytes", LATENCY]].infer_objects().fillna(9.0)
    as_good = (
        (keeping[VALIDATION] >= own[VALIDATION])
        & (keeping["packed_bytes"] <= own["packed_bytes"])
        & (keeping[LATENCY] <= own[LATENCY])
    )
    others = keeping[as_good]
    assert (others[VALIDATION] == own[VALIDATION]).all()
    assert (others["packed_bytes"] == own["packed_bytes"]).all()
    assert (others[LATENCY] == own[LATENCY]).all()


@pytest.mark.parametrize(
    ("typed", "why", "nearest"),
    [
        (
            ["--max-bytes", "5kB"],
            "no variant keeps to --max-bytes 5kB: the smallest model.kdz has 10,000 bytes, 5,000 bytes above",
            "0.9",
        ),
        (
            ["--min-accuracy", "99.9%"],
            "no variant keeps to --min-accuracy 99.9%: the most accurate on validation has 99.50%, 0.4 points below",
            "0.5",
        ),
        (
            ["--max-latency", "0.02"],
            "no variant keeps to --max-latency 0.02: the fastest takes 0.03 ms, 0.01 ms above",
            "0.7",
        ),
        (
            ["--max-bytes", "18kB", "--min-accuracy", "0.99"],
            "no variant keeps to --max-bytes 18kB and --min-accuracy 0.99 together, though some do to each: "
            "the nearest is 2,000 bytes above --max-bytes 18kB",
            "0.7",
        ),
    ],
)
def test_where_nothing_keeps_to_the_limits_the_error_says_to_which_and_the_nearest_is_shown(
    typed, why, nearest, capsys
):
    written(*THREE)
    assert main(["best", *typed]) == 1
    out, err = capsys.readouterr()
    assert err == f"error: {why}\n"
    assert f"sparsity={nearest})" in out
    assert "test  " not in out


def test_the_mean_over_seeds_decides_and_the_run_is_the_median_seed_that_keeps_to_the_limits(capsys):
    accurate = zip((0.97, 0.99, 0.98, 1.0), (21_000, 19_000, 17_000, 18_000), strict=True)
    written(
        *(a_row("0.5", seed, file_val_accuracy=a, packed_bytes=size) for seed, (a, size) in enumerate(accurate)),
        a_row("0.7", file_val_accuracy=0.984, packed_bytes=1000),
    )
    assert main(["best", "--max-bytes", "20kB"]) == 0
    out = capsys.readouterr().out
    assert "validation   98.50% ± 1.29 (mean of 4 seeds)" in out
    assert "model.kdz    18,750 bytes" in out
    assert "seed 1, the median on validation of those that keep to it themselves (99.00%, model.kdz 19,000" in out
    assert main(["best"]) == 0
    assert "seed 2, the median on validation (98.00%" in capsys.readouterr().out
    assert main(["best", "--min-accuracy", "0.985", "--max-bytes", "18750"]) == 0
    assert "seed 3, the median on validation of those that keep" in capsys.readouterr().out


def test_a_mean_of_what_stands_at_the_limit_keeps_to_it(capsys):
    written(*(a_row("0.5", seed, file_val_accuracy=0.9902) for seed in range(7)))
    assert main(["best", "--min-accuracy", "99.02%"]) == 0


def test_rows_of_earlier_versions_are_left_out_and_said_to_be(capsys):
    old = a_row("0.1", file_val_accuracy=None, accuracy=1.0)
    written(*THREE, old)
    assert main(["best"]) == 0
    out, err = capsys.readouterr()
    assert "of 3 variants" in out
    [line] = err.splitlines()
    assert line.startswith("left out: 1 row of an earlier version has no file_val_accuracy")
    assert "kdbench status outputs" in line
    shutil.rmtree("outputs")
    written(old)
    assert main(["best"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no row of mnist has file_val_accuracy")


def test_what_was_not_timed_is_no_candidate_under_a_limit_of_time(capsys):
    written(*THREE, a_row("0.1", file_val_accuracy=0.999, latency_ms=None))
    assert main(["best"]) == 0
    assert "sparsity=0.1)" in capsys.readouterr().out
    assert main(["best", "--max-latency", "1ms"]) == 0
    out, err = capsys.readouterr()
    assert "sparsity=0.5)" in out
    assert err.endswith(": 1 of 4 variants\n")


def test_of_several_data_sets_one_is_named(capsys):
    written(*THREE, make_row(dataset="kmnist", data_fingerprint="f1", file_val_accuracy=1.0))
    assert main(["best"]) == 1
    assert "type --data kmnist or --data mnist" in capsys.readouterr().err
    assert main(["best", "--data", "mnist"]) == 0
    assert capsys.readouterr().out.startswith("mnist: ")
    assert main(["best", "--data", "mnsit"]) == 1
    assert "did you mean 'mnist'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--max-bytes", "20 potatoes"], "--max-bytes 20 potatoes is not a number of bytes, such as 20kB"),
        (["--max-bytes", "-5"], "--max-bytes -5 is not above 0"),
        (["--max-bytes", "0"], "--max-bytes 0 is not above 0"),
        (["--max-bytes", "1e999"], "--max-bytes 1e999 is not a number"),
        (["--max-latency", "5kB"], "--max-latency 5kB is not a time, such as 0.05ms"),
        (["--min-accuracy", "99"], "type --min-accuracy 99%"),
        (["--min-accuracy", "101%"], "type --min-accuracy 0.99 or 99%"),
        (["--min-accuracy", "nan"], "--min-accuracy nan is not a fraction"),
        (["--file", "zip"], "see kdbench best --help"),
        (["nowhere"], "there is no folder nowhere"),
        (["20", "potatoes"], "unrecognized arguments: potatoes"),
    ],
)
def test_what_is_no_limit_is_refused_in_one_line(typed, says, capsys):
    written(*THREE)
    assert main(["best", *typed]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert says in line


def test_units():
    for typed in ("20000", "20kB", "20 kb", "0.02MB", "2e4 B"):
        assert limits.bytes_of("", typed) == pytest.approx(20_000)
    assert limits.bytes_of("", "2KiB") == 2048
    for typed in ("0.05", "0.05ms", "50us", "50 µs", "5e-5s"):
        assert limits.milliseconds_of("", typed) == pytest.approx(0.05)
    assert limits.fraction_of("", "1") == limits.fraction_of("", "100%") == 1
    for typed in ("20,000", "2 0", "kB", "", "0x20", "1e"):
        with pytest.raises(BadSetting):
            limits.bytes_of("", typed)


def test_it_fits_its_terminal(monkeypatch, capsys):
    monkeypatch.setattr("kdbench.cli.terminal.width", lambda stream=None: 80)
    written(*THREE, a_row("0.5", 1, file_val_accuracy=0.999, packed_bytes=30_000))
    for typed in (["--min-accuracy", "0.99"], ["--min-accuracy", "0.999", "--max-bytes", "1kB"], []):
        main(["best", *typed])
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def typed_command(out):
    """The settings of the command printed last."""
    words = shlex.split(out.splitlines()[-1])
    assert words[:2] == ["kdbench", "run"]
    return words[2:]


@pytest.mark.parametrize(
    "typed",
    [
        [],
        ["compress=quantize", "seed=2", "outputs=other"],
        ["compress=prune", "compress.sparsity=0.7", "compress.finetune_epochs=0", "retrain=true"],
        ["compress=distill", "compress.teacher={model:mlp_simple,train.epochs:1,seed:3}", "compress.temperature=2"],
        [
            "compress=distill",
            "compress.teacher=self",
            "compress.alpha=0",
            "compress.transfer=[train,{data:noise,images:100}]",
        ],
        ["+experiment=smoke", "normalise=0.5/0.25"],
    ],
)
def test_the_command_that_is_printed_makes_the_very_row(typed, capsys):
    assert main(["run", *QUICK, *typed]) == 0
    outputs = Path("other" if "outputs=other" in typed else "outputs")
    [row] = collect(outputs)[0]
    capsys.readouterr()
    assert main(["best", str(outputs)]) == 0
    settings = typed_command(capsys.readouterr().out)
    assert "retrain=true" not in settings
    assert main(["run", *settings]) == 0
    assert "was done already" in capsys.readouterr().out
    assert collect(outputs)[0] == [row]


def test_it_is_found_after_outputs_were_moved_and_from_another_folder(monkeypatch, tmp_path, capsys):
    assert main(["run", *QUICK]) == 0
    shutil.move("outputs", "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    capsys.readouterr()
    assert main(["best", "../moved"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"cd {tmp_path} && kdbench run data=mnist_5k")
    assert line.endswith(f" outputs={tmp_path / 'moved'} seed=0") or line.endswith(f" outputs={tmp_path / 'moved'}")


def test_data_that_took_the_place_of_others_are_named(monkeypatch, capsys):
    from kdbench.data.torchvision_import import torchvision

    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody listens there
    assert main(["run", *QUICK[1:]]) == 0
    capsys.readouterr()
    assert main(["best"]) == 0
    settings = typed_command(capsys.readouterr().out)
    assert "data=mnist_5k" in settings
    assert main(["run", *settings]) == 0
    out, err = capsys.readouterr()
    assert "was done already" in out
    assert err == ""


def test_choices_and_networks_of_ones_own_are_found_again(tmp_path, capsys):
    choice = tmp_path / "mine" / "compress" / "half_int8.yaml"
    choice.parent.mkdir(parents=True)
    choice.write_text("_target_: kdbench.compress.quantize.dynamic_int8.DynamicInt8\n")
    assert main(["sweep", *QUICK, "-cd", "mine", "compress=half_int8", "outputs=a"]) == 0
    (tmp_path / "nets_own.py").write_text(LINEAR)
    settings = ["train.epochs=1", "threads=1", "outputs=b"]
    assert main(["compress", "nets_own.py:Linear", "--data", "mnist_5k", "--methods", "quantize", *settings]) == 0
    for outputs in ("a", "b"):
        capsys.readouterr()
        assert main(["best", outputs]) == 0
        settings = typed_command(capsys.readouterr().out)
        assert settings[:2] == ["--config-dir", {"a": "mine", "b": "."}[outputs]]
        assert main(["run", *settings]) == 0
        assert "was done already" in capsys.readouterr().out


def test_seeds_that_were_trained_as_one_network_are_made_by_one_command(capsys):
    assert main(["run", "-m", *QUICK, "seeds_together=always", "seed=0,1"]) == 0
    capsys.readouterr()
    assert main(["best"]) == 0
    settings = typed_command(capsys.readouterr().out)
    assert "-m" in settings
    assert "seed=0,1" in settings
    assert main(["run", *settings]) == 0
    assert capsys.readouterr().out.count("was done already") == 2


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"compress": "prune", "compress.sparsity": 0.7, "compress.finetune_epochs": 0, "data.train_images": 1000},
        {"compress": "distill", "compress.teacher": "self", "compress.temperature": 2, "normalise": "0.5/0.25"},
    ],
)
def test_a_run_that_nobody_typed_is_put_into_words_that_compose_to_its_hash(settings, capsys):
    typed = {"data": "mnist_5k", "model": "mlp_simple", "model.widths": [16], "train.epochs": 1, "seed": 3}
    result = kdbench.run(**{**typed, "threads": 1, **settings})
    assert main(["best"]) == 0
    checked = for_hydra(typed_command(capsys.readouterr().out))
    config = experiment.run(config_of(by_name(checked))).config
    assert config.hash == result.row.config_hash


def test_of_what_cannot_be_typed_it_is_said_how_it_is_made_once_more(make_config, capsys):
    folder = experiment.run(make_config()).folder
    assert main(["best", str(folder.parents[2])]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(f"kdbench verify --retrain {folder} makes it once more")
    (folder / "config.yaml").unlink()
    assert main(["best", str(folder.parents[2])]) == 0
    assert "its command is not known" in capsys.readouterr().out


def test_what_has_changed_since_is_not_taken_for_the_command(capsys):
    """A file of weights that holds something else now."""
    assert main(["run", *QUICK]) == 0
    [folder] = Path("outputs/runs/mnist_5k").iterdir()
    shutil.copy(folder / "weights.safetensors", "own.safetensors")
    assert main(["run", *QUICK, "weights=own.safetensors", "outputs=other"]) == 0
    capsys.readouterr()
    assert main(["best", "other"]) == 0
    assert "weights=own.safetensors" in typed_command(capsys.readouterr().out)
    assert main(["run", *QUICK, "seed=1"]) == 0
    [other] = [path for path in Path("outputs/runs/mnist_5k").iterdir() if path != folder]
    shutil.copy(other / "weights.safetensors", "own.safetensors")
    capsys.readouterr()
    assert main(["best", "other"]) == 0
    assert "its command is not known" in capsys.readouterr().out


def test_it_imports_no_torch():
    assert main(["run", *QUICK]) == 0
    code = "import sys; from kdbench.cli.main import main; sys.exit(main(['best']) or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
