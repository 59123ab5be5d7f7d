"""Which of several forms of one network runs fastest on this machine, and which one a file has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import ModelProto

from kdbench.artifact.packing.graph import apart
from kdbench.artifact.session import session
from kdbench.evaluation import speed
from kdbench.evaluation.environment import processor, versions
from kdbench.evaluation.passes import Way
from kdbench.evaluation.weights import float_layers, one_scale_layers
from kdbench.settings.config import digest
from kdbench.storage.checksums import checksum
from kdbench.storage.store import Store

log = logging.getLogger(__name__)

SECONDS = 0.3  # of timing, for one image and for a batch
MARGIN = 0.02  # by which a form has to be faster than those before it


@dataclass(frozen=True)
class FastestHere:
    """The `Fastest` of a task.

    The answer is kept in the store under the graph alone, whose numbers do not decide how fast it is: the seeds of a
    network ship in one form. One that others disturbed is not kept.
    """

    images: np.ndarray  # float32 (any number, channels, height, width) in [0, 1]
    store: Store

    def __call__(self, files: Sequence[ModelProto], than: ModelProto) -> int:
        """Return the number of the first that no other is faster than by `MARGIN`, on one thread.

        What counts is the geometric mean of two ratios to `than`: of the times for one image, and for a batch.
        """
        bare = [apart(file)[0].SerializeToString(deterministic=True) for file in (*files, than)]
        what = {"fastest of": [checksum(graph) for graph in bare], "on": processor(), "by": versions()}
        key = digest(what)[:32]
        known = self.store.get(key)
        if known is not None:
            return int(known.tensors["choice"])
        contents = [file.SerializeToString() for file in (*files, than)]
        choice, share = speed.undisturbed(lambda: self.race(contents), lambda found: found[1] >= speed.LEAST_SHARE)
        if share < speed.LEAST_SHARE:
            log.info("the fastest form was found beside other work (%.0f%% of the CPU), and is not kept", 100 * share)
            return choice

        def make() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
            return {"choice": torch.tensor(choice)}, {}

        return int(self.store.memo(key, "the fastest form of a file", what, make, quick=True).tensors["choice"])

    def race(self, files: Sequence[bytes]) -> tuple[int, float]:
        """Time all in turn, the last one being what the others are compared with.

        Return the number of the one to be taken, and the share of the processor that they had.
        """
        batch = np.resize(self.images, (speed.THROUGHPUT_BATCH, *self.images.shape[1:]))
        runs = [session(content, 1) for content in files]
        scores, share = np.ones(len(files) - 1), 1.0
        for images in (batch[:1], batch):
            turns = speed.in_turn([Way(run, images) for run in runs], SECONDS)
            rates = np.array([[one.rate for one in turn] for turn in turns])
            scores *= np.median(rates[:, :-1] / rates[:, -1:], axis=0)
            share = min(share, speed.share_of(turns))
        means = np.sqrt(scores)
        log.info("forms of the file, times as fast as before: %s", ", ".join(f"{mean:.2f}" for mean in means))
        return int(np.argmax(means * (1 + MARGIN) >= means.max())), share


@dataclass(frozen=True)
class FormOf:
    """The `Fastest` of a task that makes a file once more: in the form that it was shipped in, fastest now or not."""

    shipped: ModelProto

    def __call__(self, files: Sequence[ModelProto], than: ModelProto) -> int:
        """Return the number of the first file in that form, 0 if none is."""
        wanted = form(self.shipped)
        return next((number for number, file in enumerate(files) if form(file) == wanted), 0)


def form(file: ModelProto) -> tuple[list[str], list[str]]:
    """Return what the forms of one network differ in: which layers are float, and which have one scale."""
    return float_layers(file), one_scale_layers(file)
