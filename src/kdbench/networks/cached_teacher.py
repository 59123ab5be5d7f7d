"""A trained network as a teacher, whose logits for images that come again are kept in the store."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import Tensor

from kdbench.data.splits import Splits
from kdbench.settings.network import NetworkSpec
from kdbench.training.batches import Batches
from kdbench.training.fit import EVALUATION_BATCH
from kdbench.training.fitting import Fitting
from kdbench.training.once import Trained
from kdbench.training.spent import Spent
from kdbench.training.teacher import Teacher

if TYPE_CHECKING:
    from kdbench.networks.maker import Maker


def teacher_of(maker: Maker, trained: Trained, spec: NetworkSpec, examples: Splits, fitting: Fitting) -> Teacher:
    """Return `trained` as a teacher of students that see `examples` as the recipe of `spec` shows them.

    The logits for a view of them are kept in the store, where all its students that train with as many threads
    find them.
    """
    shift, flip = spec.recipe.shift, spec.recipe.flip
    views = Batches(examples.train, EVALUATION_BATCH, shift, spec.seed, maker.runtime.device, flip=flip)
    teacher = Teacher(copy.deepcopy(trained.network), maker.runtime)

    def cached(view: int) -> Tensor:
        seed = spec.seed if shift or flip else None
        what = {"teacher": trained.key, "shift": shift, "flip": flip, "seed": seed, "view": view}
        what |= {"examples": examples.fingerprint, "threads": fitting.runtime.threads}
        key = maker.key(what)

        def answer() -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
            logits, spent = teacher.logits_of(views, view)
            return {"logits": logits}, asdict(spent)

        entry = maker.store.memo(key, f"logits of the teacher {trained.key[:8]}, view {view}", what, answer)
        # What this training made itself is among its own time, also after it was cut off.
        took = Spent(entry.record["seconds"], entry.record["cpu_seconds"]) if entry.was_there else Spent()
        fitting.cost.cached.setdefault(key, took)
        return entry.tensors["logits"]

    teacher.cached = cached
    return teacher
