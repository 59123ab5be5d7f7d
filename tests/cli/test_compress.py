"""`kdbench compress`: one command from a network of one's own to the table, the charts and the files."""

from pathlib import Path

import onnx
import pytest
import torch
from tests.models.onnx_files import linear, weights, write

from kdbench import load
from kdbench.artifact.session import session
from kdbench.cli.main import main
from kdbench.data import mnist_5k
from kdbench.evaluation.predictions import predict
from kdbench.results.collect import collect
from kdbench.results.run_folder import ARTIFACT
from kdbench.storage.checksums import sums


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_charts(monkeypatch):
    monkeypatch.setattr("kdbench.cli.plot.draw_all", lambda *_: None)


@pytest.fixture
def net(tmp_path) -> Path:
    return write(tmp_path / "net.onnx", linear((1, 28, 28), matrix=weights(0, 784, 10), end="Softmax"))


def test_a_file_is_measured_as_it_stands_quantized_and_answered_with_table_charts_and_files(net, unpainted, capsys):
    assert main(["compress", "net.onnx", "--data", "mnist_5k", "threads=1"]) == 0
    out = capsys.readouterr().out
    rows = {row.compress: row for row in collect(Path("outputs"))[0]}
    assert set(rows) == {"baseline", "quantize", "quantize_static"}
    assert {(row.model, row.origin, row.train_seconds) for row in rows.values()} == {("net", "given", 0.0)}
    digits = mnist_5k.load().test
    logits = digits.images.flatten(1).float().numpy() / 255 @ weights(0, 784, 10)
    assert rows["baseline"].errors == (logits.argmax(1) != digits.labels.numpy()).sum()
    assert rows["baseline"].parameters == 7840
    assert rows["quantize"].weight_bytes < rows["baseline"].weight_bytes / 3
    answer = Path("outputs/compressed/mnist_5k/net")
    shipped = next(Path("outputs/runs").glob(f"*/net-quantize-*/{ARTIFACT}")).read_bytes()
    assert (answer / "net-quantize.onnx").read_bytes() == shipped
    assert (predict(session(shipped, 1), digits).argmax(1) == logits.argmax(1)).mean() > 0.9
    made = {path.name for path in answer.iterdir()}
    for name in ("net-baseline.onnx", "net-quantize.onnx"):  # both can be used like files of our own networks
        assert load(answer / name)(digits.images[:3]).shape == (3, 10)
    assert {"net-baseline.onnx", "table.md", "accuracy_vs_size.png", "quantization_impact.svg"} <= made
    assert "outputs/compressed/mnist_5k/net/net-quantize.onnx" in out
    assert out.count("1000 test images") == 1


def test_an_answer_has_a_file_for_each_row_and_none_of_the_answer_before(net, no_charts):
    typed = ["compress", "net.onnx", "--data", "mnist_5k", "--methods", "baseline", "--to", "answer", "threads=1"]
    Path("answer").mkdir()
    Path("answer/mine.onnx").write_text("not of an answer")
    assert main([*typed, "normalise=none,0.5/0.25"]) == 0
    assert len(list(Path("answer").glob("net-baseline-*.onnx"))) == 2
    assert main(typed) == 0
    assert {path.name for path in Path("answer").glob("*.onnx")} == {"net-baseline.onnx", "mine.onnx"}


def test_an_answer_is_not_put_among_the_files_of_something_else(net, capsys):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("three years")
    Path("mine/SHA256SUMS").write_bytes(sums({"thesis.txt": b"three years"}))
    before = {path: path.read_bytes() for path in Path("mine").iterdir()}
    assert main(["compress", "net.onnx", "--data", "mnist_5k", "--to", "mine"]) == 1
    assert "--to mine holds files of something else" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("mine").iterdir()} == before
    assert not Path("outputs").exists()


def test_what_a_file_cannot_take_is_said_and_the_rest_is_done(net, no_charts, capsys):
    assert main(["compress", "net.onnx", "--data", "mnist_5k", "--methods", "prune,quantize_all", "threads=1"]) == 1
    assert (
        "error: --methods prune cannot be done (it trains layers, which an ONNX file has none of): the rest is"
        in capsys.readouterr().err
    )
    assert {row.compress for row in collect(Path("outputs"))[0]} == {
        "baseline",
        *("quantize", "quantize_static", "quantize_weights", "cluster", "half"),
    }


def test_a_network_is_distilled_into_others(net, no_charts):
    typed = [
        "--data",
        "mnist_5k",
        "--methods",
        "baseline",
        "--into",
        "mlp_simple",
        "train.epochs=1",
        "train.batch_size=500",
        "threads=1",
    ]
    assert main(["compress", "net.onnx", *typed, "--to", "answer"]) == 0
    rows = {(row.model, row.compress): row for row in collect(Path("outputs"))[0]}
    assert set(rows) == {("net", "baseline"), ("mlp_simple", "baseline"), ("mlp_simple", "distill")}
    student = rows["mlp_simple", "distill"]
    assert student.teacher == "net"
    assert student.teacher_accuracy == rows["net", "baseline"].accuracy
    assert Path("answer/mlp_simple-distill.onnx").exists()


LINEAR = """
from torch import nn


class Linear(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.Linear(784, classes, bias=False))
"""


def test_a_class_and_its_weights_are_the_network_wherever_they_stand(tmp_path, no_charts):
    """Its normalisation is that of the network, and not of the students that it teaches."""
    (tmp_path / "linear_net.py").write_text(LINEAR)
    torch.save({"1.weight": torch.from_numpy(weights(0, 784, 10).T.copy())}, tmp_path / "net.pt")
    typed = ["--weights", "net.pt", "--data", "mnist_5k", "--methods", "quantize", "--into", "mlp_simple"]
    settings = ["normalise=0.5/0.25", "train.batch_size=1000", "threads=1", "outputs=elsewhere"]
    assert main(["compress", "linear_net.py:Linear", *typed, *settings]) == 0
    rows = {(row.model, row.compress): row for row in collect(Path("elsewhere"))[0]}
    digits = mnist_5k.load().test
    pixels = (digits.images.flatten(1).double() / 255 - 0.5) / 0.25
    logits = pixels.numpy() @ weights(0, 784, 10)
    given = rows["linear", "baseline"]
    assert given.errors == (logits.argmax(1) != digits.labels.numpy()).sum()
    assert given.origin == "given"
    assert rows["mlp_simple", "distill"].teacher_accuracy == given.accuracy
    assert rows["linear", "quantize"].agreement > 0.9
    assert Path("elsewhere/compressed/mnist_5k/linear/linear-quantize.onnx").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["nothing.onnx"], "there is no file nothing.onnx"),
        (["net.py:Net"], "there is no file net.py"),
        (["cnn_simpl"], "did you mean 'cnn_simple'?"),
        (["a.b.C"], "type FILE.onnx or FILE.py:CLASS"),
        (["net.onnx", "--weights", "net.pt"], "net.onnx holds its weights: leave --weights out"),
        (["net.onnx", "--methods", "prun"], "--methods prun is unknown: did you mean 'prune'?"),
        (["net.onnx", "--methods", "quantize", "prune"], "joined by commas: --methods quantize,prune"),
        (["net.onnx", "--fast"], "unrecognized arguments: --fast: see kdbench compress --help"),
        (["net.onnx", "train.epochs=1"], "train.epochs=1 is for networks that are trained"),
        (["net.onnx", "--into", "mlp_simpel"], "--into mlp_simpel is no model: did you mean 'mlp_simple'?"),
        (["net.onnx", "sed=1"], "sed is not a setting: did you mean 'seed'?"),
        (["net.onnx", "--into", "mlp_simple", "train.epoch=1"], "train.epoch is not a setting"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(typed, said, net, capsys, tmp_path):
    assert main(["compress", typed[0], "--data", "mnist_5k", *typed[1:]]) == 1
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx"}


def test_a_class_that_the_file_does_not_have_is_said_before_it_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear_net.py").write_text(LINEAR + "raise SystemExit(3)\n")
    assert main(["compress", "linear_net.py:Liner", "--data", "mnist_5k"]) == 1
    assert capsys.readouterr().err == "error: linear_net.py has no Liner: did you mean 'Linear'?\n"


def test_data_that_are_neither_a_folder_nor_a_name_are_one_line(net, capsys):
    assert main(["compress", "net.onnx", "--data", "mnist5k"]) == 1
    assert capsys.readouterr().err == (
        "error: --data mnist5k is neither a folder nor a data set: did you mean 'mnist_5k'?\n"
    )


def test_an_onnx_file_is_not_trained(net, capsys):
    assert main(["run", "model=onnx", f"weights={net}", "data=mnist_5k"]) == 1
    assert "net.onnx is an ONNX file, which cannot be trained: type train.epochs=0" in capsys.readouterr().err
    assert main(["run", "model=onnx", "data=mnist_5k"]) == 1
    assert "type weights=FILE.onnx train.epochs=0" in capsys.readouterr().err


def test_a_file_in_the_place_of_another_is_measured_anew(net, no_charts):
    typed = ["compress", "net.onnx", "--data", "mnist_5k", "--methods", "baseline", "threads=1"]
    assert main(typed) == 0
    onnx.save(linear((1, 28, 28), matrix=weights(1, 784, 10)), net)
    assert main(typed) == 0
    assert len({row.errors for row in collect(Path("outputs"))[0]}) == 2
