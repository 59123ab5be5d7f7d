"""What a step learns from: the training set, or the transfer set that it names."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from kdbench.compress.order import method_of
from kdbench.compress.step import NetworkStep
from kdbench.data.load import load
from kdbench.data.splits import Split, Splits
from kdbench.errors import BadSetting
from kdbench.settings.network import NetworkSpec, StepSpec


@dataclass(frozen=True)
class Transfer:
    """What a student learns from under its teachers; without a `name` it is the training set."""

    name: str | None
    splits: Splits


def transfer_for(step: StepSpec, own: Splits, needs_labels: bool) -> Splits:
    """Return the data that a step learns from; `own` are those of the run.

    Raises `BadSetting` if its images have another shape, or labels that it needs mean other classes.
    """
    if step.transfer is None:
        return own
    name, splits = step.transfer.name, load(step.transfer, source=own)[1]
    if splits.shape != own.shape:
        theirs, ours = ("x".join(map(str, shape)) for shape in (splits.shape, own.shape))
        raise BadSetting(
            f"compress.transfer={name} has images of {theirs}, and the network takes {ours}: type one of those"
        )
    if splits.labelled and tuple(splits.class_names) == tuple(own.class_names):
        return splits
    if needs_labels:
        why = "has classes of its own" if splits.labelled else "has images without labels"
        without = method_of(replace(step, method={**step.method, "alpha": 0})) if "alpha" in step.method else None
        typed = "" if isinstance(without, NetworkStep) and not without.needs_labels else "compress=distill "
        raise BadSetting(f"compress.transfer={name} {why}, and labels are learnt from: type {typed}compress.alpha=0")
    unlabelled = Split(splits.train.images, torch.zeros_like(splits.train.labels))
    return replace(splits, train=unlabelled, class_names=own.class_names, labelled=False)


def learnt_from(network: NetworkSpec, own: Splits) -> Transfer | None:
    """Return what the last step under a teacher learns from; None if there is no such step, or it reads no images."""
    taught = [step for step in network.steps if step.teachers]
    if not taught or not getattr(method_of(taught[-1]), "reads_images", True):
        return None
    named = taught[-1].transfer
    return Transfer(named.name if named else None, transfer_for(taught[-1], own, needs_labels=False))
