"""The code that a module is and reaches, as a hash: of kdbench and of the user's own, and versions of other packages.

Code is identified by the syntax trees of its files, so that comments, docstrings and layout may change while an
edited loss, model or helper is never served the results of the old one. Imports are read off the code: what is only
found while it runs (`importlib`, a `sys.path` that it changes) and files that it reads by itself are not seen.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import os
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from kdbench.errors import BadSetting

# What decides weights: of these parts of kdbench, the modules that are reached.
DECIDING = (
    *("kdbench.networks", "kdbench.models", "kdbench.training", "kdbench.compress", "kdbench.data"),
    "kdbench.settings.normalisation",  # holds numbers that decide weights
)
READING = "kdbench.data.load"  # how data are read decides nothing: they are known by their fingerprint
PACKAGES = {"site-packages", "dist-packages"}  # folders that are called so hold what is installed
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
        try:
            tree, imports = parsed(path.read_bytes(), module, path.name == "__init__.py")
        except SyntaxError as error:
            raise BadSetting(f"{path}, line {error.lineno}: {error.msg}") from error
        require_as_imported(module, path, tree, ours)
        found[module] = tree
        waiting += [(name, not ours) for name in imports]
    text = "\n".join(f"{module} {tree}" for module, tree in sorted(found.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


LOADED = time.time()
# The code of each file as it was when this process first looked at it, and the module that it is.
_seen: dict[Path, tuple[str, str]] = {}


def require_as_imported(module: str, path: Path, tree: str, ours: bool = False) -> None:
    """Raise `BadSetting` if a file was edited while this process goes on with what it took from it before.

    Of a module that was imported before its file was looked at, `kdbench.settings.importing` having had no part in
    that, no one knows what it was then: it must be older than the process, unless it is `ours`.
    """
    place = path.resolve()
    if place not in _seen and module in sys.modules and not ours and place.stat().st_ctime > began():
        raise BadSetting(f"{path} was edited since this process began, and imported by it: start the process anew")
    before, _ = _seen.setdefault(place, (tree, module))
    if before != tree:
        if module in sys.modules:
            raise BadSetting(f"{path} was edited since this process read it: start the process anew")
        _seen[place] = (tree, module)


@functools.cache
def began() -> float:
    """Return when this process began, or that which it was forked from, in seconds as `time.time` has them."""
    with contextlib.suppress(OSError, AttributeError, IndexError, ValueError):  # where there is no /proc
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
        return min(LOADED, time.time() - up + ticks / os.sysconf("SC_CLK_TCK"))
    return LOADED


@functools.cache
def source(module: str) -> Path | None:
    """Return the file of a module, by its dotted name, without importing it; None of what is no Python file."""
    top, *rest = module.split(".")
    if top in sys.stdlib_module_names:
        return None
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *rest)
        for path in (place.with_name(place.name + ".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None


def is_installed(path: Path) -> bool:
    """Whether a file or a folder belongs to installed packages, and not to somebody's own work."""
    return bool(PACKAGES.intersection(path.parts)) or any(path.is_relative_to(one) for one in places_of_packages())


@functools.cache
def places_of_packages() -> frozenset[str]:
    """Return the folders of this Python that packages are installed in."""
    return frozenset(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))


@functools.cache
def installed_version(package: str) -> str:
    """Return the version of an installed package, by the name it is imported under."""
    places = tuple(os.stat(place).st_mtime_ns for place in sys.path if os.path.isdir(place))  # noqa: PTH112, PTH116
    return " ".join(f"{name}={version(name)}" for name in sorted(set(distributions(places).get(package, ()))))


@functools.lru_cache(1)
def distributions(_changed: tuple[int, ...]) -> Mapping[str, list[str]]:
    """Return which packages bring which modules: half a second, until one is installed, which `changed` a folder."""
    return packages_distributions()


@functools.cache
def parsed(code: bytes, module: str, is_package: bool) -> tuple[str, tuple[str, ...]]:
    """Return the hash of a file's syntax tree, and the names of the modules that it may import.

    Raises `SyntaxError`.
    """
    tree = ast.parse(code)
    imports = tuple(sorted(set(imported(tree, module if is_package else module.rpartition(".")[0]))))
    for node in ast.walk(tree):
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16], imports


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the modules that the code in `tree`, inside `package`, may import; not what is for types only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                yield from imported(ast.Module([other], []), package)
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from with_parents(module)
            for alias in node.names:  # which may be modules too
                yield f"{module}.{alias.name}"
        else:
            yield from imported(node, package)


def with_parents(module: str) -> Iterator[str]:
    """Yield `module` and the packages around it, whose code is run when it is imported."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def forget() -> None:
    """Forget what is known of files, which are read once in a process, but for those whose code it goes on with."""
    for path, (_, module) in list(_seen.items()):
        if module not in sys.modules:
            del _seen[path]
    for function in (_code_of, source, installed_version):
        function.cache_clear()
