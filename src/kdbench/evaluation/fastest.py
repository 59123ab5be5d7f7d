"""Which of several forms of one network runs fastest on this machine."""

from __future__ import annotations

import logging
import math
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
from kdbench.settings.config import digest
from kdbench.storage import machine
from kdbench.storage.checksums import checksum
from kdbench.storage.store import Store

log = logging.getLogger(__name__)

SECONDS = 0.3  # of timing, for one image and for a batch


@dataclass(frozen=True)
class FastestHere:
    """The `Fastest` of a task.

    The answer is kept in the store under the graph alone, whose numbers do not decide how fast it is: the seeds of a
    network ship in one form.
    """

    images: np.ndarray  # float32 (any number, channels, height, width) in [0, 1]
    store: Store

    def __call__(self, files: Sequence[ModelProto], than: ModelProto) -> int:
        """Return the number of the one with the greatest product of both ratios to `than`; one thread."""
        bare = [apart(file)[0].SerializeToString(deterministic=True) for file in (*files, than)]
        what = {"fastest of": [checksum(graph) for graph in bare], "on": processor(), "by": versions()}

        def make() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
            return {"choice": torch.tensor(self.race([file.SerializeToString() for file in (*files, than)]))}, {}

        entry = self.store.memo(digest(what)[:32], "the fastest form of a file", what, make, quick=True)
        return int(entry.tensors["choice"])

    def race(self, files: Sequence[bytes]) -> int:
        """Time all in turn, the last one being what the others are compared with."""
        batch = np.resize(self.images, (speed.THROUGHPUT_BATCH, *self.images.shape[1:]))
        runs = [session(content, 1) for content in files]
        scores = np.ones(len(files) - 1)
        with machine.alone():
            for images in (batch[:1], batch):
                turns = speed.in_turn([Way(run, images) for run in runs], SECONDS)
                rates = np.array([[one.rate for one in turn] for turn in turns])
                scores *= np.median(rates[:, :-1] / rates[:, -1:], axis=0)
        log.info("forms of the file, times as fast as before: %s", ", ".join(f"{math.sqrt(s):.2f}" for s in scores))
        return int(scores.argmax())
