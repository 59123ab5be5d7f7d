"""Four ways to int8 with ranges that are fixed beforehand, each by its own defaults.

All find their ranges on the same images. What differs from a default is said where it does.
"""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
from onnx import ModelProto
from torch import nn

from kdbench.compress.quantize.calibration import CalibrationBatches
from kdbench.compress.step import Examples
from kdbench.data.splits import Splits
from kdbench.experiment import task_of_files
from kdbench.models.onnx_graph import INPUT
from kdbench.settings import targets
from kdbench.settings.choices import config_dir
from kdbench.settings.plain_yaml import load_plain
from kdbench.storage.store import Store

PEERS = {"nncf": "nncf", "olive": "olive-ai requests"}  # module: what pip calls it, and what it forgets to ask for


def missing() -> list[str]:
    """Import the peers, whose imports are no part of what is timed; return what pip would have to install."""
    logging.getLogger("nncf").setLevel(logging.ERROR)
    wanting = []
    for module, package in PEERS.items():
        try:
            importlib.import_module(module)
        except ImportError:
            wanting.append(package)
    return wanting


def default_images() -> int:
    """Return how many training images kdbench finds ranges on by default, which all are given."""
    return int(description()["images"])


def description() -> dict[str, object]:
    """Return kdbench's own choice of knobs."""
    return load_plain((config_dir() / "compress" / "quantize_static.yaml").read_text())


def kdbench(file: ModelProto, splits: Splits) -> ModelProto:
    """Return the file as `compress=quantize_static` makes it; its race between two forms counts as making it."""
    step = targets.instantiate(description(), "compress")
    with tempfile.TemporaryDirectory() as store:
        made = step(file, task_of_files(splits, 0, nn.Identity(), Store(Path(store))))
    made.metadata_props.extend(file.metadata_props)  # which the peers keep, and a run writes when all is done
    return made


def onnxruntime(file: ModelProto, splits: Splits) -> ModelProto:
    """Return it by `quantize_static`: QDQ, activations and weights int8, one scale a tensor."""
    from onnxruntime.quantization import quantize_static

    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(file, given)
        quantize_static(given, made, CalibrationBatches(INPUT, images(splits)))
        return onnx.load(made)


def nncf(file: ModelProto, splits: Splits) -> ModelProto:
    """Return it by `nncf.quantize`. By default it takes the first 300 images that it is given; here it takes all."""
    import nncf as peer

    given = ModelProto()
    given.CopyFrom(file)
    items = [{INPUT: image[None]} for image in images(splits)]
    return peer.quantize(given, peer.Dataset(items), subset_size=len(items))


def olive(file: ModelProto, splits: Splits) -> ModelProto:
    """Return it by the pass `OnnxStaticQuantization`: int8 by ONNX Runtime, of a graph that was optimised before."""
    from olive.data.config import DataConfig
    from olive.data.registry import Registry
    from olive.model import ONNXModelHandler
    from olive.passes.olive_pass import create_pass_from_dict
    from olive.passes.onnx.quantization import OnnxStaticQuantization
    from onnxruntime.quantization.calibrate import MinMaxCalibrater

    items = [({INPUT: image}, 0) for image in images(splits)]
    Registry.register_dataset("calibration_images")(lambda: items)
    data = DataConfig(name="calibration", load_dataset_config={"type": "calibration_images"})
    step = create_pass_from_dict(OnnxStaticQuantization, {"data_config": data}, disable_search=True)
    # It replaces this function of ONNX Runtime for the rest of the process, and so what the others would do.
    unchanged = mock.patch.object(MinMaxCalibrater, "augment_graph", MinMaxCalibrater.augment_graph)
    with tempfile.TemporaryDirectory() as folder, unchanged:
        given = Path(folder) / "float.onnx"
        onnx.save(file, given)
        made = step.run(ONNXModelHandler(str(given)), str(Path(folder) / "int8.onnx"))
        return onnx.load(made.model_path)


def images(splits: Splits) -> np.ndarray:
    """Return the training images that kdbench finds its ranges on: float32 (n, channels, height, width) in [0, 1]."""
    return Examples(splits.train, splits.val, splits.class_names).to_calibrate(default_images()).numpy()


WAYS: dict[str, Callable[[ModelProto, Splits], ModelProto]] = {
    "kdbench": kdbench,
    "ONNX Runtime": onnxruntime,
    "NNCF": nncf,
    "Olive": olive,
}
