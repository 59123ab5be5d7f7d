"""The code that a module is and reaches, as a hash: of kdbench and of the user's own, and versions of other packages.

Code is identified by the syntax trees of its files, so that comments, docstrings and layout may change while an
edited loss, model or helper is never served the results of the old one. Imports are read off the code: what is only
found while it runs (`importlib`, a `sys.path` that it changes) and files that it reads by itself are not seen.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import site
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from kdbench.errors import BadSetting
from kdbench.settings.syntax import parsed

# What decides weights: of these parts of kdbench, the modules that are reached.
DECIDING = (
    *("kdbench.networks", "kdbench.models", "kdbench.training", "kdbench.compress", "kdbench.data"),
    "kdbench.settings.normalisation",  # holds numbers that decide weights
)
READING = "kdbench.data.load"  # how data are read decides nothing: they are known by their fingerprint
EVERYTHING = "*"
BUILT_IN = ("built-in", "frozen")  # what Python says in the place of a file
OF_OTHERS = ("torchvision",)  # packages whose version decides what a model of kdbench that reaches them is


def code_of(modules: Iterable[str], prefixes: tuple[str, ...] = DECIDING) -> str:
    """Return 16 hex digits over the code of `modules` and of all that they import.

    That is, of kdbench what begins with `prefixes`, every module of the user's own, and of other packages that these
    import the versions.
    """
    return _code_of(tuple(modules), prefixes)


@functools.cache
def _code_of(modules: tuple[str, ...], prefixes: tuple[str, ...]) -> str:
    found: dict[str, str] = {}
    waiting = [(module, True) for module in modules]
    while waiting:
        module, asked_by_user = waiting.pop()
        if module.endswith(f".{EVERYTHING}"):
            waiting += [(name, asked_by_user) for name in inside(module.removesuffix(f".{EVERYTHING}"))]
            continue
        top = module.split(".")[0]
        ours = top == "kdbench"
        # What else kdbench itself needs has columns of its own in a row, or decides nothing.
        deciding = module.startswith(prefixes) and module != READING if ours else asked_by_user or top in OF_OTHERS
        if module in found or not deciding:
            continue
        path = source(module)
        if path is None:
            continue
        if is_installed(path) and not ours:
            found[top] = installed_version(top)
            continue
        content = path.read_bytes()
        try:
            tree, imports = parsed(content, module, path.name == "__init__.py")
        except SyntaxError as error:
            raise BadSetting(f"{path}, line {error.lineno}: {error.msg}") from error
        except RecursionError as error:
            raise BadSetting(f"{path}: an expression in it is too deeply nested to be hashed") from error
        require_as_imported(module, path, content, ours)
        found[module] = tree
        waiting += [(name, not ours) for name in imports]
    text = "\n".join(f"{module} {tree}" for module, tree in sorted(found.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


LOADED = time.time()
# Each file as it was imported or first looked at, and the module that it is; each as it went into a hash.
_seen: dict[Path, tuple[bytes, str]] = {}
_hashed: dict[Path, bytes] = {}
_runs = 0  # that go on now


def require_as_imported(module: str, path: Path, content: bytes, ours: bool) -> None:
    """Raise `BadSetting` if a file that is to be hashed was edited since this process imported it.

    What a module was that had been imported before kdbench was, no one knows: its file must be older than the
    process, unless it is `ours`.
    """
    place = path.resolve()
    if place not in _seen and module in sys.modules and not ours and place.stat().st_ctime > began():
        raise BadSetting(
            f"{path} was written since this process began, and imported before kdbench: import kdbench before it, "
            "in a new process"
        )
    before, _ = _seen.setdefault(place, (content, module))
    if not same(path, before, content):
        if module in sys.modules:
            raise edited(path)
        _seen[place] = (content, module)
    _hashed[place] = content


def imported_as(module: str, path: Path, content: bytes) -> None:
    """Remember what a file is imported as. Raises `BadSetting` if a run that goes on was identified by another."""
    place = path.resolve()
    if _runs and place in _hashed and not same(path, _hashed[place], content):
        raise edited(path)
    _seen[place] = (content, module)


@contextlib.contextmanager
def in_use() -> Iterator[None]:
    """A context of a run, for which all that is imported must be what it is identified by. Raises `BadSetting`."""
    global _runs
    for place, content in _hashed.items():
        before, module = _seen.get(place, (content, ""))
        if module in sys.modules and not same(place, before, content):
            raise edited(place)
    _runs += 1
    try:
        yield
    finally:
        _runs -= 1


def same(path: Path, one: bytes, other: bytes) -> bool:
    """Whether two contents of a file are the same code."""
    return one == other or len({parsed(each, "", path.name == "__init__.py")[0] for each in (one, other)}) == 1


def edited(path: Path) -> BadSetting:
    """Return the error for a file of which two contents are at work."""
    return BadSetting(f"{path} was edited since this process read it: start the process anew")


@functools.cache
def began() -> float:
    """Return when this process began, or imported kdbench if that was earlier, before a fork; as `time.time` does."""
    with contextlib.suppress(OSError, AttributeError, IndexError, ValueError):  # where there is no /proc
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
        return min(LOADED, time.time() - up + ticks / os.sysconf("SC_CLK_TCK"))
    return LOADED


def inside(package: str) -> list[str]:
    """Return the modules directly inside a package of the user's own: `import *` takes those that it names."""
    path = source(package)
    if path is None or path.name != "__init__.py" or is_installed(path):
        return []
    found = [one for one in path.parent.iterdir() if one.suffix == ".py" or (one / "__init__.py").is_file()]
    return [f"{package}.{one.stem}" for one in found if one != path]


@functools.cache
def source(module: str) -> Path | None:
    """Return the file of a module, by its dotted name, without importing it; None of what is no Python file."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        return None
    places = [place for place in (spec.origin, *(spec.submodule_search_locations or ())) if place]
    if top in sys.stdlib_module_names and all(place in BUILT_IN or is_installed(Path(place)) for place in places):
        return None  # and no file of the user's own of the same name
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *rest)
        for path in (place / "__init__.py", place.with_name(place.name + ".py")):  # as Python looks
            if path.is_file():
                return path
    return None


def is_installed(path: Path) -> bool:
    """Whether a file or a folder belongs to installed packages, and not to somebody's own work."""
    return any(path.is_relative_to(place) for place in places_of_packages())


@functools.cache
def places_of_packages() -> frozenset[str]:
    """Return the folders of this Python that packages are installed in."""
    own = (sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
    return frozenset([*own, *site.getsitepackages(), site.getusersitepackages()])


@functools.cache
def installed_version(package: str) -> str:
    """Return the version of an installed package, by the name it is imported under."""
    places = tuple(os.stat(place).st_mtime_ns for place in sys.path if os.path.isdir(place))  # noqa: PTH112, PTH116
    return " ".join(f"{name}={version(name)}" for name in sorted(set(distributions(places).get(package, ()))))


@functools.lru_cache(1)
def distributions(_changed: tuple[int, ...]) -> Mapping[str, list[str]]:
    """Return which packages bring which modules: half a second, until one is installed, which `changed` a folder."""
    return packages_distributions()


def forget() -> None:
    """Forget what is known of files, which are read once in a process, but for those whose code it goes on with."""
    for path, (_, module) in list(_seen.items()):
        if module not in sys.modules:
            del _seen[path]
    _hashed.clear()
    for function in (_code_of, source, installed_version):
        function.cache_clear()
