"""From networks to the files that are measured: the one that ships, and those it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import torch
from onnx import ModelProto

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact, Artifacts
from kdbench.artifact.metadata import Description, with_metadata
from kdbench.artifact.names import by_position
from kdbench.artifact.packing.graph import canonical
from kdbench.compress.step import FileStep, Task
from kdbench.models.network import Network
from kdbench.models.weights_file import written
from kdbench.networks.compared import Compared
from kdbench.settings.code import code_of
from kdbench.settings.config import digest
from kdbench.storage.checksums import checksum
from kdbench.storage.store import Store
from kdbench.training.once import Trained


def ship(networks: Compared, file_steps: Sequence[FileStep], task: Task, store: Store) -> Artifacts:
    """Write the network as the file that ships, through the steps that change files, and the others as they are.

    Each says in its metadata what data it is for, and holds its numbers as bytes, so that it packs byte for byte.
    """
    shipped, shape = networks.shipped, task.data.shape
    description = Description.of(task.data.train.images.numpy(), task.data.class_names)

    def artifact(trained: Trained, file: ModelProto | None = None) -> Artifact:
        made = exported(trained, shape, store) if file is None else file
        return Artifact(canonical(by_position(with_metadata(made, description, normalisation_of(trained)))))

    file = exported(shipped, shape, store)
    plain = artifact(shipped, file)
    for step in file_steps:
        torch.manual_seed(task.seed)  # what a step draws must not depend on what was made before it
        given = ModelProto()
        given.CopyFrom(file)
        file = step(given, task)
    baseline = plain if networks.baseline is shipped else artifact(networks.baseline)
    return Artifacts(artifact(shipped, file), baseline, tuple(map(artifact, networks.teachers)))


def normalisation_of(trained: Trained) -> tuple[list[float], list[float]] | None:
    """Return means and deviations that a network normalises by; None of one that does it elsewhere."""
    if not isinstance(trained.network, Network):
        return None
    first = trained.network[0]
    return first.mean.flatten().tolist(), first.deviation.flatten().tolist()


def exported(trained: Trained, shape: Sequence[int], store: Store) -> ModelProto:
    """Return the file of a network: from the store, since the exporter takes seconds, or written and put there."""
    what = {
        "export of": trained.key,
        "weights": checksum(written(trained.network)),  # seeds trained together share a key, not bits
        "shape": shape,
        "code": code_of(["kdbench.artifact.export"], ("kdbench.artifact",)),
        **{package: version(package) for package in ("onnx", "onnxscript")},
    }

    def make() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        content = export(trained.network, shape).SerializeToString(deterministic=True)
        return {"file": torch.frombuffer(bytearray(content), dtype=torch.uint8)}, {}

    entry = store.memo(digest(what)[:32], f"the export to ONNX of training {trained.key[:8]}", what, make, quick=True)
    return ModelProto.FromString(entry.tensors["file"].numpy().tobytes())
