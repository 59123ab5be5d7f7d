"""Int8 weights in the file that ships, with ONNX Runtime's dynamic quantizer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto

from kdbench.compress.quantize.quiet import quiet
from kdbench.compress.step import FileStep, Task


@dataclass(frozen=True)
class DynamicInt8(FileStep):
    """Store every weight of every layer in 8 bits; scale activations to uint8 by their range, at run time.

    The arithmetic of Jacob et al. 2018 (Quantization and Training of Neural Networks, section 2), as ONNX's
    ConvInteger and MatMulInteger. Weights are scaled per tensor in convolutions (all that ONNX Runtime offers
    there) and per output in linear layers; the former store them unsigned and the latter signed (the reason stands
    below). The range of activations is taken over the whole batch.

    Signed weights use 7 of their 8 bits. Processors without VNNI add two products of a uint8 activation and an
    int8 weight in 16 bits, and those saturate: 2 * 255 * 127 > 32767 >= 2 * 255 * 64. The same file would give
    other logits there (measured on AVX2: off by up to a quarter of the largest logit, 1% with 7 bits).
    """

    def __call__(self, file: ModelProto, task: Task) -> ModelProto:
        """Return the quantized file."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        # By measurement (median of batch 256, two x86 cores with AVX512-VNNI): unsigned weights are twice as fast as
        # signed in ConvInteger (260 against 555 ms for ResNet-20), signed twice as fast in MatMulInteger (0.2 against
        # 0.5 ms for a 256-128 MLP).
        passes = [(["Conv"], QuantType.QUInt8, False), (["MatMul", "Gemm"], QuantType.QInt8, True)]
        with tempfile.TemporaryDirectory() as folder, quiet():
            path = Path(folder) / "model.onnx"
            onnx.save(file, path)
            for operators, weight_type, per_channel in passes:
                quantize_dynamic(
                    path,
                    path,
                    op_types_to_quantize=operators,
                    weight_type=weight_type,
                    per_channel=per_channel,
                    reduce_range=weight_type is QuantType.QInt8,
                )
            return onnx.load(path)
