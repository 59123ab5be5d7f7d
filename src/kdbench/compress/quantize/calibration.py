"""What ONNX Runtime's calibration is given, and how finely it looks at it."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

BATCH = 100
BINS = 512  # of a histogram of magnitudes, of which the range that loses least ends at one


class CalibrationBatches:
    """The images as ONNX Runtime's calibration asks for them: its CalibrationDataReader."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        starts = range(0, len(images), BATCH)
        self.left = iter([{name: images[start : start + BATCH]} for start in starts])

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, and None after the last."""
        return next(self.left, None)


@contextlib.contextmanager
def fine_histograms() -> Iterator[None]:
    """A context in which calibration by entropy has ranges to choose from.

    ONNX Runtime's histograms have as many bins as the grid has steps, so that the whole range is the only one that
    it looks at; `quantize_static` does not pass on how many there should be.
    """
    quantize = importlib.import_module("onnxruntime.quantization.quantize")  # a function has its name, too

    before = quantize.create_calibrator

    def with_bins(*given: Any, extra_options: dict[str, Any] | None = None, **named: Any) -> Any:
        return before(*given, extra_options={**(extra_options or {}), "num_bins": BINS}, **named)

    quantize.create_calibrator = with_bins
    try:
        yield
    finally:
        quantize.create_calibrator = before
