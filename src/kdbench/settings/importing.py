"""Python files of the user's own are imported from the very bytes that identify them.

Python itself takes what it compiled earlier (`.pyc`) for a file of the same size and time, whatever stands in it.
"""

from __future__ import annotations

import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import CodeType

from kdbench.settings import code

OURS = Path(__file__).parents[2]


class AsHashed(SourceFileLoader):
    """Imports a file as it is now. Raises `BadSetting` if it was another when it was hashed."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file, whatever was compiled earlier."""
        content = self.get_data(self.path)
        compiled = self.source_to_code(content, self.path)
        path = Path(self.path)
        tree, _ = code.parsed(content, fullname, path.name == "__init__.py")
        code.require_as_imported(fullname, path, tree, ours=True)  # nobody has imported it before
        return compiled


def of_own_files(place: str) -> FileFinder:
    """Return what finds modules in a folder; raises `ImportError` for one of installed packages."""
    path = Path(place or ".").resolve()
    if not path.is_dir() or code.is_installed(path) or path.is_relative_to(OURS):
        raise ImportError
    return FileFinder(
        str(path),
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (AsHashed, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )


def install() -> None:
    """Let what is imported from now on be imported so."""
    if of_own_files in sys.path_hooks:
        return
    sys.path_hooks.insert(0, of_own_files)
    for place in [*sys.path_importer_cache]:
        if not code.is_installed(Path(place)):
            del sys.path_importer_cache[place]
