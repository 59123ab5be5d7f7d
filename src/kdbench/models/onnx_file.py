"""A network of another tool, as the ONNX file that it is: measured, quantized, asked as a teacher; never trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.external_data_helper
import onnxruntime
import torch
from onnx import ModelProto
from torch import Tensor, nn

from kdbench.errors import BadSetting, CannotCount, DamagedFile
from kdbench.models import onnx_graph
from kdbench.models.onnx_fit import fitted, inlined
from kdbench.models.onnx_graph import INPUT, OUTPUT, outside, parsed


class OnnxFile(nn.Module):
    """The function of an ONNX file, whose bytes are all the state it has. Gradients stop at it.

    Maps images float32 (batch, *shape), in whatever range the file takes them, to logits (batch, classes). Before
    `load_file` it gives zeros.
    """

    file: Tensor  # uint8 (bytes,)

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.classes = classes
        self.register_buffer("file", torch.zeros(0, dtype=torch.uint8))
        self.session: onnxruntime.InferenceSession | None = None  # of the file, once it is run

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has: all but the session, which cannot be copied."""
        return {**self.__dict__, "session": None}

    def load_file(self, path: Path) -> None:
        """Take the network from `path`. Raises `BadSetting` if it is none that maps such images to such logits."""
        try:
            whole = inlined(read(path)).SerializeToString()
            file = fitted(onnx_graph.load(whole), self.shape, self.classes)
        except DamagedFile as error:
            raise BadSetting(f"weights={path} cannot be used: {error}") from error
        content = file.SerializeToString(deterministic=True)
        self.session = None
        self.file = torch.frombuffer(bytearray(content), dtype=torch.uint8)

    @property
    def graph(self) -> ModelProto:
        """The file: images in, logits out, both under the names that kdbench gives them."""
        return ModelProto.FromString(self.file.cpu().numpy().tobytes())

    @property
    def parameter_count(self) -> int:
        """How many numbers of stored tensors its nodes use, scalars and running statistics left out.

        Raises `CannotCount` if it holds them as whole numbers, which it makes real ones of.
        """
        graph = self.graph.graph
        used: set[str] = set()
        for node in graph.node:
            used |= set(node.input[:3] if node.op_type == "BatchNormalization" else node.input)
        stored = {tensor.name: tensor for tensor in graph.initializer}
        stored |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
        cast = {node.input[0] for node in graph.node if node.op_type == "Cast"}
        whole = [t for name, t in stored.items() if name in cast and t.data_type not in onnx_graph.FLOATS]
        if any(np.prod(tensor.dims) > 1 for tensor in whole):
            raise CannotCount("it holds weights as whole numbers behind a Cast, which kdbench cannot count")
        floats = [t for name, t in stored.items() if name in used and t.dims and t.data_type in onnx_graph.FLOATS]
        return sum(int(np.prod(tensor.dims)) for tensor in floats)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits float32 (batch, classes)."""
        if not len(self.file):
            return images.new_zeros(len(images), self.classes, dtype=torch.float32)
        given = images.detach().float().cpu().contiguous().numpy()
        if self.session is None:
            self.session = session_of(self.file.cpu().numpy().tobytes())
        found = self.session.run([OUTPUT], {INPUT: given})[0]
        return torch.from_numpy(found).to(images.device)


def session_of(content: bytes) -> onnxruntime.InferenceSession:
    """Return the file as ONNX Runtime runs it, on as many threads as torch uses now."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def read(path: Path) -> ModelProto:
    """Return the model in `path`, with the weights that torch's exporter puts into `path`.data beside it.

    Raises `DamagedFile` if it is none, and `BadSetting` if it cannot be read.
    """
    try:
        file = parsed(path.read_bytes())
        places = {entry.value for one in outside(file) for entry in one.external_data if entry.key == "location"}
        if not places:
            return file
        if places != {f"{path.name}.data"}:
            raise DamagedFile(
                f"its weights lie in {', '.join(sorted(places))}: only {path.name}.data is read beside it"
            )
        onnx.external_data_helper.load_external_data_for_model(file, str(path.parent))
    except OSError as error:
        raise BadSetting(f"weights={path} cannot be read ({error.strerror or error})") from error
    except (ValueError, onnx.checker.ValidationError) as error:
        raise DamagedFile(f"its weights in {path.name}.data cannot be read ({error})") from error
    return file
