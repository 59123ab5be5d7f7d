"""Tasks for methods that are tested without a store: a fit of a few epochs, or none at all."""

from __future__ import annotations

from dataclasses import replace

import torch
from tests.training.methods import built
from torch import nn

from kdbench.compress.step import Examples, Task
from kdbench.data.splits import Splits
from kdbench.models.network import Network
from kdbench.training import features
from kdbench.training.batches import Batch, Batches
from kdbench.training.criteria import LABELS
from kdbench.training.fit import fit
from kdbench.training.learner import Learner


def no_training(*_, **__):
    raise AssertionError("this trains nothing")


def fitting(splits: Splits, recipe, machine, histories=None):
    """The `Fit` of a run, as `networks` makes it, without a checkpoint."""

    def fit_one(
        network, criterion=LABELS, *, epochs=None, share=1.0, until=None, lr_scale=1.0, constraint=None, examples=None
    ):
        own = replace(recipe, epochs=recipe.share(share) if epochs is None else epochs, lr=recipe.lr * lr_scale)
        learner = Learner(network, 0, criterion, [constraint] if constraint else [], views_known=examples is None)
        history = fit(learner, splits.train if examples is None else examples, splits.val, own, machine, until)
        if histories is not None:
            histories.append(history)

    return fit_one


def task_of(
    splits: Splits, fit_one=no_training, teachers=(), initial: nn.Module | None = None, family: str = "mlp"
) -> Task:
    """A task; other networks that a method asks for are of a `family` of `built`."""
    data = Examples(splits.train, splits.val, splits.class_names)
    initial = nn.Identity() if initial is None else initial
    return Task(data, teachers, fit_one, 0, initial, in_full, lambda seed: built(family, splits, seed))


def in_full(network: nn.Module, images: torch.Tensor, layers=()):
    """A forward pass, in float32."""
    return features.run(network, images, layers)


def used(family: str, splits: Splits, seed: int = 0) -> Network:
    """A network that has seen some images, so that batch norm has statistics."""
    network = built(family, splits, seed).train()
    with torch.no_grad():
        network(splits.train.images[:64].float() / 255)
    return network.eval()


def a_batch(splits: Splits, count: int = 12) -> Batch:
    return next(Batches(splits.train[:count], count, 0, 0, "cpu").epoch(1))


def unfused(content, images):
    """The logits of a file that ONNX Runtime runs node by node: those that ONNX defines, on every processor.

    Fused, whole numbers are added up in 16 bits where a processor has no VNNI, and may overflow (see `StaticInt8`).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    run = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return run.run(None, {"images": images.numpy()})[0]
