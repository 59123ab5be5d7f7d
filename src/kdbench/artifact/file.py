"""What ships and what is measured: one ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import onnx
from onnx import ModelProto

from kdbench.artifact.packing import kdz


@dataclass(frozen=True)
class Artifact:
    """An ONNX file: its graph, and its bytes as they are written to disk."""

    file: ModelProto

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file, after ONNX's own check that it is well formed."""
        onnx.checker.check_model(self.file, full_check=True)
        return self.file.SerializeToString(deterministic=True)

    @cached_property
    def packed(self) -> bytes:
        """The same as it travels: the bytes of `model.kdz`."""
        return kdz.pack(self.content)

    @property
    def size_bytes(self) -> int:
        """The length of the file."""
        return len(self.content)


@dataclass(frozen=True)
class Artifacts:
    """The file that ships, that of the network before its compression, and those of its teachers."""

    shipped: Artifact
    baseline: Artifact
    teachers: tuple[Artifact, ...] = ()
