"""`import torchvision`, also where its C library was built for another torch.

A CPU build of torch beside the registry's torchvision (built for CUDA) is a common pair: the C library
then fails to load, and the import dies with `operator torchvision::nms does not exist`, because
torchvision registers fake versions of operators that only the library defines. Nothing used here needs
them; declaring their signatures is enough.
"""

from __future__ import annotations

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    # Held at module level: the declarations last as long as the library object does.
    _declarations = torch.library.Library("torchvision", "DEF")
    _declarations.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declarations.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
