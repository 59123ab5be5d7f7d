"""An ONNX file as a function, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime

from kdbench.models.onnx_graph import INPUT, OUTPUT

Session = Callable[[np.ndarray], np.ndarray]
"""float32 images (n, channels, height, width) in [0, 1] -> float32 logits (n, classes)."""


def session(content: bytes, threads: int) -> Session:
    """Return the file's function, run by ONNX Runtime on `threads` CPU threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait in a loop are faster alone, but take the processor from whoever runs beside them.
    for threads_of in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{threads_of}.allow_spinning", "0")
    options.log_severity_level = 3  # errors; its warnings concern how it optimises
    runtime = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: runtime.run([OUTPUT], {INPUT: images})[0]
