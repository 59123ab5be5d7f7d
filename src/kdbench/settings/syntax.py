"""The syntax tree of a Python file, as a hash, and the modules that it may import."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator


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
