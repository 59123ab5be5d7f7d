"""`import torchvision`, also where its C library was built for another torch.

A CPU build of torch beside the registry's torchvision (built for CUDA) is a common pair: the C library
then fails to load, and the import dies with `operator torchvision::nms does not exist`, because
torchvision registers fake versions of operators that only the library defines. Nothing used here needs
them; declaring their signatures is enough. `import kdbench` calls `repair`, which costs nothing where torchvision is
not imported, and changes nothing where it can be.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_declarations: list[Any] = []  # which last as long as the library object that made them


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Run the code of torchvision, and once more with the operators declared if it lacks them."""
        try:
            super().exec_module(module)
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            declare()
            super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find torchvision where Python would, to be run by `_Loader`."""
        spec = PathFinder.find_spec(name) if name == "torchvision" else None
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def declare() -> None:
    """Declare to torch the signatures of the operators that torchvision has fake versions of."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declarations.append(library)


def repair() -> None:
    """Let every later `import torchvision` of this process work, if it can."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def __getattr__(name: str) -> Any:
    """Return `torchvision` to who imports it from here."""
    if name != "torchvision":
        raise AttributeError(name)
    repair()
    import torchvision

    return torchvision
