import shutil
import subprocess
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.conftest import PRUNE, QUANTIZE, distill, make_row
from tests.settings.test_plain_yaml import BOMB

from kdbench import experiment
from kdbench.artifact.file import Artifact
from kdbench.cli.main import main
from kdbench.errors import DamagedFile
from kdbench.evaluation import speed
from kdbench.evaluation.fastest import FastestHere
from kdbench.models.onnx_graph import load
from kdbench.results.row import FILE, as_csv, read, write
from kdbench.results.run_folder import FILES
from kdbench.storage.checksums import SUMS, checksum, sums


def run(make_config, name):
    steps = {"baseline": [], "quantize": [QUANTIZE], "prune": [PRUNE], "distill": [distill()]}[name]
    return experiment.run(make_config(name, *steps)).folder


@pytest.mark.parametrize("name", ["baseline", "quantize", "prune", "distill"])
def test_what_a_run_wrote_is_verified_by_measuring_it_again(make_config, name, capsys):
    assert main(["verify", str(run(make_config, name))]) == 0
    assert capsys.readouterr().out.startswith("verified: ")


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_is_verified_in_the_form_that_it_was_shipped_in_whatever_is_fastest_now(
    make_config, number, capsys, monkeypatch
):
    static = {
        "_target_": "kdbench.compress.quantize.static_int8.StaticInt8",
        **{"images": 16, "ranges": "minmax", "percentile": 99.9, "weight_bits": 7},
        **{"in_float": None, "linear_scales": "output"},
    }
    monkeypatch.setattr(FastestHere, "race", lambda *_: (number, 0.5))  # disturbed: it is not kept
    monkeypatch.setattr(speed, "LEAST_SHARE", 0.9)
    monkeypatch.setattr(speed, "TRIES", 1)
    folder = experiment.run(make_config("quantize_static", static)).folder
    monkeypatch.setattr(FastestHere, "race", lambda *_: (1 - number, 1.0))
    for how in ([], ["--retrain"]):
        assert main(["verify", str(folder), *how]) == 0
        assert capsys.readouterr().out.startswith("verified: ")


@pytest.mark.parametrize("name", ["prune", "distill"])
def test_a_run_is_verified_by_training_it_again(make_config, name, capsys):
    assert main(["verify", str(run(make_config, name)), "--retrain"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("and so are the weights")


def test_weights_of_several_numbers_of_threads_are_not_called_different(make_config, capsys):
    folder = run(make_config, "prune")
    rewrite(folder, train_threads=None)
    assert main(["verify", str(folder), "--retrain"]) == 1
    err = capsys.readouterr().err
    assert "trained on different numbers of threads" in err
    assert len(err.strip().splitlines()) == 1
    assert main(["verify", str(folder)]) == 0


def rewrite(folder, **changes):
    """Write another row, and checksums of it and of what lies beside it."""
    row = read_unchecked(folder)
    (folder / FILE).write_bytes(as_csv(replace(row, **changes)))
    (folder / SUMS).write_bytes(sums({name: (folder / name).read_bytes() for name in FILES}))


def read_unchecked(folder):
    (folder / SUMS).write_bytes(sums({name: (folder / name).read_bytes() for name in FILES}))
    return read(folder / FILE)


def test_of_several_runs_each_is_verified_under_its_name_and_one_that_fails_stops_no_other(
    make_config, tmp_path, capsys
):
    good, changed = run(make_config, "baseline"), run(make_config, "quantize")
    assert main(["verify", str(good), str(changed)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[2]) == (f"{good}:", f"{changed}:")
    assert all(line.startswith("verified: ") for line in lines[1::2])
    rewrite(changed, errors=1)
    nowhere = tmp_path / "nowhere"
    for folders in ([changed, good], [nowhere, good]):
        assert main(["verify", *map(str, folders)]) == 1
        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert (lines[0], lines[-2]) == (f"{folders[0]}:", f"{good}:")
        assert lines[-1].startswith("verified: ")
        assert err.count(f"error: {nowhere}: there is no folder") == (folders[0] == nowhere)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_the_checksums_are_those_of_the_usual_tool(make_config, capsys):
    folder = run(make_config, "baseline")
    checked = subprocess.run(["sha256sum", "--check", SUMS], cwd=folder, capture_output=True, text=True, check=True)
    names = ["model.onnx", "model.kdz", "weights.safetensors", "history.csv", "config.yaml", "metrics.csv"]
    assert checked.stdout.splitlines() == [f"{name}: OK" for name in names]
    (folder / "history.csv").write_text("epoch\n")
    assert main(["verify", str(folder)]) == 1
    assert "history.csv is damaged: its checksum is not the one in SHA256SUMS" in capsys.readouterr().err


def test_a_row_that_says_anything_else_is_found_out(make_config, capsys):
    folder = run(make_config, "quantize")
    row = read(folder / FILE)
    for name, value in {
        "accuracy": 0.5,
        "errors": 1,
        "agreement": 0.5,
        "macs": 1,
        "nll": 0.1,
        "teacher_kl": 0.1,
    }.items():
        rewrite(folder, **{name: value})
        assert main(["verify", str(folder)]) == 1
        assert f"differs: {name} is {getattr(row, name)}, the row says {value}" in capsys.readouterr().out
        rewrite(folder, **{name: getattr(row, name)})


def test_a_file_that_is_not_what_was_trained_is_found_out(make_config, capsys):
    folder = run(make_config, "baseline")
    file = onnx.load(folder / "model.onnx")
    weights = next(tensor for tensor in file.graph.initializer if len(tensor.dims) == 2)
    changed = numpy_helper.to_array(weights).copy()
    changed[0, 0] += 1e-3
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    content = Artifact(file).content
    (folder / "model.onnx").write_bytes(content)
    assert main(["verify", str(folder)]) == 1
    assert "model.onnx is damaged: its checksum is not the one in SHA256SUMS" in capsys.readouterr().err
    rewrite(folder)
    assert main(["verify", str(folder)]) == 1
    assert "model.onnx is damaged: it is not the file that its row describes" in capsys.readouterr().err
    rewrite(folder, artifact_sha256=checksum(content))
    assert main(["verify", str(folder), "--retrain"]) == 1
    assert "retrained, 1 of " in capsys.readouterr().out


def test_a_run_folder_alone_is_verified_as_far_as_it_goes(make_config, tmp_path, capsys):
    folder = run(make_config, "quantize")
    alone = tmp_path / "elsewhere" / "runs" / "some" / folder.name
    shutil.copytree(folder, alone)
    assert main(["verify", str(alone)]) == 0
    out = capsys.readouterr().out
    assert "not compared: agreement (mlp_tiny baseline seed 0 is not in the store: --retrain makes it)" in out
    assert out.splitlines()[-1] == "verified in part: 20 figures are what the row says"
    assert main(["verify", str(alone), "--retrain"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("verified: ")


def test_another_configuration_or_other_data_are_refused(make_config, capsys, monkeypatch):
    folder = run(make_config, "baseline")
    config = folder / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("seed: 0", "seed: 1"))
    rewrite(folder)
    assert main(["verify", str(folder)]) == 1
    assert "its config.yaml is not that of its row" in capsys.readouterr().err
    for rubbish in ("", "[]", "a: [", "data: 3\n", text.replace("network:", "netwurk:")):
        config.write_text(rubbish)
        rewrite(folder)
        assert main(["verify", str(folder)]) == 1
        assert "is not the configuration of a run" in capsys.readouterr().err
    config.write_text(text)
    rewrite(folder)
    rewrite(folder, data_fingerprint="0123")
    assert main(["verify", str(folder)]) == 1
    assert "is not what the row was measured on" in capsys.readouterr().err


def test_what_is_no_run_folder_is_refused(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 1
    assert "holds no metrics.csv: give the folder of one run" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "nowhere")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    write(make_row(), tmp_path)
    assert main(["verify", str(tmp_path)]) == 1
    assert "holds no model.onnx: give the folder as this version" in capsys.readouterr().err


def model(node, initializer=(), domain=""):
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 1, 28, 28])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(
        helper.make_graph([node], "g", [images], [logits], list(initializer)), opset_imports=opsets
    )


def test_operators_of_others_are_refused():
    foreign = helper.make_node("Evil", ["images"], ["logits"], domain="evil.example")
    with pytest.raises(DamagedFile, match=r"not ONNX's own"):
        load(model(foreign, domain="evil.example").SerializeToString())


def test_what_may_never_end_is_refused():
    count = numpy_helper.from_array(np.array(2**62), "count")
    truth = numpy_helper.from_array(np.array(True), "truth")
    passed = helper.make_node("Identity", ["truth"], ["on"])
    value = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    body = helper.make_graph([passed], "body", [], [value])
    body.input.extend([helper.make_tensor_value_info("i", TensorProto.INT64, []), value])
    loop = helper.make_node("Loop", ["count", "truth"], ["logits"], body=body)
    with pytest.raises(DamagedFile, match="loops or branches"):
        load(model(loop, [count, truth]).SerializeToString())


def test_a_configuration_of_anyone_is_read_or_refused(make_config, capsys):
    folder = run(make_config, "baseline")
    config = folder / "config.yaml"
    for text in (BOMB, "&a [*a]", "[" * 3000):
        config.write_text(text)
        rewrite(folder)
        assert main(["verify", str(folder)]) == 1
        assert "is not the configuration of a run" in capsys.readouterr().err


def test_weights_in_other_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(bytes(4))
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret")
    adding = helper.make_node("Add", ["images", "w"], ["logits"])
    with pytest.raises(DamagedFile, match=r"lie in another file"):
        load(model(adding, [tensor]).SerializeToString())
    constant = helper.make_node("Constant", [], ["logits"], value=tensor)
    with pytest.raises(DamagedFile, match=r"lie in another file"):
        load(model(constant).SerializeToString())


def test_a_folder_that_lies_anywhere_and_a_file_that_is_no_classifier(make_config, tmp_path, capsys, monkeypatch):
    folder = run(make_config, "baseline")
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "alone"]) == 0
    assert "verified in part: " in capsys.readouterr().out
    identity = model(helper.make_node("Identity", ["images"], ["logits"])).SerializeToString()
    (alone / "model.onnx").write_bytes(identity)
    rewrite(alone, artifact_sha256=checksum(identity))
    assert main(["verify", "alone"]) == 1
    out, err = capsys.readouterr()
    assert len((out + err).strip().splitlines()) >= 1
    assert "Traceback" not in err
