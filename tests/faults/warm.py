"""What a process does once before commands are forked from it: imports, a first export, the embedded digits read."""

from __future__ import annotations

import functools
import gc

import pytest
import torch
from tests import composing, exporting
from torch import nn

import kdbench.cli.hydra_app
import kdbench.cli.plot
import kdbench.experiment
import kdbench.results.table  # noqa: F401
from kdbench.artifact.export import export
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.data import mnist_5k
from kdbench.evaluation import speed
from kdbench.settings.choices import config_dir
from kdbench.settings.composing import compose
from kdbench.settings.search_path import searched

torch.set_num_threads(1)  # threads do not survive a fork
exporting.quickened(pytest.MonkeyPatch())
mnist_5k.read = functools.cache(mnist_5k.read)
mnist_5k.read()
DynamicInt8()(export(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval(), (1, 2, 2)), None)  # type: ignore[arg-type]
composing.quickened(pytest.MonkeyPatch())
with searched([config_dir()]):
    for compress in ("baseline", "distill_quantize"):  # Hydra looks for its plugins once, and reads files once
        compose(["data=mnist_5k", "model=mlp_simple", f"compress={compress}"], [config_dir()])
# Timings are no part of what is tested.
speed.SECONDS, speed.WARM_UP_SECONDS, speed.LEAST_SHARE, speed.PASSES, speed.THROUGHPUT_BATCH = 0.01, 0.0, 0.0, 1, 32
gc.collect()
gc.freeze()  # nobody looks through all this again in every fork
