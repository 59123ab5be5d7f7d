"""The folder given as --config-dir: typing it is the permission to run the Python in it. Imports no torch.

What else a `_target_` may name is kdbench's own models, compression steps and data sets. All other code is refused
before it is imported.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from kdbench.errors import BadSetting

# The parts of kdbench that hold what YAML may name; its other functions write files and the like.
OWN = ("kdbench.models.", "kdbench.compress.", "kdbench.data.")

SCRIPTS = {"__main__", "__mp_main__"}  # which can be imported only once

_folder: Path | None = None


def serve(folder: Path) -> None:
    """Let the Python files of `folder` be imported, in the place of a folder served before.

    It stands at the end of `sys.path`, so that a `torch.py` in it hides nothing that is installed. Raises
    `BadSetting` if there is no such folder.
    """
    global _folder
    if not folder.is_dir():
        raise BadSetting(f"--config-dir {folder}: there is no such folder")
    if _folder is not None:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(_folder))
        if _folder != folder.resolve():
            forget_modules()  # one of the same name in the other folder is another
    is_new, _folder = _folder != folder.resolve(), folder.resolve()
    if is_new:
        forget_modules()  # that a notebook has imported from here by itself: of what, nobody knows
    sys.path.append(str(_folder))
    importlib.invalidate_caches()


def forget_modules() -> None:
    """Let the Python files of the folder be imported anew, by what stands in them then.

    What is installed somewhere below it, in an environment of the folder, stays.
    """
    own = {name for name in {name.partition(".")[0] for name in sys.modules} if lies_in_folder(name)} - SCRIPTS
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]


def lies_in_folder(package: str) -> bool:
    """Whether a module or package that was imported is a file of the folder, or a folder in it."""
    module = sys.modules.get(package)
    file = getattr(module, "__file__", None)
    # A folder without __init__.py has no file.
    places = [Path(file)] if file else [Path(place) for place in getattr(module, "__path__", ())]
    at = [(path.parent if path.name == "__init__.py" else path).resolve().parent for path in places]
    return _folder is not None and _folder in at


def require_allowed(path: str) -> None:
    """Raise `BadSetting` unless the code that the dotted `path` of a `_target_` names may be run."""
    package = path.partition(".")[0]
    if not package.isidentifier() or package == path:
        raise BadSetting(f"_target_: '{path}' is not the name of a class or function, such as my_methods.Mine")
    if path.startswith(OWN):
        return
    if package == "kdbench":
        raise BadSetting(f"_target_: {path} is not a model, a compression step or a data set of kdbench")
    places = _places(package)
    if places and set(places) == {_folder}:
        return
    refused = f"_target_: {path} is not part of kdbench"
    if _folder is None:
        raise BadSetting(f"{refused}: --config-dir DIR names the folder of its Python file")
    if places and any((_folder / name).exists() for name in (package, f"{package}.py")):
        raise BadSetting(f"{refused}, and {places[0]} has a {package} too: give the one in {_folder} another name")
    raise BadSetting(f"{refused}, nor a file in {_folder}")


def _places(package: str) -> list[Path]:
    """Return the folders in which a top-level module or package would be found, without importing it."""
    try:
        spec: ModuleSpec | None = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place).parent.resolve() for place in spec.submodule_search_locations]
    return [Path(spec.origin).parent.resolve()] if spec.origin and spec.has_location else []


def require_own(path: str, found: object) -> None:
    """Raise `BadSetting` if `path` leads through a module of kdbench to something defined elsewhere."""
    module = getattr(found, "__module__", None) or ""
    if path.startswith(OWN) and not module.startswith(OWN):
        raise BadSetting(f"_target_: {path} is not a model, a compression step or a data set of kdbench")
