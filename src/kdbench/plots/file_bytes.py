"""The bytes of a network as a file, before and after: the panels of the charts of one method."""

from __future__ import annotations

from kdbench.plots.before_after import Amount

# No gzip of the packed file: of 158 of many methods the median was 1.001 times as large as the file itself.
BYTES = (
    Amount("size_bytes", "bytes of model.onnx (log)"),
    Amount("size_gzip_bytes", "bytes of model.onnx, gzipped (log)"),
    Amount("packed_bytes", "bytes of model.kdz, packed (log)"),
)
