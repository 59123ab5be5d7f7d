"""A model, a data set and methods of one's own: one Python file and one YAML each, outside the package."""

import re
import sys
from pathlib import Path

import pytest

from kdbench.cli.main import main
from kdbench.results.collect import collect
from kdbench.results.row import read
from kdbench.settings import code, own_folder
from tests.conftest import filled_once

README = Path(__file__).parents[1] / "README.md"
TINY = ["--config-dir", "mine", "train.epochs=1", "teacher_train.epochs=1", "threads=1"]
WAVES = ["data=waves", "data.images=256"]


def files_in_readme() -> dict[str, str]:
    """The whole files that the README shows, by the path that stands above each block."""
    return dict(re.findall(r"^`(mine/\S+)`:\n\n```(?:python|yaml)\n(.*?)^```", README.read_text(), re.S | re.M))


def forget_modules() -> None:
    """Let the Python files of `mine` be imported anew, by what stands in them then."""
    for path in files_in_readme():
        sys.modules.pop(Path(path).stem, None)
    code.forget()


def write_files(folder: Path) -> None:
    for path, content in files_in_readme().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    forget_modules()


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    yield tmp_path
    forget_modules()


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder in which every file of the README took part in a run: these are only read."""
    return filled_once(tmp_path_factory, "extension", run_all)


def run_all(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(own_folder, "_folder", None)
        write_files(folder)
        sweep = "model=logistic,mlp_simple compress=baseline,binarize data=waves"
        assert f"kdbench sweep --config-dir mine {sweep}\n" in README.read_text()
        assert main(["sweep", *TINY, *sweep.split(), "data.images=256"]) == 0
        assert main(["run", *TINY, "model=mlp_simple", "compress=narrow", *WAVES]) == 0
        assert main(["run", *TINY, "model=shuffle", "train.batch_size=32", *WAVES[:1], "data.images=512"]) == 0
        small = ["model.widths=[4,6,8]", "compress.teacher=cnn_simple", "compress.teacher_layer='7'"]
        assert main(["run", *TINY, "model=cnn_simple", "compress=information", *small, *WAVES]) == 0
        forget_modules()


@pytest.fixture
def own_runs(ran, monkeypatch):
    """The outputs of `ran`, from where they were made, in a process that was told of no folder."""
    monkeypatch.chdir(ran)
    monkeypatch.setattr(own_folder, "_folder", None)
    yield ran / "outputs"
    forget_modules()


def row_of(outputs: Path, model: str, compress: str):
    [path] = outputs.glob(f"runs/waves/{model}-{compress}-*/metrics.csv")
    return read(path)


def test_the_readme_shows_a_python_file_and_a_yaml_of_each():
    named = {
        *(
            "model/logistic",
            "model/shuffle",
            "data/waves",
            "compress/information",
            "compress/narrow",
            "compress/binarize",
        ),
        *("model_logistic", "model_shuffle", "data_waves", "method_information", "method_narrow", "method_binarize"),
    }
    assert {path.removeprefix("mine/").partition(".")[0] for path in files_in_readme()} == named


def test_they_run_together_with_each_other_and_with_what_is_there_in_a_sweep_too(own_runs):
    rows, damaged = collect(own_runs)
    assert not damaged
    assert {(row.model, row.compress) for row in rows} == {
        *((model, compress) for model in ("logistic", "mlp_simple") for compress in ("baseline", "binarize")),
        *(("mlp_simple", "narrow"), ("cnn_simple", "information"), ("shuffle", "baseline")),
    }
    assert {row.dataset for row in rows} == {"waves"}
    logistic = row_of(own_runs, "logistic", "baseline")
    assert (logistic.parameters, logistic.test_images) == (3 * 32 * 32 * 7 + 7, 500)


def test_a_model_may_wrap_that_of_somebody_else(own_runs):
    from torchvision.models.shufflenetv2 import ShuffleNetV2

    wrapped = row_of(own_runs, "shuffle", "baseline")
    theirs = ShuffleNetV2([1, 1, 1], [16, 32, 64, 128, 128], num_classes=7)
    assert wrapped.parameters == sum(parameter.numel() for parameter in theirs.parameters())


def test_a_method_may_change_shapes(own_runs):
    narrow, before = (row_of(own_runs, "mlp_simple", compress) for compress in ("narrow", "baseline"))
    assert before.parameters == 64 * (3 * 32 * 32 + 1) + 7 * (64 + 1)
    assert narrow.parameters == 16 * (3 * 32 * 32 + 1) + 7 * (16 + 1)
    assert narrow.baseline_size_bytes == before.size_bytes > 3 * narrow.size_bytes


def test_a_regressor_is_trained_with_the_student_and_dropped_after(own_runs):
    hinted = row_of(own_runs, "cnn_simple", "information")
    convolutions = [3 * 4, 4 * 6, 6 * 8]
    assert hinted.parameters == sum(9 * pair for pair in convolutions) + 2 * (4 + 6 + 8) + 7 * (8 * 4 * 4 + 1)
    assert hinted.teacher == "cnn_simple"
    history = [line.split(",")[0] for line in next(own_runs.glob("runs/waves/*information*/history.csv")).open()]
    assert history == ["epoch", "1"]


def test_a_constraint_holds_to_the_end_of_the_training(own_runs):
    import onnx
    from onnx import numpy_helper

    [path] = own_runs.glob("runs/waves/logistic-binarize-*/model.onnx")
    weights = [numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    [weight] = [array for array in weights if array.ndim == 2]
    assert len(set(abs(weight).ravel().tolist())) == 1


def test_they_are_listed(own_runs, capsys):
    assert main(["ls", "--config-dir", "mine"]) == 0
    out = capsys.readouterr().out
    for said in (
        "One linear layer under dropout.",
        "Every weight becomes",
        "coloured waves",
        "A layer of the student tells",
    ):
        assert said in out


@pytest.mark.parametrize("run", ["logistic-binarize", "mlp_simple-narrow", "cnn_simple-information"])
def test_a_run_of_them_is_verified_with_the_folder_that_holds_their_code_and_refused_without(own_runs, capsys, run):
    [folder] = own_runs.glob(f"runs/waves/{run}-*")
    assert main(["verify", str(folder)]) == 1
    err = capsys.readouterr().err
    assert "--config-dir DIR names the folder of its Python file" in err
    assert len(err.splitlines()) == 1
    assert main(["verify", str(folder), "--config-dir", "mine"]) == 0
    assert capsys.readouterr().out.startswith("verified: ")


def test_a_run_of_them_is_not_done_again(own_runs, capsys):
    assert main(["run", *TINY, "model=mlp_simple", "compress=narrow", *WAVES]) == 0
    assert "was done already" in capsys.readouterr().out


def test_an_edited_helper_of_a_method_is_never_served_old_weights(own_files, capsys):
    helper = own_files / "mine" / "signs.py"
    method = own_files / "mine" / "method_binarize.py"
    plain = "weight.sign() * weight.abs().mean()"
    assert plain in method.read_text()
    text = method.read_text().replace(plain, "signs.of(weight)")
    method.write_text(text.replace("import torch\n", "import signs\nimport torch\n"))
    command = ["run", *TINY, "model=logistic", "compress=binarize", *WAVES]

    def run(code: str) -> list[str]:
        helper.write_text(f"def of(weight):\n    return {code}\n")
        forget_modules()
        sys.modules.pop("signs", None)
        assert main(command) == 0
        [path] = own_files.glob("outputs/runs/waves/*/metrics.csv")
        trained = path.with_name("run.log").read_text().count("Binarize seed 0: trained in")
        return [str(trained), read(path).artifact_sha256, read(path).code_hash]

    first = run(plain)
    assert run(plain) == first
    assert run(f"{plain}  # a comment changes nothing") == first
    [folder] = own_files.glob("outputs/runs/waves/*")
    helper.write_text(f"def of(weight):\n    return 2 * {plain}\n")
    forget_modules()
    sys.modules.pop("signs", None)
    capsys.readouterr()
    assert main(["verify", str(folder), "--config-dir", "mine"]) == 1
    assert "differs: the code that decides the row is another now" in capsys.readouterr().out
    second = run(f"2 * {plain}")
    assert (first[0], second[0]) == ("1", "2")
    assert not set(first) & set(second)
    sys.modules.pop("signs", None)


def test_the_root_of_a_data_set_of_ones_own_can_be_typed(own_files):
    assert "root:" not in (own_files / "mine" / "data" / "waves.yaml").read_text()
    assert main(["run", *TINY, "model=logistic", *WAVES, "data.noise=0.2", "data.root=/nothing"]) == 0


def test_an_experiment_sets_what_it_names_and_never_the_size_of_a_teacher(own_files):
    (own_files / "mine" / "experiment").mkdir()
    experiment = "# @package _global_\ndefaults:\n  - override /data: waves\nmodel:\n  widths: [8]\n"
    (own_files / "mine" / "experiment" / "thin.yaml").write_text(experiment)
    typed = ["model=mlp_simple", "compress=distill", "compress.teacher=mlp_simple", "data.images=128"]
    assert main(["run", *TINY, "+experiment=thin", *typed]) == 0
    [row] = collect(Path("outputs"))[0]
    assert (row.dataset, row.architecture) == ("waves", "model.widths=[8]")
    assert "teacher.model.widths=[64]" in row.teacher_settings
    assert row.teacher_size_bytes > 4 * row.size_bytes


def test_a_yaml_that_names_no_python_is_refused_in_one_line(own_files, capsys):
    (own_files / "mine" / "model" / "empty.yaml").write_text("# Nothing.\nwidth: 3\n")
    for arguments in (["ls", "--config-dir", "mine"], ["run", "--config-dir", "mine", "model=empty"]):
        assert main(arguments) == 1
        err = capsys.readouterr().err
        assert "its YAML needs a _target_" in err
        assert len(err.splitlines()) == 1
