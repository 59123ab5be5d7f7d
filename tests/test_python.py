"""`import kdbench`: what it costs, and the way there and back."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import kdbench
from kdbench import experiment
from kdbench.cli.main import main
from tests.conftest import FACTORIZE

TINY = {"data": "mnist_5k", "model": "mlp_simple", "model.widths": [4], "train": {"epochs": 1, "batch_size": 500}}
TYPED = ["data=mnist_5k", "model=mlp_simple", "model.widths=[4]", "train.epochs=1", "train.batch_size=500"]
HEAVY = ("torch", "numpy", "pandas", "onnx", "onnxruntime", "hydra", "omegaconf", "torchvision", "yaml", "tqdm")


def test_importing_it_imports_nothing_heavy():
    code = f"import sys; before = set(sys.modules); import kdbench; print(set({HEAVY}) & (set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_what_it_offers_is_documented():
    assert sorted(kdbench.__all__) == ["KdbenchError", "__version__", "load", "rows", "run", "sweep"]
    assert all(getattr(kdbench, name).__doc__ for name in ("run", "sweep", "rows", "load", "KdbenchError"))


def test_a_run_from_python_and_one_that_was_typed_are_one_run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    table = kdbench.sweep(**TINY, compress="quantize", seed=[1])
    assert capfd.readouterr() == ("", "")
    assert main(["run", *TYPED, "compress=quantize", "seed=1"]) == 0
    assert "was done already" in capfd.readouterr().out
    result = kdbench.run(**TINY, compress="quantize", seed=1)
    assert result.was_done
    assert str(result.folder) == table["folder"][0]
    assert kdbench.rows("outputs")["folder"][0] == str(result.folder.relative_to(tmp_path))
    images = torch.randint(256, (300, 1, 28, 28), dtype=torch.uint8)
    logits = kdbench.load(result.folder)(images)
    assert np.array_equal(logits, result.artifact(images))
    assert not result.network.training
    with torch.no_grad():  # int8 is of the file alone
        assert np.abs(result.network(images.float() / 255).numpy() - logits).max() < 0.5


@pytest.mark.parametrize("steps", [(), (FACTORIZE,)], ids=["baseline", "factorize"])
def test_the_network_is_that_of_the_file_and_needs_neither_store_nor_data(make_config, digits, monkeypatch, steps):
    config = make_config("mine" if steps else "baseline", *steps)
    result = experiment.run(config)
    shutil.rmtree(config.outputs / "store")
    monkeypatch.setattr(experiment, "load", None)
    images = digits.test.images[:100]
    with torch.no_grad():
        logits = result.network(images.float() / 255).numpy()
    assert np.allclose(logits, result.artifact(images), atol=1e-4)


def test_a_network_that_is_gone_is_said(make_config):
    result = experiment.run(make_config())
    shutil.rmtree(result.folder)
    with pytest.raises(kdbench.KdbenchError, match=r"there is no .*: give the folder of one run"):
        _ = result.network
