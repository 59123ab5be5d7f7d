"""How many test images a file still reads after an attack on the network that it was made of."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from kdbench.artifact.session import Session
from kdbench.data.splits import Split
from kdbench.errors import BadSetting
from kdbench.models.onnx_file import OnnxFile
from kdbench.storage import machine
from kdbench.training import features
from kdbench.training.attack import Attack
from kdbench.training.batches import scaled
from kdbench.training.criteria import cross_entropy

IMAGES = 1_000  # the first of the test split
STEPS, RESTARTS = 40, 3
REACH = 2.5  # times eps: how far all steps together could go (Madry et al. 2018, section 3.1)
BATCH = 250


def robust_accuracy(network: nn.Module, run: Session, test: Split, eps: float) -> float:
    """Return the share of the first `IMAGES` test images that the file, `run`, reads after every one of the attacks.

    PGD-40 with random starts, from `RESTARTS` of them, on `network` in float32; what comes of it is read through the
    file. The same call gives the same figure. Raises `BadSetting` for a network that is a file, without gradients.
    """
    attacked = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    if isinstance(features.model_of(attacked), OnnxFile):
        raise BadSetting("robust_eps needs gradients, which an ONNX file does not give: give its Python class")
    attack = Attack(eps, REACH * eps / STEPS, STEPS)
    images, labels = scaled(test.images[:IMAGES]), test.labels[:IMAGES]
    right = torch.ones(len(labels), dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(RESTARTS):
            read = [
                read_after(attack, attacked, run, *part)
                for part in zip(images.split(BATCH), labels.split(BATCH), strict=True)
            ]
            right &= torch.cat(read)
    return float(right.float().mean())


def read_after(attack: Attack, network: nn.Module, run: Session, images: Tensor, labels: Tensor) -> Tensor:
    """Return which of the images, (n,), the file reads right after the attack."""
    machine.stand_still()
    changed = attack(lambda changed: cross_entropy(network(changed), labels), images)
    logits = run(changed.numpy().astype(np.float32))
    return torch.from_numpy(logits).argmax(1) == labels
