"""Python files of the user's own are imported from the very bytes that identify them.

Python itself takes what it compiled earlier (`.pyc`) for a file of the same size and time, whatever stands in it.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from kdbench.settings import code

OURS = str(Path(__file__).parents[2])


class AsHashed(SourceFileLoader):
    """Imports a file as it is now. Raises `BadSetting` if a run goes on that is identified by what it was."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file, whatever was compiled earlier."""
        content = self.get_data(self.path)
        compiled: CodeType = self.source_to_code(content, self.path)
        code.imported_as(fullname, Path(self.path), content)
        return compiled


class OwnFiles:
    """Finds what the other finders do, and lets what is neither installed nor kdbench's be imported as it is now."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the first of the other finders gives, None if none knows the module."""
        for finder in sys.meta_path:
            find = None if finder is cls else getattr(finder, "find_spec", None)  # which finders of old lack
            found = None if find is None else find(name, path, target)
            if found is not None:
                if type(found.loader) is SourceFileLoader and not found.loader.path.startswith(elsewhere()):
                    found.loader = AsHashed(found.loader.name, found.loader.path)
                return found
        return None


@functools.cache
def elsewhere() -> tuple[str, ...]:
    """Return the folders of what is no user's own, each with a slash behind it."""
    return tuple(f"{place}{os.sep}" for place in (OURS, *code.places_of_packages()))


def install() -> None:
    """Let what is imported from now on be imported so."""
    if OwnFiles not in sys.meta_path:
        sys.meta_path.insert(0, OwnFiles)
