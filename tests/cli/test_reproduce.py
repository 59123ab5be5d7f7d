"""What papers say, beside what comes of it here: the command."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from kdbench.cli import overrides, reproduce, reproduction
from kdbench.cli.main import main
from kdbench.errors import BadSetting
from kdbench.settings.choices import config_dir, options
from kdbench.settings.config import Config
from kdbench.settings.typed import config_of

SHIPPED = options("reproduce", [config_dir()])
TINY = """
# A test.
source: nobody
takes: a moment
settings: data=mnist_5k model=mlp_simple model.widths=[32] train.batch_size=100
quick: train.epochs=1
seeds: 2
runs:
  plain: compress=baseline train.epochs=2
  pruned: compress=prune compress.sparsity=0.8 compress.finetune_epochs=0
claims:
  - {says: it reads digits, run: plain, column: accuracy, paper: all of them, reach: at least 0.2}
  - {says: pruning costs, run: pruned, than: plain, column: accuracy, paper: lower, reach: lower}
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """One reproduction, called tiny."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY.lstrip())
    real = options
    monkeypatch.setattr(
        "kdbench.settings.choices.options",
        lambda group, folders: {"tiny": tmp_path / "tiny.yaml"} if group == "reproduce" else real(group, folders),
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_can_be_run(name):
    """Every setting has a name that there is, and every claim is about a run and a column."""
    found = reproduction.read(name, SHIPPED[name])
    for where in (found.where, found.where | found.quick_where):
        for run in found.runs.values():
            run = reproduction.written(run, where | {"data": "mnist"})
            overrides.for_hydra(["--multirun", *run, *found.settings, *found.quick])
    assert found.claims


def test_it_runs_everything_and_prints_claim_paper_ours_and_verdict(tiny, unpainted, capsys):
    assert main(["reproduce", "tiny", "--quick", "--seeds", "2", "threads=1"]) == 0
    out, err = capsys.readouterr()
    lines = out.partition("A test. (nobody)\n")[2].splitlines()
    assert lines[:2] == ["- it reads digits", "  paper: all of them; to reach: at least 0.2"]
    assert lines[2].startswith("  here:  0.")
    assert lines[2].endswith("(accuracy, 2 seeds): reached")
    assert lines[3:5] == ["- pruning costs", "  paper: lower"]
    assert "accuracy, pruned less plain, 2 seeds" in " ".join(lines[5:])
    assert "--quick" in err
    table = Path("outputs/reproduced/tiny-quick/claims.md").read_text()
    assert "| it reads digits (at least 0.2) | all of them | 0." in table
    assert "    kdbench reproduce tiny --quick --seeds 2 threads=1\n" in table
    assert f"--quick: {reproduce.QUICK}" in table
    assert len(list(Path("outputs/runs/mnist_5k").iterdir())) == 4
    assert main(["reproduce", "tiny", "--quick", "--seeds", "2", "threads=1"]) == 0
    assert capsys.readouterr().out.count("was done already") == 4


def test_where_all_runs_fail_no_table_of_another_time_stays(tiny, capsys):
    table = Path("outputs/reproduced/tiny-quick/claims.md")
    table.parent.mkdir(parents=True)
    table.write_text("| it reads digits | reached |")
    assert main(["reproduce", "tiny", "--quick", "threads=1", "train.lr=1e30"]) == 1
    assert table.read_text().count("| failed: it has no rows |") == 2
    assert "reached" not in table.read_text()


def test_what_there_is_and_how_long_it_takes(capsys, monkeypatch):
    monkeypatch.setattr("kdbench.cli.terminal.width", lambda: 80)
    assert main(["reproduce", "--list"]) == 0
    out = capsys.readouterr().out
    for name in SHIPPED:
        assert f"{name} (" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", SHIPPED)
def test_the_documentation_names_it(name):
    assert f"`{name}`" in (Path(__file__).parents[2] / "docs" / "reproductions.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hinton201"], "there is nothing to reproduce called hinton201: did you mean 'hinton2015'?"),
        (["hinton2015", "--seeds", "0"], "--seeds 0 is none: type --seeds 3"),
        (["hinton2015", "sed=3"], "sed is not a setting: did you mean 'seed'?"),
        (
            ["hinton2015", "seed=3"],
            "seed=3: what is run under what seeds is the paper's: type --seeds N, or kdbench run -m",
        ),
        *(
            (
                ["mirzadeh2020", setting],
                f"{setting.partition('=')[0]} is what mirzadeh2020 itself sets: put a copy of its YAML into "
                "DIR/reproduce, change that, and type --config-dir DIR",
            )
            for setting in ("model=cnn_deep", "compress.teacher=cnn_deep")
        ),
        (
            ["dafl2019", "--quick", "data=mnist"],
            "data is not that of --quick, which is on embedded digits: leave one of both out",
        ),
        (
            ["dafl2019", "train.batch_size=64"],
            "train.batch_size would not be that of the teachers which dafl2019 describes: put a copy of its YAML "
            "into DIR/reproduce, change both there, and type --config-dir DIR",
        ),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_run(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *arguments]) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("runs:", "run:"), "run is not known: did you mean 'runs'"),
        (("source: nobody\n", ""), "is no reproduction"),
        (("run: plain", "run: nothing"), "there is no run nothing"),
    ],
)
def test_a_file_that_describes_none_is_one_line(change, message, tmp_path):
    (tmp_path / "x.yaml").write_text(TINY.lstrip().replace(*change, 1))
    with pytest.raises(BadSetting, match=message):
        reproduction.read("x", tmp_path / "x.yaml")


def test_texts_stand_where_their_names_do(tmp_path):
    changed = TINY.replace("runs:", "where: {how: compress=prune}\nruns:").replace(
        "compress=prune compress", "$how compress"
    )
    (tmp_path / "x.yaml").write_text(changed.lstrip())
    found = reproduction.read("x", tmp_path / "x.yaml")
    assert reproduction.written(found.runs["pruned"], found.where)[0] == "compress=prune"
    (tmp_path / "x.yaml").write_text(changed.replace("$how", "$who").lstrip())
    with pytest.raises(BadSetting, match=r"is no reproduction.*who"):
        reproduction.read("x", tmp_path / "x.yaml")


def test_the_data_of_the_runs_are_a_transfer_set_as_they_are_typed():
    assert reproduction.own_data([]) == "mnist"
    assert reproduction.own_data(["data.root=/there", "model=x"]) == "mnist,root:/there"
    assert reproduction.own_data(["data=mnist", "data=mnist_5k"]) == "mnist_5k"


def configured(name: str) -> dict[str, Config]:
    """Return what the runs of a reproduction that ships come to."""
    found = reproduction.read(name, SHIPPED[name])
    options = SimpleNamespace(settings=[], quick=False, seeds=1, config_dir=None)
    configs = {}
    for run, arguments in reproduce.launches_of(found, options).items():
        parsed = [OverridesParser.create().parse_override(str(text)) for text in overrides.for_hydra(arguments)[:-1]]
        configs[run] = config_of(
            {one.key_or_group: 0 if one.key_or_group == "seed" else one.value() for one in parsed}
        )
    return configs


@pytest.mark.parametrize("name", ["bucila2006", "fitnets2015", "stanton2021", "dafl2019", "hinton2015"])
def test_no_two_runs_are_one_and_the_teacher_that_is_judged_is_the_one_that_teaches(name):
    configs = configured(name)
    assert len({config.hash for config in configs.values()}) == len(configs)
    for judged in {"teacher", "ensemble"} & configs.keys():
        own = replace(configs[judged].network, compress="", name="")
        taught = [one for run, one in configs.items() if one.teachers and run != judged]
        assert taught
        for config in taught:
            (teacher,) = config.teachers
            assert replace(teacher, compress="", name="", seed_is_fixed=False) == own
