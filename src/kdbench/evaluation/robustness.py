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
from kdbench.training.attack import REACH, Attack
from kdbench.training.batches import scaled

IMAGES = 1_000  # of the test split, from all over it
STEPS, RESTARTS = 40, 3
BATCH = 250


def robust_accuracy(network: nn.Module, run: Session, test: Split, eps: float) -> float:
    """Return the share of `IMAGES` test images that the file, `run`, reads after every one of the attacks.

    PGD-40 with random starts, from `RESTARTS` of them, on `network` in float32; what comes of it is read through the
    file. What is attacked is the margin (Carlini and Wagner 2017, section V, f6), whose gradient, unlike that of the
    cross-entropy, does not vanish where logits are large. The same call gives the same figure. Raises `BadSetting`
    for a network that is a file, without gradients.
    """
    attacked = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    if isinstance(features.model_of(attacked), OnnxFile):
        raise BadSetting("robust_eps needs gradients, which an ONNX file does not give: give its Python class")
    attack = Attack(eps, REACH * eps / STEPS, STEPS)
    test = test.evenly(IMAGES)
    images, labels = scaled(test.images), test.labels
    attacked = with_channels_last(attacked, images[:1])
    right = torch.ones(len(labels), dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(RESTARTS):
            read = [
                read_after(attack, attacked, run, *part)
                for part in zip(images.split(BATCH), labels.split(BATCH), strict=True)
            ]
            right &= torch.cat(read)
    return int(right.sum()) / len(right)


def with_channels_last(network: nn.Module, image: Tensor) -> nn.Module:
    """Return a copy whose convolutions run faster; the network itself if its own code cannot be run so."""
    try:
        faster = copy.deepcopy(network).to(memory_format=torch.channels_last)
        faster(image)
    except RuntimeError:
        return network
    return faster


def read_after(attack: Attack, network: nn.Module, run: Session, images: Tensor, labels: Tensor) -> Tensor:
    """Return which of the images, (n,), the file reads right after the attack."""
    machine.stand_still()
    changed = attack(lambda changed: -margin(network(changed), labels).sum(), images)
    logits = run(changed.numpy().astype(np.float32))
    return torch.from_numpy(logits).argmax(1) == labels


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the label's logit is above all others, (n,); below 0 the image is read wrongly."""
    others = logits.scatter(1, labels[:, None], -torch.inf).max(1).values
    return logits.gather(1, labels[:, None])[:, 0] - others
