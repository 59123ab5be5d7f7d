"""From networks to the files that are measured: the one that ships, and those it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import torch
from onnx import ModelProto

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact, Artifacts
from kdbench.compress.step import FileStep, Task
from kdbench.models.weights_file import written
from kdbench.networks import Compared
from kdbench.settings import identity
from kdbench.settings.config import digest
from kdbench.storage.checksums import checksum
from kdbench.storage.store import Store
from kdbench.training.once import Trained


def ship(networks: Compared, file_steps: Sequence[FileStep], task: Task, store: Store) -> Artifacts:
    """Write the network as the file that ships, through the steps that change files, and the others as they are."""
    shipped, shape = networks.shipped, task.data.shape
    plain = file = exported(shipped, shape, store)
    for step in file_steps:
        torch.manual_seed(task.seed)  # what a step draws must not depend on what was made before it
        given = ModelProto()
        given.CopyFrom(file)
        file = step(given, task)
    baseline = plain if networks.baseline is shipped else exported(networks.baseline, shape, store)
    teachers = tuple(Artifact(exported(teacher, shape, store)) for teacher in networks.teachers)
    return Artifacts(Artifact(file), Artifact(baseline), teachers)


def exported(trained: Trained, shape: Sequence[int], store: Store) -> ModelProto:
    """Return the file of a network: from the store, since the exporter takes seconds, or written and put there."""
    what = {
        "export of": trained.key,
        "weights": checksum(written(trained.network)),  # seeds trained together share a key, not bits
        "shape": shape,
        "code": identity.code(["kdbench.artifact.export"], ("kdbench.artifact",)),
        **{package: version(package) for package in ("onnx", "onnxscript")},
    }

    def make() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        content = export(trained.network, shape).SerializeToString(deterministic=True)
        return {"file": torch.frombuffer(bytearray(content), dtype=torch.uint8)}, {}

    entry = store.memo(digest(what)[:32], f"the file of {trained.key[:8]}", what, make, quick=True)
    return ModelProto.FromString(entry.tensors["file"].numpy().tobytes())
